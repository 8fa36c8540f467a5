"""Statistics snapshots. The counters and their meaning: ``docs/counters.md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from . import _cbor
from ._counters import GAUGES, MAXIMA, Gauges, ShardCounters, SpawnCounters

if TYPE_CHECKING:
    from .latency import Latencies

__all__ = ("OutsideStats", "RuntimeStats", "ShardStats")

S = TypeVar("S", bound="OutsideStats")

_NOT_SUBTRACTED = GAUGES | MAXIMA | {"shard"}


class OutsideStats(SpawnCounters):
    """What threads outside the runtime counted. ``after - before`` is the counts in between;
    gauges and maxima are those of `after`. ``ValueError`` if `before` is the later one."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.__dict__.update(values)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(f"no counter is named {name!r}")

    def as_dict(self) -> dict[str, Any]:
        """A copy of all counters."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self._values)!r})"

    def __sub__(self: S, before: S) -> S:
        if type(before) is not type(self):
            return NotImplemented
        return type(self)(_subtract(self._values, before._values))


class ShardStats(OutsideStats, ShardCounters, Gauges):
    """The counters of one shard, or a sum of them, as attributes. Monotonic, but for the ones that
    say what is true now: ``ops_in_flight``, ``timers_set``, ``run_queue_depth``,
    ``stealable_queue_depth``. ``after - before`` is the counts in between."""

    shard: int
    """The shard's number; a sum has none."""

    def steal_success_rate(self) -> float:
        """steal_success / steal_attempts; 0.0 before the first attempt."""
        return _ratio(self.steal_success, self.steal_attempts)

    def local_hit_ratio(self) -> float:
        """stealable_local_hits / stealable_executed; 0.0 before the first."""
        return _ratio(self.stealable_local_hits, self.stealable_executed)

    def stolen_per_scan(self) -> float:
        """steal_success / steal_scans; 0.0 before the first scan."""
        return _ratio(self.steal_success, self.steal_scans)


class RuntimeStats(ShardStats):
    """One snapshot: the sums as attributes, each shard in ``shards``, what threads outside the
    runtime did in ``outside``, the configured values in ``options``, latencies in ``recorders``;
    ``backend`` is ``"io_uring"`` or ``"epoll"``."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        super().__init__(snapshot["total"])
        self._snapshot = snapshot
        self.version: int = snapshot["version"]
        self.library: str = snapshot["library"]
        self.backend: str = snapshot["backend"]
        self.time_ns: int = snapshot["time_ns"]
        """When it was taken, of ``time.monotonic_ns()``; the duration after a subtraction."""
        self.options: dict[str, int] = dict(snapshot["options"])
        self.shards = tuple(ShardStats(values) for values in snapshot["shards"])
        self.outside = OutsideStats(snapshot["outside"])

    @classmethod
    def from_cbor(cls, data: bytes) -> RuntimeStats:
        """From what ``spargio_stats_cbor`` writes. ``ValueError`` for anything else."""
        found, recorders = _cbor.split_last(data, "recorders")
        # Most readers want the counters only, and a process may have many recorders.
        return cls({**found, "recorders": recorders})

    @property
    def recorders(self) -> dict[str, Latencies]:
        """What the latency recorders of the process hold, by name."""
        from .latency import Latencies

        held = self._snapshot["recorders"]
        if isinstance(held, bytes):
            held = _cbor.loads(held)
        return {one["name"]: Latencies(one) for one in held}

    def __sub__(self, before: RuntimeStats) -> RuntimeStats:
        """The interval between two snapshots of one runtime. ``ValueError`` if they are of two
        runtimes, or `before` is the later one."""
        if not isinstance(before, RuntimeStats):
            return NotImplemented
        if len(self.shards) != len(before.shards):
            raise ValueError(
                f"before must be a snapshot of the same runtime, of {len(self.shards)} shards, "
                f"got one of {len(before.shards)}"
            )
        pairs = zip(self._snapshot["shards"], before._snapshot["shards"], strict=True)
        past = before.recorders
        return RuntimeStats(
            {
                **self._snapshot,
                "time_ns": self.time_ns - before.time_ns,
                "total": _subtract(self._values, before._values),
                "shards": [_subtract(*pair) for pair in pairs],
                "outside": _subtract(self.outside._values, before.outside._values),
                "recorders": [
                    (one - past[name] if name in past else one).as_dict()
                    for name, one in self.recorders.items()
                ],
            }
        )


def _subtract(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A counter that `before` lacks, of an older library, began at 0."""
    result = dict(after)
    for name, value in after.items():
        if name in _NOT_SUBTRACTED:
            continue
        if isinstance(value, int):
            result[name] = _difference(name, value, before.get(name, 0))
        else:
            past = before.get(name, {})
            result[name] = {
                key: value[key] - past.get(key, 0) for key in value if value[key] != past.get(key)
            }
    return result


def _difference(name: str, after: int, before: int) -> int:
    if after < before:
        raise ValueError(
            f"before must be the earlier snapshot of the same runtime: its {name} must be at most "
            f"{after}, got {before}"
        )
    return after - before


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
