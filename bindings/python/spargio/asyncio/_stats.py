"""What ``loop.stats_snapshot()`` returns."""

from __future__ import annotations

from .._records import dataclass
from ..latency import Latencies
from ..stats import ShardStats

LAG = "spargio loop"
"""The recorder of turn.zig."""


@dataclass(frozen=True)
class LoopStats:
    """One snapshot of an asyncio loop."""

    callbacks_run: int
    """Callbacks, steps of tasks and due timers that the loop has run; protocols' calls are not
    counted."""
    transports: int
    """Stream transports that are open."""
    lag: Latencies
    """How long callbacks ran before the loop asked the kernel again, each time: so long something
    new may have waited. Of all loops of the process (the recorder ``spargio loop``)."""
    shard: ShardStats | None
    """The counters of the loop's shard; None before the first run."""
