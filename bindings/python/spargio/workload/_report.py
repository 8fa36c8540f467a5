"""What a load found: latencies, throughput, errors, and whether the load itself was the limit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spargio import RuntimeStats, _cbor
from spargio.latency import Latencies
from spargio.latency._latencies import show_ns

from ._arrivals import describe

if TYPE_CHECKING:
    from ._load import Load

__all__ = ("LoadReport", "Window")

LATE_NS = 1_000_000
LATE_SHARE = 0.01
CPU_SHARE = 0.9
BUSY_SHARE = 0.9
COMPLETED_SHARE = 0.98

_SHOWN_COUNTERS = ("polls", "parks", "steal_success", "stealable_backpressure", "ops_in_flight")
_LATE = "\0late"


class Raw(NamedTuple):
    """What was taken at the end of a window, undecoded."""

    time_ns: int
    cpu_ns: int
    recorders: dict[str, bytes]
    stats: bytes | None


@dataclass(frozen=True)
class Window:
    """One interval: what ended in it."""

    begin: float
    """Seconds since the measurement began."""
    seconds: float
    latency: Latencies
    cpu_seconds: float
    """The generator's own."""

    @property
    def rate(self) -> float:
        """Operations per second that ended."""
        return self.latency.count / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class LoadReport:
    """What a load found. Latencies count from the intended start."""

    spec: dict[str, Any]
    """The load (:meth:`Load.from_spec` reads it)."""
    machine: dict[str, Any]
    seconds: float
    """From the first arrival that counts to the last end."""
    offered: int
    """Arrivals, those of the warm-up included; in a closed loop, requests."""
    unstarted: int
    """Arrivals that no connection was free for until the end. They count as timeouts."""
    latency: Latencies
    """Of all operations that count."""
    by_operation: dict[str, Latencies]
    late: Latencies
    """How late the generator itself began, with a free connection: its own fault."""
    windows: list[Window]
    cpu_seconds: float
    """Of the generator's process, also what it did for a target in the same process."""
    cpu_limit: float
    """CPUs that it can use: its shards, or one with a GIL."""
    counters: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """(seconds, counters of the generator's runtime since the one before), about one per second."""
    server_counters: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """The same of the server, if it was asked."""

    @property
    def rate(self) -> float:
        """Operations per second that ended."""
        return self.latency.count / self.seconds if self.seconds else 0.0

    @property
    def late_share(self) -> float:
        """Operations that the generator began more than 1 ms late, as a part of all."""
        return self.late.above(LATE_NS) / self.late.count if self.late.count else 0.0

    @property
    def cpu_share(self) -> float:
        """The part of the CPUs it can use that the generator took."""
        return self.cpu_seconds / self.seconds / self.cpu_limit if self.seconds else 0.0

    @property
    def busy_share(self) -> float:
        """The part of the time that the generator's shards were awake: with a CPU or in want of
        one."""
        seconds = sum(found["seconds"] for _, found in self.counters)
        busy = sum(
            found["seconds"] * sum(found["busy"]) / len(found["busy"]) for _, found in self.counters
        )
        return busy / seconds if seconds else 0.0

    @property
    def completed_share(self) -> float:
        """Operations that ended, as a part of those that were offered, after the warm-up."""
        total = self.latency.count
        return (total - self.unstarted) / total if total else 0.0

    @property
    def warnings(self) -> list[str]:
        """Why these figures may be those of the load and not of its target."""
        found = self.limits
        if self.spec["arrivals"]["kind"] == "closed":
            found.append(
                "a closed loop waits for each answer: the time that users would have waited while "
                "the target stalled is not in these figures"
            )
        return found

    @property
    def limits(self) -> list[str]:
        """Those of :attr:`warnings` that a run met, and not its arguments alone."""
        found = []
        if self.cpu_share >= CPU_SHARE:
            found.append(
                f"the load itself was the limit: it took {self.cpu_share:.0%} of the "
                f"{self.cpu_limit:g} CPU that it can use. Lower the rate, or start it several times"
            )
        elif self.busy_share >= BUSY_SHARE:
            found.append(
                f"the load itself was the limit: its shards were awake {self.busy_share:.0%} of "
                f"the time, and got {self.cpu_share:.0%} of their CPU: others have the rest"
            )
        if self.late_share > LATE_SHARE:
            found.append(
                f"the load began {self.late_share:.1%} of its operations more than 1 ms late "
                f"(p99 {show_ns(self.late.p99_ns)}), though a connection was free: these latencies "
                "have its own delay in them"
            )
        if self.unstarted:
            found.append(
                f"{self.unstarted} arrivals found no free connection until the end: the target is "
                "overloaded, or connections are too few"
            )
        return found

    @classmethod
    def from_raw(cls, load: Load, raw: list[Raw], facts: Mapping[str, Any]) -> LoadReport:
        """Decodes what was taken while the load ran. The first one is the state before."""
        taken = [_decoded(one) for one in raw]
        first, last = taken[0], taken[-1]
        begin_ns = facts["measured_ns"]
        windows: list[Window] = []
        for before, after in itertools.pairwise(taken):
            part = _merged({name: after[name] - before[name] for name in after if name != _LATE})
            windows.append(
                Window(
                    (raw[len(windows)].time_ns - raw[0].time_ns) / 1e9,
                    (raw[len(windows) + 1].time_ns - raw[len(windows)].time_ns) / 1e9,
                    part,
                    (raw[len(windows) + 1].cpu_ns - raw[len(windows)].cpu_ns) / 1e9,
                )
            )
        parts = {name: last[name] - first[name] for name in last if name != _LATE}
        return cls(
            spec=load.spec(),
            machine=dict(facts["machine"]),
            seconds=(raw[-1].time_ns - begin_ns) / 1e9,
            offered=facts["offered"],
            unstarted=facts["unstarted"],
            latency=_merged(parts),
            by_operation={name: _renamed(one, name) for name, one in parts.items()},
            late=_renamed(last[_LATE] - first[_LATE], "late"),
            windows=windows,
            cpu_seconds=(raw[-1].cpu_ns - raw[0].cpu_ns) / 1e9,
            cpu_limit=1.0 if facts["shared_gil"] else float(load.shards),
            counters=counters_of([(one.time_ns, one.stats) for one in raw if one.stats]),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "spec": self.spec,
            "machine": self.machine,
            "seconds": self.seconds,
            "offered": self.offered,
            "unstarted": self.unstarted,
            "rate": self.rate,
            "latency": self.latency.as_dict(),
            "by_operation": {name: one.as_dict() for name, one in self.by_operation.items()},
            "late": self.late.as_dict(),
            "windows": [
                {
                    "begin": one.begin,
                    "seconds": one.seconds,
                    "cpu_seconds": one.cpu_seconds,
                    "latency": one.latency.as_dict(),
                }
                for one in self.windows
            ],
            "cpu_seconds": self.cpu_seconds,
            "cpu_limit": self.cpu_limit,
            "counters": self.counters,
            "server_counters": self.server_counters,
            "warnings": self.warnings,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LoadReport:
        """From :meth:`to_dict`, also after a turn through JSON."""
        read = Latencies.from_dict
        return cls(
            spec=values["spec"],
            machine=values["machine"],
            seconds=values["seconds"],
            offered=values["offered"],
            unstarted=values["unstarted"],
            latency=read(values["latency"]),
            by_operation={name: read(one) for name, one in values["by_operation"].items()},
            late=read(values["late"]),
            windows=[
                Window(one["begin"], one["seconds"], read(one["latency"]), one["cpu_seconds"])
                for one in values["windows"]
            ],
            cpu_seconds=values["cpu_seconds"],
            cpu_limit=values["cpu_limit"],
            counters=[(at, found) for at, found in values["counters"]],
            server_counters=[(at, found) for at, found in values["server_counters"]],
        )

    def write_json(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(self.to_dict()) + "\n")

    def write_html(self, path: str | Path, title: str = "Load report") -> None:
        """One file with its plots in it; no network is needed to read it."""
        from ._html import page

        Path(path).write_text(page(self, title))

    def text(self) -> str:
        """A table for the terminal, 80 columns wide."""
        latency = self.latency
        lines = [
            f"target      {self.spec['target']}",
            f"arrivals    {describe(self.spec['arrivals'])}, {self.spec['connections']} connections"
            f", seed {self.spec['seed']}",
            f"operations  {latency.count} in {self.seconds:.1f} s: {self.rate:.1f}/s"
            + (f", {latency.bytes / self.seconds / 1e6:.2f} MB/s" if latency.bytes else ""),
            f"failed      {_failures(latency)}",
            f"generator   {self.cpu_share:.0%} of its CPU, {self.late_share:.2%} begun over 1 ms "
            "late",
            "",
            f"{'latency':14}{'p50':>10}{'p90':>10}{'p95':>10}{'p99':>10}{'p99.9':>10}{'max':>10}",
        ]
        rows = {"all": latency}
        if len(self.by_operation) > 1:
            rows |= self.by_operation
        for name, one in rows.items():
            points = (one.p50_ns, one.p90_ns, one.p95_ns, one.p99_ns, one.p999_ns, one.max_ns)
            lines.append(f"{name[:13]:14}" + "".join(f"{show_ns(ns):>10}" for ns in points))
        lines += [f"WARNING: {one}" for one in self.warnings]
        return "\n".join(lines)


def show_line(before: Raw, after: Raw, start_ns: int) -> str:
    """One window in one line."""
    old, new = _decoded(before), _decoded(after)
    part = _merged({name: new[name] - old[name] for name in new if name != _LATE})
    seconds = (after.time_ns - before.time_ns) / 1e9
    return (
        f"{(after.time_ns - start_ns) / 1e9:7.1f} s  {part.count / seconds:10.1f}/s  "
        f"p50 {show_ns(part.p50_ns):>8}  p99 {show_ns(part.p99_ns):>8}  "
        f"max {show_ns(part.max_ns):>8}  failed {part.failed}"
    )


def counters_of(taken: list[tuple[int, bytes]]) -> list[tuple[float, dict[str, Any]]]:
    """(seconds, counters in between) of raw snapshots."""
    decoded = [(at, RuntimeStats.from_cbor(data)) for at, data in taken]
    found = []
    for (begin, before), (at, after) in itertools.pairwise(decoded):
        interval = after - before
        seconds = max((at - begin) / 1e9, 1e-9)
        busy = [shard.busy_ns / 1e9 / seconds for shard in interval.shards]
        counts = {name: getattr(interval, name) for name in _SHOWN_COUNTERS}
        found.append(((at - decoded[0][0]) / 1e9, {"seconds": seconds, "busy": busy, **counts}))
    return found


def _failures(latency: Latencies) -> str:
    kinds = {"timeout": latency.timeout, "overloaded": latency.overloaded, **latency.errors}
    words = [f"{count} {kind}" for kind, count in kinds.items() if count]
    return ", ".join(words) or "none"


def _decoded(raw: Raw) -> dict[str, Latencies]:
    return {name: Latencies(_cbor.loads(data)) for name, data in raw.recorders.items()}


def _merged(parts: Mapping[str, Latencies]) -> Latencies:
    total = Latencies.of([], "all")
    for one in parts.values():
        total = total + one
    return total


def _renamed(one: Latencies, name: str) -> Latencies:
    return Latencies({**one.as_dict(), "name": name})
