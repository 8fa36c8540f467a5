"""What a row of the benchmark is (a group of peers), and how it is measured: each measurement in
a process of its own, one peer after the other, round after round (A B C A B C), so that a slow
drift of the machine meets all of them. The result is the median of the rounds."""

from __future__ import annotations

import functools
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from processes import MeasurementFailed, Missing

SPARGIO: Final = "spargio"
SPARGIO_2: Final = "spargio-2-shards"

Sample = dict[str, float]
"""One measurement: a value for each key."""

Better = Literal["lower", "higher"]

PACKAGES: Final = {"asyncfiles": "py-asyncfiles"}
"""Modules whose package has another name."""

Measure = Callable[[str], Sample]
"""Measures the peer of that name once."""


@dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: float
    """How long one measurement lasts."""
    peers: frozenset[str] | None = None
    """Only these, or all."""
    quick: bool = False
    """Does it run? Fewer files, shorter warm-ups."""
    free_threaded: str | None = None
    """An interpreter without a GIL, that can import spargio."""


@dataclass(frozen=True)
class Peer:
    name: str
    module: str | None = None
    """What must be importable, beside the standard library."""
    also: str | None = None
    """What else must be."""

    def why_missing(self) -> str | None:
        modules = filter(None, (self.module, self.also))
        return next(filter(None, map(why_missing, modules)), None)


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    digits: int = 0
    ratio: bool = True
    """Show it as a multiple of spargio's as well."""
    unit: str = ""
    better: Better = "lower"
    headline: bool = False
    """Plotted, and watched by the guard. Where no metric of a group says so, the first is."""


@dataclass(frozen=True)
class Target:
    """`spargio/peer` or `peer/spargio`, of the medians of a metric, has to keep to a limit; or the
    median itself has to ("value")."""

    text: str
    metric: str
    peer: str | tuple[str, ...]
    """Of several, the one that makes the target hardest: "the best of"."""
    ratio: Literal["spargio/peer", "peer/spargio", "value"]
    relation: Literal[">=", "<=", "<"]
    limit: float
    needs: str = ""
    """Why it says nothing about this machine or Python; empty where it does."""
    subject: str = ""
    """Whose figure has to; empty for the row's subject."""

    @property
    def peers(self) -> tuple[str, ...]:
        return (self.peer,) if isinstance(self.peer, str) else self.peer

    def reached(self, measured: float) -> bool:
        if self.relation == ">=":
            return measured >= self.limit
        return measured < self.limit if self.relation == "<" else measured <= self.limit


@dataclass(frozen=True)
class Outcome:
    """What became of a target. None: not measured."""

    measured: float | None
    reached: bool | None
    against: str
    """The peer that decided."""
    note: str = ""


@dataclass(frozen=True)
class Group:
    """A row: what one table compares."""

    name: str
    title: str
    peers: Sequence[Peer]
    metrics: Sequence[Metric]
    targets: Sequence[Target]
    prepare: Callable[[Settings], AbstractContextManager[Measure]]
    """Holds what all measurements share (a compiled load generator, a file) while it is entered."""
    family: str = ""
    """Rows of one family are chosen and plotted together."""
    quick: bool = True
    """With --quick as well: not where other rows of the family run the same code."""
    subject: str = SPARGIO
    """Whose figures the others are compared with."""

    @property
    def family_name(self) -> str:
        return self.family or self.name

    @property
    def headlines(self) -> Sequence[Metric]:
        return [metric for metric in self.metrics if metric.headline] or self.metrics[:1]


@dataclass
class PeerResult:
    name: str
    status: Literal["measured", "missing", "failed"] = "measured"
    reason: str = ""
    samples: list[Sample] = field(default_factory=list)

    def stop(self, status: Literal["missing", "failed"], reason: str) -> None:
        self.status, self.reason = status, reason
        self.samples.clear()

    def values(self, key: str) -> list[float]:
        return [sample[key] for sample in self.samples]

    def median(self, key: str) -> float | None:
        return statistics.median(self.values(key)) if self.samples else None

    def spread(self, key: str) -> float | None:
        """Half of the distance between the lowest and the highest round, as a part of the
        median."""
        median = self.median(key)
        values = self.values(key)
        return (max(values) - min(values)) / 2 / median if median else None


