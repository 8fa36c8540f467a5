"""Cancellation that is passed around: tokens and scopes."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from ._ffi.core import Future, JoinHandle, adopt, native
from ._shared import Shared
from .errors import CancelledError, TaskCancelled, carry_written
from .runtime import current_handle
from .time import FOREVER_NS

__all__ = ("CancellationToken", "shield")

T = TypeVar("T")


class Scope:
    """A block of a task that any thread can cancel: the cancellation names the scope, so that the
    block knows its own from one that came from outside."""

    __slots__ = ("_limit", "_task")

    def __init__(self) -> None:
        self._limit = native.timeout()

    def enter(self) -> None:
        self._limit.arm(FOREVER_NS)
        # The address only, which keeps nothing. The next owner of it, after that task has ended,
        # takes a scope for its own that is in no use any more.
        self._task = id(native.current_task())

    def is_of_this_task(self) -> bool:
        return self._task == id(native.current_task())

    def cancel(self) -> None:
        """The task's next await in the block is cancelled. Any thread; nothing if it is left."""
        self._limit.expire()

    def leave(self) -> bool:
        """Whether it was cancelled."""
        return self._limit.disarm()

    def owns(self, exception: BaseException | None) -> bool:
        return (
            isinstance(exception, CancelledError)
            and getattr(exception, "_scope", None) is self._limit
        )


class CancellationToken(Shared):
    """A wish to stop that is reported once, from any thread, and heard by whoever holds the token
    or a child of it."""

    def __init__(self) -> None:
        # A signal handler may cancel between any two steps of this very thread, and the collector
        # run finalizers there: no lock, but steps of a dict, each of which is whole. Who takes an
        # entry out calls it.
        self._cancelled = False
        # What to call: functions, and weak references to children.
        self._calls: dict[object, Callable[[], Any]] = {}

    def cancel(self) -> None:
        """Tell all who wait and all children. Idempotent; any thread, signal handlers and
        finalizers too."""
        left = [self]
        while left:
            for call in left.pop()._take():
                child = call()
                if isinstance(child, CancellationToken):
                    left.append(child)

    def _take(self) -> Iterator[Callable[[], Any]]:
        self._cancelled = True
        for key in list(self._calls):
            call = self._calls.pop(key, None)
            if call is not None:
                yield call

    def is_cancelled(self) -> bool:
        """Whether :meth:`cancel` was called here or above."""
        return self._cancelled

    def _on_cancel(self, call: Callable[[], Any]) -> object | None:
        """Calls it once; at once, and returns None, if it is cancelled already."""
        key = object()
        self._calls[key] = call
        if not self._cancelled:  # Checked last: the canceller checks the calls last.
            return key
        if self._calls.pop(key, None) is not None:
            call()
        return None

    def _forget(self, key: object | None) -> None:
        if key is not None:
            self._calls.pop(key, None)

    def _state(self) -> str:
        return "cancelled" if self._cancelled else f"{len(self._calls)} listening"

    def child(self) -> CancellationToken:
        """A token that is cancelled with this one, but not the other way round. It is held weakly:
        one that nobody else holds costs nothing."""
        child = _Child(self)
        child._key = self._on_cancel(weakref.ref(child))
        if child._key is None:
            child.cancel()
        return child

    async def cancelled(self) -> None:
        """Wait until it is cancelled."""
        future: Future[None] = native.future()
        key = self._on_cancel(lambda: future.set_result(None))
        try:
            await future
        finally:
            self._forget(key)

    async def run(self, awaitable: Awaitable[T]) -> T:
        """Await it, until the token is cancelled: then it is cancelled at its next await, and
        :class:`TaskCancelled` is raised here. If it ends with a result all the same, that is
        given. A cancellation of this task from elsewhere stays one."""
        scope = Scope()
        scope.enter()
        key = self._on_cancel(scope.cancel)
        try:
            return await awaitable
        except CancelledError as error:
            if scope.owns(error):
                raise carry_written(error, TaskCancelled("the token was cancelled")) from None
            raise
        finally:
            self._forget(key)
            scope.leave()


class _Child(CancellationToken):
    def __init__(self, parent: CancellationToken) -> None:
        super().__init__()
        self._parent = parent
        self._key: object | None = None

    def __del__(self) -> None:
        self._parent._forget(self._key)


async def shield(awaitable: Awaitable[T]) -> T:
    """Await it such that a cancellation or time limit of this task does not reach it.

    A coroutine runs as a task of its own, on this shard. If this task is cancelled, it gets its
    :class:`CancelledError` here and at once, without waiting for the other one, which goes on to
    its end; nobody gets its result then, and its failure goes to ``sys.unraisablehook``. To have
    the result later, spawn the coroutine and keep the :class:`JoinHandle`: awaiting one, with or
    without a shield, never cancels its task, and it can be awaited again. The end of the runtime
    cancels shielded tasks like all others.
    """
    if isinstance(awaitable, (JoinHandle, Future)):
        try:
            result: T = await awaitable
            return result
        finally:
            del awaitable
    work: Coroutine[Any, Any, T] = adopt(awaitable, "shield takes an awaitable")
    try:
        job = current_handle().spawn_pinned(native.current_shard(), work, name="shield")
    except BaseException:
        work.close()
        raise
    try:
        return await job
    finally:
        del job  # It holds its error, whose traceback holds this frame.
