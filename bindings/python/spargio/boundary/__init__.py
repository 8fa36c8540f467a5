"""Calls across the boundary of a runtime: clients on ordinary threads, in a running asyncio loop,
or in tasks; a server in tasks. Bounded: what the server cannot take is refused at once."""

from __future__ import annotations

from .._lazy import lazy

__all__ = (
    "BoundaryStats",
    "Canceled",
    "Client",
    "Closed",
    "Overloaded",
    "Request",
    "Server",
    "Ticket",
    "Timeout",
    "channel",
    "stats_snapshot",
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._boundary import (
        BoundaryStats,
        Canceled,
        Client,
        Closed,
        Overloaded,
        Request,
        Server,
        Ticket,
        Timeout,
        channel,
        stats_snapshot,
    )
else:
    __getattr__, __dir__ = lazy(__name__, {".._boundary": __all__})
