"""Cancellation that is passed around: tokens and scopes."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ._ffi.core import Future, native
from .errors import CancelledError, TaskCancelled
from .runtime import current_handle

T = TypeVar("T")

FOREVER_NS = (1 << 63) - 1


class Scope:
    """A block of a task that any thread can cancel: the cancellation names the scope, so that the
    block knows its own from one that came from outside."""

    __slots__ = ("_limit",)

    def __init__(self) -> None:
        self._limit = native.timeout()

    def enter(self) -> None:
        self._limit.arm(FOREVER_NS)

    def cancel(self) -> None:
        """The task's next await in the block is cancelled. Any thread; nothing where it is left."""
        self._limit.expire()

    def leave(self) -> bool:
        """Whether it was cancelled."""
        return self._limit.disarm()

    def owns(self, exception: BaseException | None) -> bool:
        return (
            isinstance(exception, CancelledError)
            and getattr(exception, "_scope", None) is self._limit
        )


class CancellationToken:
    """A wish to stop that is told once, from any thread, and heard by whoever holds the token or a
    child of it."""

    def __init__(self) -> None:
        # A child that goes away takes itself out from its finalizer, which may run between any two
        # steps of a thread that has the lock already.
        self._lock = threading.RLock()
        self._cancelled = False
        self._calls: dict[int, Callable[[], Any]] = {}
        self._next = 0

    def cancel(self) -> None:
        """Tell all who wait and all children. Idempotent; any thread."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            call()

    def is_cancelled(self) -> bool:
        """Whether :meth:`cancel` was called here or above."""
        return self._cancelled

    def _on_cancel(self, call: Callable[[], Any]) -> int | None:
        """Calls it at once, and gives None, where it is cancelled already."""
        with self._lock:
            if not self._cancelled:
                self._next += 1
                self._calls[self._next] = call
                return self._next
        call()
        return None

    def _forget(self, key: int | None) -> None:
        if key is not None:
            with self._lock:
                self._calls.pop(key, None)

    def child(self) -> CancellationToken:
        """A token that is cancelled with this one, but not the other way round."""
        child = _Child(self)
        child._key = self._on_cancel(child._reference())
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
        :class:`TaskCancelled` is raised here."""
        scope = Scope()
        scope.enter()
        key = self._on_cancel(scope.cancel)
        try:
            return await awaitable
        except CancelledError as error:
            if scope.owns(error):
                raise TaskCancelled("the token was cancelled") from None
            raise
        finally:
            self._forget(key)
            scope.leave()


class _Child(CancellationToken):
    """Its parent holds it weakly: a child that nobody holds costs nothing."""

    def __init__(self, parent: CancellationToken) -> None:
        super().__init__()
        self._parent = parent
        self._key: int | None = None

    def _reference(self) -> Callable[[], None]:
        import weakref

        reference = weakref.ref(self)

        def cancel() -> None:
            child = reference()
            if child is not None:
                child.cancel()

        return cancel

    def __del__(self) -> None:
        self._parent._forget(self._key)


async def shield(awaitable: Awaitable[T]) -> T:
    """Await it such that a cancellation of this task does not reach it: it runs as a task of its
    own, and goes on. (A :class:`JoinHandle` needs no shield: cancelling who awaits it leaves its
    task alone.) Its failure is reported where nobody is left to hear of it."""

    async def run() -> T:
        return await awaitable

    return await current_handle().spawn_pinned(native.current_shard(), run(), name="shield")
