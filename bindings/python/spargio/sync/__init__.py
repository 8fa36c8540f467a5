"""Synchronisation between tasks of all shards. First come, first served; a wait that is cancelled
has taken nothing. What does not wait may be called from any thread."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._broadcast import Broadcast, Lagged, Subscriber, Watch, Watcher, broadcast, watch
    from ._channels import (
        ChannelClosed,
        ChannelEmpty,
        ChannelFull,
        Receiver,
        Sender,
        channel,
        oneshot,
    )
    from ._events import Barrier, Event, OnceCell
    from ._locks import Condition, Lock, RwLock, Semaphore
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._broadcast": (
                "Broadcast",
                "Lagged",
                "Subscriber",
                "Watch",
                "Watcher",
                "broadcast",
                "watch",
            ),
            "._channels": (
                "ChannelClosed",
                "ChannelEmpty",
                "ChannelFull",
                "Receiver",
                "Sender",
                "channel",
                "oneshot",
            ),
            "._events": ("Barrier", "Event", "OnceCell"),
            "._locks": ("Condition", "Lock", "RwLock", "Semaphore"),
        },
    )

__all__ = (
    "Barrier",
    "Broadcast",
    "ChannelClosed",
    "ChannelEmpty",
    "ChannelFull",
    "Condition",
    "Event",
    "Lagged",
    "Lock",
    "OnceCell",
    "Receiver",
    "RwLock",
    "Semaphore",
    "Sender",
    "Subscriber",
    "Watch",
    "Watcher",
    "broadcast",
    "channel",
    "oneshot",
    "watch",
)
