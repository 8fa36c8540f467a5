"""Statistics snapshots. The counters and their meaning: ``docs/stats.cddl``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import _cbor

__all__ = ("RuntimeStats", "ShardStats")


class ShardStats:
    """The counters of one shard, or a sum of them, as attributes. Monotonic, but for the ones that
    say what is true now: ``ops_in_flight``, ``timers_set``, ``run_queue_depth``,
    ``stealable_queue_depth``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no counter is named {name!r}") from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._values})

    def as_dict(self) -> dict[str, Any]:
        """A copy of all counters."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self._values)!r})"

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
    runtime did in ``outside``, the configured values in ``options``; ``backend`` is ``"io_uring"``
    or ``"epoll"``."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        super().__init__(snapshot["total"])
        self.version: int = snapshot["version"]
        self.library: str = snapshot["library"]
        self.backend: str = snapshot["backend"]
        self.options: dict[str, int] = dict(snapshot["options"])
        self.shards = tuple(ShardStats(values) for values in snapshot["shards"])
        self.outside = ShardStats(snapshot["outside"])

    @classmethod
    def from_cbor(cls, data: bytes) -> RuntimeStats:
        return cls(_cbor.loads(data))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
