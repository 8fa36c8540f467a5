"""Groups of tasks that end together."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import CoroutineType, TracebackType
from types import coroutine as coroutine_of_generator
from typing import Any, Generic, TypeVar

from ._blocking import redeliver_all, to_its_end
from ._ffi.core import Future, JoinHandle, adopt, native
from ._shared import Shared, counted
from ._wait import ALL, Persistence, wait
from .cancellation import CancellationToken, Scope
from .errors import CancelledError, Overloaded, RuntimeClosed, TaskCancelled
from .placement import TaskPlacement
from .runtime import current_handle

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ("TaskGroup", "TaskStatus")

T = TypeVar("T")

_ENDS_PROGRAM = (KeyboardInterrupt, SystemExit)


@coroutine_of_generator
def _pause() -> Generator[None, None, None]:
    yield


class TaskStatus(Shared, Generic[T]):
    """What :meth:`TaskGroup.start` hands to its child, as ``task_status``."""

    def __init__(self) -> None:
        self._told: Future[T | None] = native.future()
        self._given_up = False

    def started(self, value: T | None = None) -> None:
        """The child is ready: :meth:`TaskGroup.start` gives `value`. Once; ``RuntimeError`` when it
        is called again. Any thread."""
        if not self._told.set_result(value) and not self._given_up:
            raise RuntimeError("task_status.started() was called before")

    def _give_up(self) -> None:
        """Nobody waits any more: what happens to the child is the group's."""
        self._given_up = True
        self._told.set_result(None)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            value = await work
            self._ended(RuntimeError("the child ended without a call of task_status.started()"))
            return value
        except CancelledError:
            self._ended(TaskCancelled("the child was cancelled before task_status.started()"))
            raise
        except BaseException as error:
            if not self._ended(error):
                raise
            return None

    def _ended(self, error: BaseException) -> bool:
        """Whether somebody still waits, and gets the error. It is not held here: the frames in its
        traceback hold this."""
        told, self._told = self._told, native.future()
        return told.set_exception(error)

    def _state(self) -> str:
        return "started" if self._told.done() else "not started"


class _Child:
    handle: JoinHandle[Any] | None = None  # Until the spawn has come back.


class _NotOpen(RuntimeError):
    def __init__(self, text: str, group: TaskGroup) -> None:
        super().__init__(text)
        self.group = group


