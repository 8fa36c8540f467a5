"""The one rule of all that waits here: an entry is taken out of its queue, under the lock, by who
hands something over (and sets its future before the lock is let go) or by its own cancellation. So
each thing handed over is had by exactly one side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from .._ffi.core import Future, native
from ..errors import CancelledError

T = TypeVar("T")

Lock = AbstractContextManager[Any]


def nothing(_: Any) -> None:
    """What there is to give back where nothing was taken."""


async def wait(
    future: Future[T],
    queue: deque[Any],
    entry: object,
    lock: Lock,
    give_back: Callable[[T], object] = nothing,
) -> T:
    """Await what somebody hands over. Where that comes in the moment of a cancellation it is taken,
    and the cancellation comes at the next await; where the wait ends in another way (a coroutine
    that is closed, an await outside a task) it goes to `give_back`."""
    try:
        return await future
    except BaseException as error:
        if withdraw(queue, entry, lock):
            raise
        if isinstance(error, CancelledError):
            native.redeliver(error)
            return future.result()
        give_back(future.result())
        raise


def wait_thread(
    future: Future[T],
    queue: deque[Any],
    entry: object,
    lock: Lock,
    timeout: float | None,
    give_back: Callable[[T], object] = nothing,
) -> T:
    """The same on an ordinary thread; ``TimeoutError`` after `timeout` seconds."""
    try:
        return future.result(timeout)
    except BaseException as error:
        if withdraw(queue, entry, lock):
            raise
        if isinstance(error, TimeoutError):
            return future.result()
        give_back(future.result())
        raise


def withdraw(queue: deque[Any], entry: object, lock: Lock) -> bool:
    """False where it is not in the queue any more: it was served."""
    with lock:
        try:
            queue.remove(entry)
        except ValueError:
            return False
        return True


def hand_over(queue: deque[Future[Any]], value: object) -> bool:
    """To the first who waits, if any. Under the lock of the queue."""
    if not queue:
        return False
    queue.popleft().set_result(value)
    return True
