"""What a row of the benchmark is (a group of peers), and how it is measured: each measurement in
a process of its own, one peer after the other, round after round (A B C A B C), so that a slow
drift of the machine meets all of them. The result is the median of the rounds."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Literal

from processes import MeasurementFailed, Missing

SPARGIO: Final = "spargio"

Sample = dict[str, float]
"""One measurement: a value for each key."""

Measure = Callable[[str], Sample]
"""Measures the peer of that name once."""


@dataclass(frozen=True)
class Settings:
    rounds: int
    seconds: float
    """How long one measurement lasts."""
    peers: frozenset[str] | None = None
    """Only these, or all."""


@dataclass(frozen=True)
class Peer:
    name: str
    module: str | None = None
    """What must be importable, beside the standard library."""


@dataclass(frozen=True)
class Metric:
    key: str
    title: str
    digits: int = 0
    ratio: bool = True
    """Show it as a multiple of spargio's as well."""


@dataclass(frozen=True)
class Target:
    """`spargio/peer` or `peer/spargio`, of the medians of a metric, has to keep to a limit."""

    text: str
    metric: str
    peer: str
    ratio: Literal["spargio/peer", "peer/spargio"]
    relation: Literal[">=", "<="]
    limit: float

    def reached(self, ratio: float) -> bool:
        return ratio >= self.limit if self.relation == ">=" else ratio <= self.limit


@dataclass(frozen=True)
class Group:
    name: str
    title: str
    peers: Sequence[Peer]
    metrics: Sequence[Metric]
    targets: Sequence[Target]
    prepare: Callable[[Settings], AbstractContextManager[Measure]]
    """Holds what all measurements share (a compiled load generator, a file) while it is entered."""


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


@dataclass
class GroupResult:
    group: Group
    peers: list[PeerResult]

    def median(self, peer: str, key: str) -> float | None:
        return next((found.median(key) for found in self.peers if found.name == peer), None)

    def ratio(self, target: Target) -> float | None:
        """None where a side was not measured."""
        ours = self.median(SPARGIO, target.metric)
        theirs = self.median(target.peer, target.metric)
        if not ours or not theirs:
            return None
        return ours / theirs if target.ratio == "spargio/peer" else theirs / ours


def why_missing(module: str) -> str | None:
    """Import it in another process: the harness itself stays as small as it is, and an import that
    crashes is a missing peer. None when it can be imported."""
    outcome = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=False
    )
    if outcome.returncode == 0:
        return None
    return outcome.stderr.strip().rpartition("\n")[2] or f"exit status {outcome.returncode}"


def measure_group(group: Group, settings: Settings, progress: Callable[[str], None]) -> GroupResult:
    """Every round of every peer. `progress` is told what comes next."""
    wanted = [peer for peer in group.peers if not settings.peers or peer.name in settings.peers]
    result = GroupResult(group, [PeerResult(peer.name) for peer in wanted])
    for peer, peer_result in zip(wanted, result.peers, strict=True):
        reason = why_missing(peer.module) if peer.module else None
        if reason:
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
