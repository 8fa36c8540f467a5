"""``run``: the work of ``asyncio.run`` on our loop, also on a Python whose ``run`` has no
``loop_factory``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from ._loop import new_event_loop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run `main` on a new loop, close the loop at the end, and return the result.

    The same as ``asyncio.run(main, debug=debug, loop_factory=new_event_loop)``, for CPython 3.10
    and newer. Raises ``RuntimeError`` if a loop runs in this thread."""
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
            return runner.run(main)
    return _run_310(main, debug)


def _run_310(main: Coroutine[Any, Any, T], debug: bool | None) -> T:
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError("spargio.asyncio.run() cannot be called from a running event loop")
    loop = new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        result: T = loop.run_until_complete(main)
        return result
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if not tasks:
        return
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during spargio.asyncio.run() shutdown",
                    "exception": error,
                    "task": task,
                }
            )
