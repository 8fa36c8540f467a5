"""An asyncio event loop on a spargio shard, for programs that are written for asyncio::

    asyncio.run(main(), loop_factory=spargio.asyncio.new_event_loop)   # CPython 3.12 and newer
    spargio.asyncio.run(main())                                        # CPython 3.10 and newer

Tasks and futures are asyncio's own. See docs/asyncio.md.
"""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._loop import EventLoop, new_event_loop
    from ._run import run
    from ._stats import LoopStats
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._loop": ("EventLoop", "new_event_loop"),
            "._run": ("run",),
            "._stats": ("LoopStats",),
            "._children": (),
            "._datagram": (),
            "._native": (),
            "._sockets": (),
            "._stream": (),
            "._streams": (),
            "._tls": (),
            "._transport": (),
        },
    )

__all__ = ("EventLoop", "LoopStats", "new_event_loop", "run")
