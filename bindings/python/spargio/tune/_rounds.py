"""What one round measured, and the differences of a block of rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from spargio._counters import GAUGES, MAXIMA
from spargio.latency import Latencies

from ._comparison import COUNTED
from ._machine import FOREIGN_MAX, STOLEN_MAX
from ._statistics import log_ratio

if TYPE_CHECKING:
    from spargio import RuntimeStats

__all__ = ("Counters", "Differences", "Pair", "Round", "merged")

WINDOW_S = 0.1
WINDOW_OPERATIONS = 1000
"""A window with so many operations has tails of its own."""
_POOL_OPERATIONS = 10_000
POOL_BLOCKS_MAX = 4
NOT_SUMMED = GAUGES | MAXIMA
_OF_SHARD = ("busy_ns", "idle_ns", "polls", "passes", "stealable_executed")


@dataclass(frozen=True)
class Counters:
    """The counters of the tuned runtime during a round, or several."""

    seconds: float = 0.0
    total: Mapping[str, int] = field(default_factory=dict)
    shards: Sequence[Mapping[str, int]] = ()
    outside: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, int] = field(default_factory=dict)
    """The values in force."""

    @classmethod
    def of(cls, interval: RuntimeStats) -> Counters:
        return cls(
            interval.time_ns / 1e9,
            _numbers(interval.as_dict()),
            [{name: getattr(one, name) for name in _OF_SHARD} for one in interval.shards],
            _numbers(interval.outside.as_dict()),
            dict(interval.options),
        )

    def __add__(self, other: Counters) -> Counters:
        """Of gauges and maxima the greater one."""
        if not self.total:
            return other
        return Counters(
            self.seconds + other.seconds,
            _sum(self.total, other.total),
            [_sum(*pair) for pair in zip(self.shards, other.shards, strict=True)],
            _sum(self.outside, other.outside),
            other.options,
        )


def _numbers(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in values.items() if isinstance(value, int)}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for name in {**one, **other}:
        both = one.get(name, 0), other.get(name, 0)
        found[name] = max(both) if name in NOT_SUMMED else sum(both)
    return found


@dataclass(frozen=True)
class Round:
    """One side under the load, for a quarter of a second or a second."""

    latency: Latencies
    tails: Sequence[tuple[int, int]]
    """p95 and p99 of each window of 100 ms that has 1000 operations."""
    operations: int
    """Those that `cpu_ns` was spent on. A server's are all that were offered; a function's, whose
    process is the generator too, are those after the warm-up."""
    completed: float
    """The part of the arrivals that ended in time."""
    cpu_ns: int
    """Of the tuned process and its children."""
    late: float
    """The part that the generator began more than 1 ms late, with a free connection."""
    foreign: float
    stolen: float
    counters: Counters = field(default_factory=Counters)

    @property
    def is_marked(self) -> bool:
        """Others disturbed it. Says nothing of how the tuned process did."""
        return self.foreign > FOREIGN_MAX or self.stolen > STOLEN_MAX

    @property
    def cpu_per_operation_ns(self) -> float:
        return self.cpu_ns / max(self.operations, 1)

    def counted(self, name: str) -> int:
        """Errors, or refusals for want of room, by the runtime's count or the client's."""
        if name == "backpressure":
            refused = self.counters.total.get("stealable_backpressure", 0)
            return max(refused, self.latency.overloaded)
        return self.latency.failed - self.latency.overloaded

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "latency": self.latency.as_dict(),
            "counters": self.counters.__dict__,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Round:
        return cls(
            **{
                **values,
                "latency": Latencies.from_dict(values["latency"]),
                "tails": [tuple(one) for one in values["tails"]],
                "counters": Counters(**values["counters"]),
            }
        )


@dataclass(frozen=True)
class Pair:
    """A round of each side, one right after the other."""

    a: Round
    b: Round
    redone: int = 0
    """How often it was measured again, because one side was marked."""

    def to_dict(self) -> dict[str, Any]:
        return {"a": self.a.to_dict(), "b": self.b.to_dict(), "redone": self.redone}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pair:
        read = Round.from_dict
        return cls(read(values["a"]), read(values["b"]), values["redone"])


Block = Sequence[Pair]


def merged(latencies: Iterable[Latencies]) -> Latencies:
    total = Latencies.of([], "all")
    for one in latencies:
        total = total + one
    return total


def _whole(pairs: Iterable[Pair]) -> tuple[Latencies, Latencies]:
    """Each side's latencies of several pairs."""
    held = list(pairs)
    return merged(one.a.latency for one in held), merged(one.b.latency for one in held)


class Differences:
    """Log-ratios B / A, block by block. A tail needs operations: p95 and p99 are medians over
    windows that have enough of them, else of the whole block; p99.9 and the maximum are of up to
    four blocks."""

    def __init__(self) -> None:
        self._pool: list[Pair] = []
        self._pooled_blocks = 0

    def add(self, block: Block) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Those of the block, and those of the pool that it fills, which may be empty."""
        found = {
            "cpu": [log_ratio(p.b.cpu_per_operation_ns, p.a.cpu_per_operation_ns) for p in block],
            "p50": [log_ratio(p.b.latency.p50_ns, p.a.latency.p50_ns) for p in block],
            **_tails(block),
        }
        for name in COUNTED:
            found[name] = [
                math.log((p.b.counted(name) + 1) / (p.a.counted(name) + 1)) for p in block
            ]
        self._pool += block
        self._pooled_blocks += 1
        return found, self._pooled()

    def _pooled(self) -> dict[str, list[float]]:
        enough = min(
            sum(pair.a.latency.count for pair in self._pool),
            sum(pair.b.latency.count for pair in self._pool),
        )
        if enough < _POOL_OPERATIONS and self._pooled_blocks < POOL_BLOCKS_MAX:
            return {}
        a, b = _whole(self._pool)
        self._pool, self._pooled_blocks = [], 0
        return {"p999": [log_ratio(b.p999_ns, a.p999_ns)], "max": [log_ratio(b.max_ns, a.max_ns)]}


def _tails(block: Block) -> dict[str, list[float]]:
    if all(side.tails for pair in block for side in (pair.a, pair.b)):
        return {
            name: [
                log_ratio(
                    median(one[n] for one in pair.b.tails), median(one[n] for one in pair.a.tails)
                )
                for pair in block
            ]
            for n, name in enumerate(("p95", "p99"))
        }
    a, b = _whole(block)
    return {"p95": [log_ratio(b.p95_ns, a.p95_ns)], "p99": [log_ratio(b.p99_ns, a.p99_ns)]}
