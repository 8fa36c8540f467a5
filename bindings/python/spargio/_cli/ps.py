"""`spargio ps` and `spargio tree`: the tasks of a process, and what they wait for."""

from __future__ import annotations

import json
import sys
from typing import Any

from spargio import monitor

from .top import chosen, show_seconds


def run(name: str | None, *, stacks: bool, as_json: bool) -> int:
    """Exit code 0, or 1 if nothing could be asked."""
    name = chosen(name)
    if name is None:
        return 1
    try:
        tasks = monitor.read_tasks(name)
    except (LookupError, OSError, ValueError) as error:
        print(f"spargio: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(tasks))
        return 0
    tasks.sort(key=lambda one: (one["shard"], -one["age"]))
    for line in lines(tasks, stacks=stacks):
        print(line)
    return 0


def lines(tasks: list[dict[str, Any]], *, stacks: bool) -> list[str]:
    """In 80 columns; a stack below each task if wanted, and always below a blocked shard."""
    found = [f"{'TASK':26} {'SHARD':>5} {'STATE':8} {'AGE':>9}  WAITS FOR"]
    for one in tasks:
        age = show_seconds(one["age"])
        found.append(
            f"{one['name'][:26]:26} {one['shard']:5} {one['state']:8} {age:>9}  "
            f"{one['waits_for']}".rstrip()
        )
        if stacks or one["state"] == "blocked":
            found += [line for text in one["stack"] for line in text.rstrip().split("\n")]
            if one["spawned_at"]:
                found.append("  spawned at:")
                found += [line for text in one["spawned_at"] for line in text.rstrip().split("\n")]
    return found
