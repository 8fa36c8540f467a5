"""The one rule of all waits here: a future leaves the queue of its exchange in one step, by the
task that serves it or by its own cancellation. So exactly one side has each thing that is handed
over. No step can be interrupted: a finalizer or a signal handler comes before it or after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ._ffi.core import NOTHING, Future, JoinHandle, native
from .errors import CancelledError

T = TypeVar("T")

ALL = (1 << 63) - 1
"""So many are served if all are."""

MOST = (1 << 62) - 1
"""More than this no exchange counts, or needs to."""


class Persistence:
    """Of a wait that goes on although its task is cancelled. A cancellation that is held (anyio's)
    would come at each of its awaits: it is reported once, and then kept back until :meth:`end`."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: JoinHandle[Any] | None = None

    def told(self, error: CancelledError) -> None:
        """The wait goes on after this one."""
        if self._task is None and getattr(error, "_scope", NOTHING) is None:
            self._task = native.current_task()
            native.keep_back(1)

    def end(self) -> None:
        """The wait is over. Nothing in another task, which closes a generator that was dropped."""
        task, self._task = self._task, None
        if task is not None and task is native.current_task():
            native.keep_back(-1)


def nothing(_: object) -> None:
    """Default `give_back`: does nothing."""


async def wait(
    future: Future[T],
    leave: Callable[[Future[T]], bool],
    give_back: Callable[[T], object] = nothing,
) -> T:
    """Await what somebody hands over; `leave` takes the future out of its queue. If something
    comes in the moment of a cancellation it is taken, and the cancellation comes at the next await;
    if the wait ends in another way (a coroutine that is closed, an await outside a task) it goes
    to `give_back`."""
    try:
        return await future
    except BaseException as error:
        if leave(future):
            raise
        if isinstance(error, CancelledError):
            native.redeliver(error)
            return future.result()
        give_back(future.result())
        raise


def wait_thread(
    future: Future[T],
    leave: Callable[[Future[T]], bool],
    timeout: float | None,
    give_back: Callable[[T], object] = nothing,
) -> T:
    """The same on an ordinary thread; ``TimeoutError`` after `timeout` seconds."""
    try:
        return future.result(timeout)
    except BaseException as error:
        if leave(future):
            raise
        if isinstance(error, TimeoutError):
            return future.result()
        give_back(future.result())
        raise
