"""What a recorder holds at one moment, and the arithmetic of its histogram."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ("Latencies",)

LONGEST_NS = 3_600_000_000_000
HALF = 1024
"""Values below twice this have a bucket each; from there on each power of two has so many."""

Outcomes = dict[str, int]


def index_of(ns: int) -> int:
    """The bucket that counts a duration."""
    value = min(ns, LONGEST_NS)
    shift = max(0, value.bit_length() - HALF.bit_length())
    return (shift * HALF) + (value >> shift)


def lowest_of(index: int) -> int:
    """The least duration that a bucket counts."""
    if index < 2 * HALF:
        return index
    shift = index // HALF - 1
    return (HALF + index % HALF) << shift


def highest_of(index: int) -> int:
    """The greatest one."""
    return lowest_of(index + 1) - 1


class Latencies:
    """Durations in nanoseconds with outcomes, as a recorder held them when it was read; immutable.

    ``after - before`` is what was recorded in between; its minimum and maximum are those of
    the buckets, exact to three digits. ``one + other`` merges. Any thread."""

    __slots__ = (
        "_cumulated",
        "buckets",
        "bytes",
        "count",
        "errors",
        "max_ns",
        "min_ns",
        "name",
        "ok",
        "operations",
        "overloaded",
        "shards",
        "sum_ns",
        "timeout",
    )

    name: str
    """The recorder's name."""
    count: int
    """Durations recorded."""
    sum_ns: int
    """Their sum."""
    min_ns: int
    """The least one; 0 if there is none."""
    max_ns: int
    """The greatest one; 0 if there is none."""
    ok: int
    """Operations that went well."""
    timeout: int
    """Operations that took too long."""
    overloaded: int
    """Operations that were refused for want of room."""
    errors: dict[str, int]
    """Operations that failed, by kind."""
    bytes: int
    """Bytes moved."""
    operations: int
    """Operations done; a record counts as one unless it says otherwise."""
    shards: list[dict[str, int]]
    """Of the scheduler's own recorders: ``shard``, ``count``, ``p50_ns``, ``p99_ns`` and ``max_ns``
    of each shard that runs, since its start; else empty. Not subtracted."""
    buckets: dict[int, int]
    """Bucket number to count, in ascending order; :func:`lowest_of` and docs/stats.cddl say what
    each counts."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.name = values["name"]
        self.buckets = dict(values["buckets"])
        self.count = sum(self.buckets.values())
        self.sum_ns = values["sum_ns"]
        self.min_ns = values["min_ns"]
        self.max_ns = values["max_ns"]
        outcomes = values["outcomes"]
        self.ok = outcomes["ok"]
        self.timeout = outcomes["timeout"]
        self.overloaded = outcomes["overloaded"]
        self.errors = dict(outcomes["errors"])
        self.bytes = values["bytes"]
        self.operations = values["operations"]
        self.shards = list(values.get("shards", ()))
        self._cumulated: list[tuple[int, int]] | None = None

    @classmethod
    def of(cls, durations_ns: Iterable[int], name: str = "latencies") -> Latencies:
        """From durations of any source."""
        buckets: dict[int, int] = {}
        everything = list(durations_ns)
        for ns in everything:
            index = index_of(ns)
            buckets[index] = buckets.get(index, 0) + 1
        return cls(
            {
                "name": name,
                "buckets": dict(sorted(buckets.items())),
                "sum_ns": sum(everything),
                "min_ns": min(everything, default=0),
                "max_ns": max(everything, default=0),
                "bytes": 0,
                "operations": len(everything),
                "outcomes": {"ok": len(everything), "timeout": 0, "overloaded": 0, "errors": {}},
            }
        )

    @property
    def failed(self) -> int:
        """Operations that did not go well."""
        return self.timeout + self.overloaded + sum(self.errors.values())

    @property
    def mean_ns(self) -> float:
        """0.0 if there is none. Says little: look at the percentiles."""
        return self.sum_ns / self.count if self.count else 0.0

    @property
    def p50_ns(self) -> int:
        return self.percentile_ns(50)

    @property
    def p90_ns(self) -> int:
        return self.percentile_ns(90)

    @property
    def p95_ns(self) -> int:
        return self.percentile_ns(95)

    @property
    def p99_ns(self) -> int:
        return self.percentile_ns(99)

    @property
    def p999_ns(self) -> int:
        return self.percentile_ns(99.9)

    def percentile_ns(self, percent: float) -> int:
        """The duration that `percent` of 100 do not exceed, exact to three digits; 0 if there is
        none. ``ValueError`` for a percentage that is not between 0 and 100."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be between 0 and 100, got {percent!r}")
        if not self.count:
            return 0
        wanted = max(1, -int(-(self.count * percent) // 100))
        for seen, index in self._cumulate():
            if seen >= wanted:
                return min(highest_of(index), self.max_ns)
        return self.max_ns

    def _cumulate(self) -> list[tuple[int, int]]:
        if self._cumulated is None:
            total = 0
            self._cumulated = []
            for index, count in self.buckets.items():
                total += count
                self._cumulated.append((total, index))
        return self._cumulated

    def distribution(self) -> Iterator[tuple[float, int]]:
        """(percentage, duration in ns) of each bucket in use: the points of a percentile plot."""
        for seen, index in self._cumulate():
            yield 100 * seen / self.count, min(highest_of(index), self.max_ns)

    def above(self, ns: int) -> int:
        """How many took longer, exact to three digits."""
        limit = index_of(ns)
        return sum(count for index, count in self.buckets.items() if index > limit)

    def __sub__(self, before: Latencies) -> Latencies:
        if not isinstance(before, Latencies):
            return NotImplemented
        return self._combined(before, -1)

    def __add__(self, other: Latencies) -> Latencies:
        if not isinstance(other, Latencies):
            return NotImplemented
        return self._combined(other, 1)

    def _combined(self, other: Latencies, sign: int) -> Latencies:
        buckets = _add(self.buckets, other.buckets, sign, self.name)
        low = lowest_of(min(buckets)) if buckets else 0
        high = highest_of(max(buckets)) if buckets else 0
        if sign > 0:
            low = min((one.min_ns for one in (self, other) if one.count), default=0)
            high = max(self.max_ns, other.max_ns)
        return Latencies(
            {
                "name": self.name,
                "shards": self.shards,
                "buckets": dict(sorted(buckets.items())),
                "sum_ns": self.sum_ns + sign * other.sum_ns,
                "min_ns": max(low, self.min_ns) if sign < 0 and buckets else low,
                "max_ns": min(high, self.max_ns) if sign < 0 else high,
                "bytes": self.bytes + sign * other.bytes,
                "operations": self.operations + sign * other.operations,
                "outcomes": {
                    "ok": self.ok + sign * other.ok,
                    "timeout": self.timeout + sign * other.timeout,
                    "overloaded": self.overloaded + sign * other.overloaded,
                    "errors": _add(self.errors, other.errors, sign, self.name),
                },
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """As a snapshot has it (docs/stats.cddl)."""
        return {
            **({"shards": self.shards} if self.shards else {}),
            "name": self.name,
            "count": self.count,
            "sum_ns": self.sum_ns,
            "min_ns": self.min_ns,
            "max_ns": self.max_ns,
            "mean_ns": int(self.mean_ns),
            "p50_ns": self.p50_ns,
            "p90_ns": self.p90_ns,
            "p95_ns": self.p95_ns,
            "p99_ns": self.p99_ns,
            "p999_ns": self.p999_ns,
            "bytes": self.bytes,
            "operations": self.operations,
            "outcomes": {
                "ok": self.ok,
                "timeout": self.timeout,
                "overloaded": self.overloaded,
                "errors": dict(self.errors),
            },
            "buckets": dict(self.buckets),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Latencies:
        """From :meth:`as_dict`, also after a turn through JSON, which has no numbers as keys."""
        buckets = {int(index): count for index, count in values["buckets"].items()}
        return cls({**values, "buckets": dict(sorted(buckets.items()))})

    def __repr__(self) -> str:
        return (
            f"<Latencies {self.name!r}: {self.count} recorded, p50 {show_ns(self.p50_ns)}, "
            f"p99 {show_ns(self.p99_ns)}, max {show_ns(self.max_ns)}, {self.failed} failed>"
        )


def _add(one: Mapping[Any, int], other: Mapping[Any, int], sign: int, name: str) -> dict[Any, int]:
    """Without what comes to 0."""
    result = dict(one)
    for key, count in other.items():
        result[key] = result.get(key, 0) + sign * count
        if result[key] < 0:
            raise ValueError(
                f"before must be the earlier state of the recorder {name!r}: it has more in "
                f"{key!r} than the later one"
            )
    return {key: count for key, count in result.items() if count}


def show_ns(ns: float) -> str:
    """With a unit that suits, three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.0f} ns"
