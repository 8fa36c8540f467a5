"""`spargio trace`: what the shards of a process do, as a file for Perfetto."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from spargio import trace

from .top import chosen


def run(name: str | None, *, seconds: float, output: Path | None, events: int) -> int:
    """Exit code 0, or 1 where nothing could be asked or written."""
    name = chosen(name)
    if name is None:
        return 1
    path = Path(f"spargio-{name}.json") if output is None else output
    try:
        data = trace.of_process(name, seconds, events=events)
        path.write_bytes(data)
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        print(f"spargio: {error}", file=sys.stderr)
        return 1
    other = json.loads(data)["otherData"]
    lost = sum(other["overwritten"])
    more = f", {lost} older ones were overwritten" if lost else ""
    print(f"{path}: {other['events']} events{more}. Open it at https://ui.perfetto.dev")
    return 0
