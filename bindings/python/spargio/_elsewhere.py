"""A JoinHandle that is awaited in an asyncio loop of another kind: a task of the handle's own
runtime waits there, and sets a future of the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import Any

from ._ffi import constants
from ._ffi.core import JoinHandle
from .errors import CancelledError, Overloaded, RuntimeClosed


def awaited(job: JoinHandle[Any]) -> Generator[Any, None, Any]:
    """What ``job.__await__()`` returns there. A cancellation ends the wait, and not the job."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        elif isinstance(error, StopIteration):  # A future takes none.
            future.set_exception(RuntimeError("what was awaited raised StopIteration"))
        else:
            future.set_exception(error)

    def tell(value: Any, error: BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
            loop.call_soon_threadsafe(settle, value, error)

    async def wait() -> None:
        while True:
            try:
                value = await job
            except CancelledError:
                continue  # Its runtime closes, and cancels the job as well.
            except BaseException as error:
                return tell(None, error)
            return tell(value, None)

    def wait_on_a_thread() -> None:
        try:
            value = job.result()
        except BaseException as error:
            return tell(None, error)
        return tell(value, None)

    try:
        job._runtime.spawn(constants.PLACE_PINNED, 0, wait(), "join from asyncio")
    except (Overloaded, RuntimeClosed):
        loop.run_in_executor(None, wait_on_a_thread)
    return future.__await__()