@dataclass
class GroupResult:
    group: Group
    peers: list[PeerResult]

    def median(self, peer: str, key: str) -> float | None:
        return next((found.median(key) for found in self.peers if found.name == peer), None)

    def ratio(self, target: Target) -> float | None:
        """None where a side was not measured."""
        return self.outcome(target).measured

    def outcome(self, target: Target) -> Outcome:
        if target.needs:
            return Outcome(None, None, "", target.needs)
        ours = self.median(target.subject or self.group.subject, target.metric)
        if target.ratio == "value":
            return _decided(target, ours, "")
        found: list[tuple[float, str]] = []
        absent: list[str] = []
        for peer in target.peers:
            theirs = self.median(peer, target.metric)
            if ours and theirs:
                ratio = ours / theirs if target.ratio == "spargio/peer" else theirs / ours
                found.append((ratio, peer))
            elif not theirs:
                absent.append(peer)
        if not found:
            return _decided(target, None, "")
        measured, against = min(found) if target.relation == ">=" else max(found)
        return _decided(target, measured, against, f"without {', '.join(absent)}" * bool(absent))


def _decided(target: Target, measured: float | None, against: str, note: str = "") -> Outcome:
    reached = None if measured is None else target.reached(measured)
    return Outcome(measured, reached, against, note)


def advantage(ours: float, theirs: float, better: Better) -> float | None:
    """How many times better ours is; None where a figure is zero (a time below the clock's tick)
    and says nothing."""
    if not ours or not theirs:
        return None
    return theirs / ours if better == "lower" else ours / theirs


@functools.cache
def why_missing(module: str) -> str | None:
    """Import it in another process: the harness itself stays as small as it is, and an import that
    crashes is a missing peer. None when it can be imported."""
    outcome = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    if outcome.returncode == 0:
        return None
    said = outcome.stderr.strip().rpartition("\n")[2] or f"exit status {outcome.returncode}"
    return f"{said}{_where_it_is(module)}"


def _where_it_is(module: str) -> str:
    """Where pyproject.toml says that a package is only for some Pythons, this may not be one."""
    package = PACKAGES.get(module, module)
    text = (Path(__file__).resolve().parent.parent.parent / "pyproject.toml").read_text()
    markers = re.findall(rf'"{re.escape(package)}==[^;"]*;([^"]*)"', text)
    return f"; the package is for {' or '.join(map(str.strip, markers))}" if markers else ""


def measure_group(group: Group, settings: Settings, progress: Callable[[str], None]) -> GroupResult:
    """Every round of every peer. `progress` is told what comes next."""
    wanted = [peer for peer in group.peers if not settings.peers or peer.name in settings.peers]
    result = GroupResult(group, [PeerResult(peer.name) for peer in wanted])
    for peer, peer_result in zip(wanted, result.peers, strict=True):
        if reason := peer.why_missing():
            peer_result.stop("missing", reason)
    with group.prepare(settings) as measure:
        for number in range(1, settings.rounds + 1):
            for peer_result in result.peers:
                if peer_result.status != "measured":
                    continue
                progress(f"{group.name}: round {number} of {settings.rounds}, {peer_result.name}")
                try:
                    peer_result.samples.append(measure(peer_result.name))
                except Missing as error:
                    peer_result.stop("missing", str(error))
                except MeasurementFailed as error:
                    peer_result.stop("failed", str(error))
    return result


def not_measured(
    group: Group, settings: Settings, status: Literal["missing", "failed"], reason: str
) -> GroupResult:
    """For a row that cannot even be prepared: every peer says why."""
    wanted = [peer for peer in group.peers if not settings.peers or peer.name in settings.peers]
    result = GroupResult(group, [PeerResult(peer.name) for peer in wanted])
    for peer in result.peers:
        peer.stop(status, reason)
    return result
