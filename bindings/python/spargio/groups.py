"""Groups of tasks that end together."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import deque
from collections.abc import Coroutine, Generator
from types import CoroutineType, TracebackType
from types import coroutine as coroutine_of_generator
from typing import Any, TypeVar

from ._ffi.core import Future, JoinHandle, adopt, native
from .cancellation import CancellationToken, Scope
from .errors import CancelledError, RuntimeClosed, TaskCancelled
from .placement import TaskPlacement
from .runtime import current_handle

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ("TaskGroup",)

T = TypeVar("T")

_ENDS_PROGRAM = (KeyboardInterrupt, SystemExit)


@coroutine_of_generator
def _pause() -> Generator[None, None, None]:
    yield


class _NotOpen(RuntimeError):
    def __init__(self, text: str, group: TaskGroup) -> None:
        super().__init__(text)
        self.group = group


class TaskGroup:
    """Tasks that have all ended when the block is left::

        async with spargio.TaskGroup() as group:
            group.spawn(work(1))
            group.spawn(work(2))

    Where a child fails, its siblings and the block are cancelled at their next await, all of them
    are awaited, and the errors are raised as one ``ExceptionGroup`` (a ``BaseExceptionGroup`` where
    one of them is no ``Exception``). A child that ends by cancellation is no error. Neither is what
    follows from the end of the group itself: a :class:`TaskCancelled` of one who awaits a child,
    the refusal of a spawn. Where the task itself is cancelled the children are too, and the
    cancellation goes on when they have ended. Any task may spawn into the group while it is open.
    """

    def __init__(self) -> None:
        self.token = CancellationToken()
        """Cancelling it cancels the group. It is cancelled with the group, and at its end."""
        # A signal handler may cancel while this very thread holds it.
        self._lock = threading.RLock()
        self._scope = Scope()
        self._keys = itertools.count()
        self._children: dict[int, JoinHandle[Any]] = {}  # Those that have not told their end.
        self._leaving: deque[JoinHandle[Any]] = deque()  # Told their end, and are about to be done.
        self._failed: list[JoinHandle[Any]] = []
        self._errors: list[BaseException] = []
        self._empty: Future[None] | None = None
        self._state = "not entered"

    # ---- spawning ----

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """A child. ``RuntimeError`` where the group is not open, or not any more; the coroutine is
        then closed. Other errors are those of a spawn."""
        if type(coroutine) is not CoroutineType:
            coroutine = adopt(coroutine)
        with self._lock:
            # The child may end before it is among them: it takes itself out under the lock.
            if self._state == "open":
                key = next(self._keys)
                work = self._run(key, coroutine)
                work.send(None)  # To its pause: from there it tells also that it was closed.
                label = name or getattr(coroutine, "__qualname__", None)
                try:
                    child = self._handle.spawn_with_placement(placement, work, name=label)
                except BaseException as error:
                    work.close()
                    if isinstance(error, (RuntimeClosed, CancelledError)):
                        coroutine.close()  # As a spawn does: it can never run.
                    raise
                self._children[key] = child
                if self._state != "open":
                    child.cancel()  # A signal handler cancelled the group meanwhile.
                return child
        coroutine.close()
        raise _NotOpen(
            f"spawn into a TaskGroup that is {self._state}: allowed while it is open", self
        )

    def spawn_with_placement(
        self,
        placement: TaskPlacement,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """The same."""
        return self.spawn(coroutine, placement=placement, name=name)

    async def _run(self, key: int, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            await _pause()
        except GeneratorExit:  # Cancelled before it began, or not taken.
            if self._ended(key, None):
                coroutine.close()  # Meant not to run.
            raise
        try:
            value = await coroutine
        except BaseException as error:
            self._ended(key, error)
            raise
        self._ended(key, None)
        return value

    def _ended(self, key: int, error: BaseException | None) -> bool:
        """A child tells its end. False where it was none."""
        failed = error is not None and not isinstance(error, (CancelledError, GeneratorExit))
        with self._lock:
            child = self._children.pop(key, None)
            if child is None:
                return False
            if failed:
                self._failed.append(child)
                failed = not self._follows(error)
                if failed and error is not None:
                    self._errors.append(error)
            else:
                while self._leaving and self._leaving[0].done():
                    self._leaving.popleft()
                self._leaving.append(child)
        if failed:
            self._abort()
        with self._lock:
            empty = None if self._children else self._empty
        if empty is not None:
            empty.set_result(None)
        return True

    def _follows(self, error: BaseException | None) -> bool:
        """Whether it only comes of the group's end."""
        if isinstance(error, _NotOpen):
            return error.group is self
        return isinstance(error, TaskCancelled) and self._state != "open"

    # ---- ending ----

    def cancel(self) -> None:
        """Cancel the children and the block, which then ends without an error. Idempotent; any
        thread, signal handlers too. Before the block is entered it cancels its first await."""
        self._abort()
        self.token.cancel()

    def _abort(self) -> None:
        with self._lock:
            if self._state != "open":
                return
            self._state = "ending"
            children = list(self._children.values())
        # The block first: where it awaits a child it is told of its own cancellation.
        self._scope.cancel()
        for child in children:
            child.cancel()
        self.token.cancel()

    async def __aenter__(self) -> TaskGroup:
        if self._state != "not entered":
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
        outside: list[CancelledError] = []
        own = self._scope.owns(exception)
        if not self._scope.is_of_this_task():
            # A dropped generator, which a task of its own closes: the one that entered the block
            # has left it, and is not to be cancelled. Its scope goes when it ends.
            self._scope = Scope()
        if isinstance(exception, CancelledError):
            if not own:
                outside.append(exception)
        elif self._follows(exception):
            own = True
        elif exception is not None and not isinstance(exception, (*_ENDS_PROGRAM, GeneratorExit)):
            with self._lock:
                # One that it had from awaiting a child is told once.
                if not any(error is exception for error in self._errors):
                    self._errors.insert(0, exception)
        if exception is not None:
            self._abort()
        while True:
            try:
                await self._wait()
                break
            except CancelledError as error:
                if not self._scope.owns(error):
                    outside.append(error)
                    self._abort()
        self._scope.leave()
        self.token.cancel()  # Lets go of those who wait for it.
        return self._outcome(exception, outside) or own

    async def _wait(self) -> None:
        """Until no child is left."""
        while True:
            with self._lock:
                if not self._children:
                    self._state = "closed"
                    break
                self._empty = empty = native.future()
            await empty  # Children that were there may have spawned others meanwhile.
        for child in (*self._leaving, *self._failed):
            await self._join(child)

    async def _join(self, child: JoinHandle[Any]) -> None:
        """Its failure is in the group, so that nobody else need be told."""
        try:
            await child
        except Exception:
            pass
        except BaseException as error:
            if not any(error is known for known in self._errors):
                raise

    def _outcome(self, exception: BaseException | None, outside: list[CancelledError]) -> bool:
        """Raises what is to be raised, or says False."""
        # Their frames hold the group.
        errors, self._errors = self._errors, []
        if isinstance(exception, _ENDS_PROGRAM):
            return False  # Goes before everything.
        if errors and isinstance(exception, GeneratorExit):
            errors.insert(0, exception)  # Alone it stays what it is: aclose() takes only that.
        try:
            for error in errors:
                if isinstance(error, _ENDS_PROGRAM):
                    raise error
            # One that is of no time limit goes first: no limit may take it for its own.
            outside.sort(key=lambda error: getattr(error, "_scope", None) is not None)
            # All are told: the errors now, or one cancellation; the rest at the next awaits.
            for error in outside if errors else outside[1:]:
                native.redeliver(error)
            if errors:
                raise BaseExceptionGroup("unhandled errors in a TaskGroup", errors) from None
            if outside and outside[0] is not exception:
                raise outside[0]
            return False
        finally:
            del errors, outside, exception
