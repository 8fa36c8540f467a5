"""An asyncio event loop on a spargio shard, for programs that are written for asyncio::

    asyncio.run(main(), loop_factory=spargio.asyncio.new_event_loop)   # CPython 3.12 and newer
    spargio.asyncio.run(main())                                        # CPython 3.10 and newer

Tasks and futures are asyncio's own. See docs/asyncio.md.
"""

from __future__ import annotations

from ._loop import EventLoop, new_event_loop
from ._run import run
from ._stats import LoopStats

__all__ = ("EventLoop", "LoopStats", "new_event_loop", "run")