class TaskGroup(Shared):
    """Tasks that have all ended when the block is left::

        async with spargio.TaskGroup() as group:
            group.spawn(work(1))
            group.spawn(work(2))

    If a child fails, its siblings and the block are cancelled at their next await, all of them are
    awaited, and the errors are raised as one ``ExceptionGroup`` (a ``BaseExceptionGroup`` if one of
    them is no ``Exception``). A child that ends by cancellation is no error. Neither is what
    follows from the end of the group itself: a :class:`TaskCancelled` of a task that awaits a
    child, the refusal of a spawn. If the task itself is cancelled the children are too, and the
    cancellation goes on when they have ended. Any task may spawn into the group while it is open.
    """

    def __init__(self) -> None:
        self.token = CancellationToken()
        """Cancelling it cancels the group. It is cancelled with the group, and at its end."""
        # No lock: a signal handler or a finalizer may cancel or spawn between any two steps of this
        # very thread. Code that changes something checks afterwards what it must not have missed.
        self._scope = Scope()
        self._entered = False
        self._open = False
        self._ending: Future[None] = native.future()  # Set by the one that ends the group.
        self._closed = False
        self._children: dict[object, _Child] = {}  # Those that have not told their end.
        self._leaving: deque[JoinHandle[Any]] = deque()  # Told their end, and are about to be done.
        self._failed: deque[JoinHandle[Any]] = deque()  # The same, with an error.
        self._errors: list[BaseException] = []
        self._empty = native.exchange(0, 1, 0)

    @property
    def _stage(self) -> str:
        if self._closed:
            return "closed"
        if self._ending.done():
            return "ending"
        return "open" if self._entered else "not entered"

    def _state(self) -> str:
        return f"{self._stage}, {counted(len(self._children), 'child', 'children')}"

    # ---- spawning ----

    def spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """A child. ``RuntimeError`` if the group is not open, or not any more; the coroutine is
        then closed. A stealable child that its shard's queue has no room for goes to that shard for
        good: a loop may spawn as many as memory holds. :meth:`spawn_wait` waits for room instead.
        Other errors are those of a spawn."""
        return self._spawn(coroutine, placement, name, beyond=True)

    async def spawn_wait(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """:meth:`spawn`, after a wait while the queue is full: a task that spawns many goes no
        faster than they begin. One that is cancelled meanwhile has spawned nothing; the coroutine
        is closed."""
        try:
            at = self._handle._settled(placement) if self._entered else placement
            while True:
                with contextlib.suppress(Overloaded):
                    return self._spawn(coroutine, at, name, beyond=False)
                await self._handle._runtime.room(at.value)
        except CancelledError:
            coroutine.close()
            raise

    def spawn_with_placement(
        self,
        placement: TaskPlacement,
        coroutine: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """The same."""
        return self.spawn(coroutine, placement=placement, name=name)

    def _spawn(
        self,
        coroutine: Coroutine[Any, Any, T],
        placement: TaskPlacement,
        name: str | None,
        beyond: bool,
    ) -> JoinHandle[T]:
        """`beyond`: what the queue has no room for is pinned."""
        if type(coroutine) is not CoroutineType:
            coroutine = adopt(coroutine)
        # Counted first, then it is looked at: in `_wait` the other way round.
        key, child = object(), _Child()
        self._children[key] = child
        if not self._open:
            self._gone(key)
            coroutine.close()
            raise _NotOpen(
                f"a TaskGroup must be open for a spawn, got one that is {self._stage}", self
            )
        work = self._run(key, coroutine)
        work.send(None)  # To its pause: from there it tells also that it was closed.
        label = name or getattr(coroutine, "__qualname__", None)
        try:
            try:
                handle = self._handle._spawn(placement.kind, placement.value, work, label)
            except Overloaded:
                if not beyond:
                    raise
                shard = self._handle._settled(placement).value
                handle = self._handle.spawn_pinned(shard, work, name=label)
        except BaseException as error:
            self._gone(key)
            work.close()
            if isinstance(error, (RuntimeClosed, CancelledError)):
                coroutine.close()  # As a spawn does: it can never run.
            raise
        child.handle = handle
        if self._ending.done():
            handle.cancel()  # Cancelled meanwhile, by somebody who did not find the handle yet.
        return handle

    async def start(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        /,
        *arguments: Any,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> Any:
        """Spawn ``function(*arguments, task_status=status)`` and wait until it calls
        ``status.started(value)``; returns that value, and the child goes on in the group. If it
        fails before that, its error is raised here and not by the group; if it ends,
        ``RuntimeError``. If this wait is cancelled, the child is too, and has ended when the
        cancellation goes on."""
        status: TaskStatus[Any] = TaskStatus()
        told = status._told
        label = name or getattr(function, "__qualname__", None)
        work = status._run(function(*arguments, task_status=status))
        child = self.spawn(work, placement=placement, name=label)
        try:
            return await told
        except CancelledError:
            status._give_up()
            child.cancel()
            await to_its_end(functools.partial(native.ended, child))
            raise
        finally:
            del (
                told,
                status,
                work,
                child,
            )  # They hold the error, and its traceback holds this frame.

    async def _run(self, key: object, coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            await _pause()
        except GeneratorExit:  # Cancelled before it began, or not taken.
            if key in self._children:
                self._ended(key, self._children[key].handle)
                coroutine.close()  # Meant not to run.
            raise
        try:
            value = await coroutine
        except BaseException as error:
            self._ended(key, native.current_task(), error)
            raise
        self._ended(key, native.current_task())
        return value

    def _ended(
        self, key: object, child: JoinHandle[Any] | None, error: BaseException | None = None
    ) -> None:
        """A child tells its end."""
        if error is None or isinstance(error, (CancelledError, GeneratorExit)):
            self._prune()
            if child is not None:
                self._leaving.append(child)
        else:
            if child is not None:
                self._failed.append(child)
            if not self._follows(error):
                self._errors.append(error)
                self._abort()
        self._gone(key)

    def _prune(self) -> None:
        """Two go for one that comes: a group of servers does not grow."""
        for _ in (1, 2):
            try:
                first = self._leaving.popleft()
            except IndexError:
                return
            if not first.done():
                self._leaving.append(first)
                return

    def _gone(self, key: object) -> None:
        self._children.pop(key, None)
        if not self._children:
            self._empty.serve(ALL, None)

    def _follows(self, error: BaseException | None) -> bool:
        """Whether it only comes of the group's end."""
        if isinstance(error, _NotOpen):
            return error.group is self
        return isinstance(error, TaskCancelled) and self._stage != "open"

    # ---- ending ----

    def cancel(self) -> None:
        """Cancel the children and the block, which then ends without an error. Idempotent; any
        thread, signal handlers too. Before the block is entered it cancels its first await."""
        self._abort()
        self.token.cancel()

    def _abort(self) -> None:
        if not self._entered or not self._ending.set_result(None):
            return
        self._open = False
        # The block first: if it awaits a child it is told of its own cancellation.
        self._scope.cancel()
        for child in list(self._children.values()):
            if child.handle is not None:
                child.handle.cancel()
        self.token.cancel()

    async def __aenter__(self) -> TaskGroup:
        if self._entered:
            raise RuntimeError("a TaskGroup can be entered once")
        self._handle = current_handle()
        self._scope.enter()
        self._entered = self._open = True
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
        elif not (
            exception is None
            or isinstance(exception, (*_ENDS_PROGRAM, GeneratorExit))
            # One that it had from awaiting a child is reported once.
            or any(error is exception for error in self._errors)
        ):
            self._errors.insert(0, exception)
        if exception is not None:
            self._abort()
        persistence = Persistence()
        try:
            while True:
                try:
                    await self._wait()
                    break
                except CancelledError as error:
                    persistence.told(error)
                    if not self._scope.owns(error):
                        outside.append(error)
                        self._abort()
        finally:
            persistence.end()
        self._scope.leave()
        self.token.cancel()  # Lets go of those who wait for it.
        try:
            return self._outcome(exception, outside) or own
        finally:
            del exception, traceback, outside  # What is raised holds this frame.

    async def _wait(self) -> None:
        """Until no child is left."""
        while True:
            while self._children:
                empty = self._empty.join()
                if not self._children:  # Looked at last: it may have ended in between.
                    self._empty.serve(ALL, None)
                await wait(empty, self._empty.leave)
            self._closed, self._open = True, False
            if not self._children:
                break
            # One came in before that. (If the group ends just now, a spawn sees that afterwards.)
            self._closed, self._open = False, not self._ending.done()
        # Their failures are in the group, so that nobody else need be told.
        for left in (self._leaving, self._failed):
            while left:
                await native.ended(left[0])
                left.popleft()

    def _outcome(self, exception: BaseException | None, outside: list[CancelledError]) -> bool:
        """Raises what is to be raised, or says False."""
        # Their frames hold the group.
        errors, self._errors = self._errors, []
        if isinstance(exception, _ENDS_PROGRAM):
            return False  # Goes before everything.
        if errors and isinstance(exception, GeneratorExit):
            errors.insert(0, exception)  # Alone it stays what it is: aclose() takes only that.
        try:
            ends = next((error for error in errors if isinstance(error, _ENDS_PROGRAM)), None)
            if ends is not None:
                raise ends
            # One that is of no time limit goes first: no limit may take it for its own.
            outside.sort(key=lambda error: getattr(error, "_scope", None) is not None)
            # All are told: the errors now, or one cancellation; the rest at the next awaits.
            redeliver_all(outside[0 if errors else 1 :])
            if errors:
                raise BaseExceptionGroup("unhandled errors in a TaskGroup", errors) from None
            if outside and outside[0] is not exception:
                raise outside[0]
            return False
        finally:
            ends = None
            del errors, outside, exception  # What is raised holds this frame.
