"""Groups of tasks that end together."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from ._ffi.core import JoinHandle, native
from .cancellation import CancellationToken, Scope
from .errors import CancelledError
from .placement import TaskPlacement
from .runtime import current_handle

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

T = TypeVar("T")


class TaskGroup:
    """Tasks that have all ended when the block is left::

        async with spargio.TaskGroup() as group:
            group.spawn(work(1))
            group.spawn(work(2))

    Where a child fails, its siblings and the block are cancelled at their next await, all of them
    are awaited, and the errors are raised as one ``ExceptionGroup``. A child that ends by
    cancellation is no error. Where the task itself is cancelled the children are too, and the
    cancellation goes on when they have ended. Any task may spawn into the group while it is open.
    """

    def __init__(self) -> None:
        self.token = CancellationToken()
        """Cancelled with the group, and the other way round."""
        self._lock = threading.Lock()
        self._scope = Scope()
        self._children: dict[JoinHandle[Any], Coroutine[Any, Any, Any]] = {}
        self._failed: list[tuple[JoinHandle[Any] | None, Exception]] = []
        self._state = "new"

    # ---- spawning ----

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """A child. ``RuntimeError`` where the group is not open any more; the coroutine is then
        closed. Other errors are those of a spawn."""
        with self._lock:
            # The child may end before it is among them: it takes itself out under the lock.
            if self._state == "open":
                work = self._run(coroutine)
                label = name or getattr(coroutine, "__qualname__", None)
                try:
                    child = self._handle.spawn_with_placement(placement, work, name=label)
                except BaseException:
                    work.close()
                    raise
                self._children[child] = coroutine
                return child
        coroutine.close()
        raise RuntimeError(
            f"spawn into a TaskGroup that is {self._state}: allowed while it is open"
        )

    def spawn_with_placement(
        self, placement: TaskPlacement, coroutine: Coroutine[Any, Any, T]
    ) -> JoinHandle[T]:
        """The same."""
        return self.spawn(coroutine, placement=placement)

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            return await coroutine
        except Exception as error:
            self._abort(error)
            raise
        finally:
            me = native.current_task()
            with self._lock:
                if me is not None:
                    self._children.pop(me, None)

    # ---- ending ----

    def cancel(self) -> None:
        """Cancel the children and the block, which then ends without an error. Any thread."""
        self._abort(None)

    def _abort(self, error: Exception | None) -> None:
        with self._lock:
            if error is not None:
                self._failed.append((native.current_task(), error))
            if self._state != "open":
                return
            self._state = "ending"
            children = list(self._children)
        for child in children:
            child.cancel()
        self._scope.cancel()
        self.token.cancel()

    async def __aenter__(self) -> TaskGroup:
        if self._state != "new":
            raise RuntimeError("a TaskGroup can be entered once")
        self._handle = current_handle()
        self._scope.enter()
        self._state = "open"
        self.token._on_cancel(self.cancel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        outside = exception if isinstance(exception, CancelledError) else None
        if self._scope.owns(outside):
            outside = None
        elif isinstance(exception, Exception):
            self._abort(None)
            self._failed.insert(0, (None, exception))
        elif exception is not None:
            self._abort(None)
        while True:
            try:
                await self._wait()
                break
            except CancelledError as error:
                if not self._scope.owns(error):
                    outside = error
                    self._abort(None)
        self._scope.leave()
        self.token.cancel()  # Lets go of those who wait for it.
        return self._outcome(exception, outside)

    async def _wait(self) -> None:
        """Until no child is left. One that was cancelled before it began is still there then."""
        while True:
            with self._lock:
                left = list(self._children)
                if not left:
                    self._state = "closed"
                    break
            for child in left:
                with contextlib.suppress(Exception):  # Recorded by the child itself.
                    await child
                with self._lock:
                    coroutine = self._children.pop(child, None)
                if coroutine is not None:
                    coroutine.close()  # Meant not to run.
        for failed, _ in self._failed:
            if failed is not None:
                with contextlib.suppress(Exception):  # It is in the group: nobody else is told.
                    await failed

    def _outcome(self, exception: BaseException | None, outside: CancelledError | None) -> bool:
        if exception is not None and not isinstance(exception, (Exception, CancelledError)):
            return False  # KeyboardInterrupt and its like go before everything.
        if self._failed:
            if outside is not None:
                # Both are told: the errors now, the cancellation at the next await.
                native.redeliver(outside)
            errors = [error for _, error in self._failed]
            raise ExceptionGroup("unhandled errors in a TaskGroup", errors) from None
        if outside is not None and outside is not exception:
            raise outside
        # Its own cancellation ends here; anything else goes on.
        return self._scope.owns(exception)
