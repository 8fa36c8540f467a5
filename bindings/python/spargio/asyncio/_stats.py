"""What ``loop.stats_snapshot()`` returns."""

from __future__ import annotations

from .._records import dataclass
from ..stats import ShardStats


@dataclass(frozen=True)
class LoopStats:
    """One snapshot of an asyncio loop."""

    callbacks_run: int
    """Callbacks, steps of tasks and due timers that the loop has run; protocols' calls are not
    counted."""
    transports: int
    """Stream transports that are open."""
    shard: ShardStats | None
    """The counters of the loop's shard; None before the first run."""
