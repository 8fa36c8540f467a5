"""`spargio top`: what a process's shards do, refreshed in place."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spargio import RuntimeStats, monitor
from spargio.latency._latencies import show_ns

WIDTH = 80
TASKS_MOST = 8


def chosen(name: str | None) -> str | None:
    """The process that is meant, or the only one there is; else None, and says why."""
    if name is not None:
        return name
    found = monitor.find()
    if len(found) == 1:
        return found[0]
    if found:
        words = f"several processes can be asked, name one: {', '.join(found)}"
    else:
        words = "no process can be asked: start one with monitor=True or SPARGIO_MONITOR=1"
    print(f"spargio: {words}", file=sys.stderr)
    return None


def run(name: str | None, *, interval: float, once: bool, as_json: bool) -> int:
    """Exit code 0, or 1 if nothing could be asked."""
    name = chosen(name)
    if name is None:
        return 1
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        before = monitor.read_stats(name)
        time.sleep(min(interval, 1.0) if once or as_json else 0.2)
        now = monitor.read_stats(name)
        tasks = oldest(name)
        if as_json:
            print(json.dumps({**figures(now, now - before), "oldest_tasks": tasks}))
            return 0
        if once:
            console.print(view(name, now, now - before, tasks))
            return 0
        with Live(view(name, now, now - before, tasks), console=console, screen=True) as live:
            while True:
                time.sleep(interval)
                before, now = now, monitor.read_stats(name)
                live.update(view(name, now, now - before, oldest(name)), refresh=True)
    except (LookupError, OSError, ValueError) as error:
        print(f"spargio: {error}", file=sys.stderr)
        return 1


def oldest(name: str) -> list[dict[str, Any]]:
    """Those of its tasks that are there for the longest time, and blocked shards before them. None
    of a C program, or if a thread there keeps the interpreter: the counters need neither."""
    try:
        tasks = monitor.read_tasks(name, timeout=3.0)
    except OSError:
        return []
    tasks.sort(key=lambda one: (one["state"] != "blocked", -one["age"]))
    return [
        {key: one[key] for key in ("name", "shard", "state", "age", "waits_for")}
        for one in tasks[:TASKS_MOST]
    ]


def figures(now: RuntimeStats, interval: RuntimeStats) -> dict[str, Any]:
    """What the view shows, as numbers; counts are per second."""
    seconds = max(interval.time_ns / 1e9, 1e-9)
    shards = []
    for shard, state in zip(interval.shards, now.shards, strict=True):
        shards.append(
            {
                "shard": shard.shard,
                "busy": min(shard.busy_ns / 1e9 / seconds, 1.0),
                "polls": shard.polls / seconds,
                "stolen": shard.stealable_stolen / seconds,
                "skipped_locality": shard.steal_skipped_locality / seconds,
                "skipped_backoff": shard.steal_skipped_backoff / seconds,
                "skipped_empty": shard.steal_skipped_empty / seconds,
                "parks": shard.parks / seconds,
                "doorbells": (shard.ring_msgs_submitted + shard.eventfd_wakes) / seconds,
                "blocked_passes": shard.blocked_passes,
                "queued": state.stealable_queue_depth + state.run_queue_depth,
                "ops_in_flight": state.ops_in_flight,
                "timers": state.timers_set,
            }
        )
    return {
        "seconds": seconds,
        "backend": now.backend,
        "tasks": now.spawn_accepted - now.tasks_ended,
        "spawned": interval.spawn_accepted / seconds,
        "refused": interval.stealable_backpressure / seconds,
        "shards": shards,
        "recorders": {
            name: {
                "rate": one.count / seconds,
                "p50_ns": one.p50_ns,
                "p99_ns": one.p99_ns,
                "max_ns": one.max_ns,
                "failed": one.failed,
            }
            for name, one in interval.recorders.items()
            if one.count
        },
    }


def view(
    name: str, now: RuntimeStats, interval: RuntimeStats, tasks: list[dict[str, Any]]
) -> Group:
    shown = figures(now, interval)
    head = Text(
        f"process {name}  {shown['backend']}  {len(now.shards)} shards  {shown['tasks']} tasks  "
        f"{shown['spawned']:.0f} spawned/s  {shown['refused']:.0f} refused/s",
        no_wrap=True,
    )
    return Group(
        head,
        _skips(shown["shards"]),
        _shards(shown["shards"]),
        *_recorders(shown["recorders"]),
        *_tasks(tasks),
    )


def _skips(shards: list[dict[str, Any]]) -> Text:
    """Why looks for work took nothing."""
    sums = {
        reason: sum(one[f"skipped_{reason}"] for one in shards)
        for reason in ("locality", "backoff", "empty")
    }
    return Text(
        f"looks skipped/s: {short(sums['locality'])} not worth a move, {short(sums['backoff'])} in "
        f"a pause, {short(sums['empty'])} nothing queued",
        no_wrap=True,
    )


def _shards(shards: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    names = ("shard", "busy", "polls/s", "stolen/s", "skip", "parks/s", "bells/s", "queue", "ops")
    for column in (*names, "timers", "blocked"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in shards:
        skipped = one["skipped_locality"] + one["skipped_backoff"] + one["skipped_empty"]
        table.add_row(
            str(one["shard"]),
            f"{one['busy']:.0%}",
            *(short(one[key]) for key in ("polls", "stolen")),
            short(skipped),
            *(short(one[key]) for key in ("parks", "doorbells", "queued", "ops_in_flight")),
            short(one["timers"]),
            short(one["blocked_passes"]),
            style="bold red" if one["blocked_passes"] else "",
        )
    return table


def _recorders(recorders: dict[str, dict[str, Any]]) -> list[Table]:
    if not recorders:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("recorder", no_wrap=True, max_width=32)
    for column in ("per s", "p50", "p99", "max", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, one in sorted(recorders.items(), key=lambda pair: -pair[1]["rate"]):
        points = (show_ns(one[key]) for key in ("p50_ns", "p99_ns", "max_ns"))
        table.add_row(name, short(one["rate"]), *points, str(one["failed"]))
    return [table]


def _tasks(tasks: list[dict[str, Any]]) -> list[Table]:
    if not tasks:
        return []
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("oldest tasks", no_wrap=True, max_width=26)
    for column in ("shard", "age"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("waits for", no_wrap=True, overflow="ellipsis")
    for one in tasks:
        age = show_seconds(one["age"])
        texts = (Text(one[key]) for key in ("state", "waits_for"))
        table.add_row(Text(one["name"]), str(one["shard"]), age, *texts)
    return [table]


def show_seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def short(number: float) -> str:
    """In at most six characters."""
    for least, size, letter in ((999.95e6, 1e9, "G"), (999.95e3, 1e6, "M"), (9999.5, 1e3, "k")):
        if number >= least:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"
