"""What the demo found, as text for people and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

import spargio

from .demo_check import Failure
from .demo_client import Result
from .demo_corpus import Corpus, printable

_FAILURES_SHOWN = 20
_MIB = 1 << 20
_COLUMNS = {
    "shard": "shard",
    "tasks": "tasks_started",
    "stealable": "stealable_executed",
    "stolen": "stealable_stolen",
    "doorbells sent": "doorbells_sent",
    "received": "doorbells_received",
    "failed": "doorbells_failed",
    "parks": "parks",
}


@dataclass
class Outcome:
    """Everything that is reported. Times: `seconds` of sending, `latencies_ns` from a connection's
    start to its acknowledgement."""

    corpus: Corpus
    queue: str
    connections: int
    shards: int
    rounds: int = 0
    seconds: float = 0.0
    size: int = 0
    latencies_ns: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    stats: spargio.RuntimeStats | None = None
    asyncio: bool = False

    def add(self, result: Result) -> None:
        self.seconds += result.seconds
        for _, size, elapsed_ns in result.acknowledged:
            self.size += size
            self.latencies_ns.append(elapsed_ns)


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile: the least value that `percent` of all do not exceed."""
    if not ordered:
        return 0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def as_dict(outcome: Outcome) -> dict[str, Any]:
    ordered = sorted(outcome.latencies_ns)
    seconds = outcome.seconds or math.inf
    stats = outcome.stats
    assert stats is not None
    return {
        "ok": not outcome.failures,
        "corpus": {
            "folder": str(outcome.corpus.root),
            "files": len(outcome.corpus.entries),
            "files_found": outcome.corpus.files_found,
            "bytes": outcome.corpus.bytes_total,
        },
        "loop": "asyncio" if outcome.asyncio else "spargio",
        "shards": outcome.shards,
        "queue": outcome.queue,
        "connections": outcome.connections,
        "rounds": outcome.rounds,
        "files": len(ordered),
        "bytes": outcome.size,
        "seconds": round(outcome.seconds, 6),
        "files_per_second": round(len(ordered) / seconds, 1),
        "mib_per_second": round(outcome.size / _MIB / seconds, 2),
        "latency_ms": {
            f"p{percent}": round(percentile(ordered, percent) / 1e6, 3) for percent in (50, 95, 99)
        },
        "ratios": {
            "local_hit_ratio": round(stats.local_hit_ratio(), 4),
            "stolen_per_scan": round(stats.stolen_per_scan(), 4),
            "steal_success_rate": round(stats.steal_success_rate(), 4),
        },
        "per_shard": [
            {
                "shard": number,
                "tasks_started": shard.tasks_started,
                "stealable_executed": shard.stealable_executed,
                "stealable_stolen": shard.stealable_stolen,
                "doorbells_sent": shard.ring_msgs_submitted + shard.eventfd_wakes,
                "doorbells_received": shard.ring_msgs_completed,
                "doorbells_failed": shard.ring_msgs_failed,
                "parks": shard.parks,
            }
            for number, shard in enumerate(stats.shards)
        ],
        "failures": [
            {"file": printable(failure.path), "problem": failure.problem}
            for failure in outcome.failures
        ],
    }


def show(outcome: Outcome, *, as_json: bool) -> None:
    report = as_dict(outcome)
    if as_json:
        print(json.dumps(report, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, markup=False)

    corpus, latency = report["corpus"], report["latency_ms"]
    chosen = f"{corpus['files']:,} files"
    if corpus["files"] < corpus["files_found"]:
        chosen = f"the first {corpus['files']:,} of {corpus['files_found']:,} files"
    rounds = "" if outcome.rounds == 1 else f", {outcome.rounds} times"
    say(f"corpus      {chosen} of {corpus['folder']}, {corpus['bytes'] / _MIB:.1f} MiB{rounds}")
    connections = f"{outcome.connections} connections"
    runtime = f"{outcome.shards} shards, {outcome.queue} queues"
    if outcome.asyncio:
        runtime = "an asyncio loop on one shard"
    say(f"runtime     {runtime}, {connections}")
    rates = f"{report['files_per_second']:,.0f} files/s, {report['mib_per_second']:.1f} MiB/s"
    say(f"throughput  {rates} in {outcome.seconds:.2f} s, each file fsynced")
    say("latency     " + ", ".join(f"{name} {value:.2f} ms" for name, value in latency.items()))
    ratios = ", ".join(f"{name} {value:.2f}" for name, value in report["ratios"].items())
    say(f"ratios      {ratios}")
    console.print(_shard_table(report["per_shard"]))
    if outcome.failures:
        _show_failures(console, outcome.failures)
    else:
        say(f"verified    {report['files']:,} files: every stored file equals its source (SHA-256)")


def _shard_table(shards: Sequence[dict[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in _COLUMNS:
        table.add_column(title, justify="right")
    for shard in shards:
        table.add_row(*(f"{shard[name]:,}" for name in _COLUMNS.values()))
    return table


def _show_failures(console: Console, failures: Sequence[Failure]) -> None:
    console.print(f"FAILED      {len(failures):,} files did not arrive as they were:", markup=False)
    for failure in failures[:_FAILURES_SHOWN]:
        console.print(f"  {printable(failure.path)}: {failure.problem}", markup=False)
    if len(failures) > _FAILURES_SHOWN:
        console.print(
            f"  and {len(failures) - _FAILURES_SHOWN:,} more (--json lists all)", markup=False
        )
