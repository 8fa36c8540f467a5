"""Task groups."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Literal, TypeVar

from anyio import TaskHandle, abc
from anyio.abc._tasks import call_for_coroutine, get_callable_name, get_coro_name

from .._ffi.core import Future, native
from .._wait import Persistence
from ..errors import CancelledError
from ._loop import Loop, TaskState, current_state, shielded_checkpoint
from ._scope import CancelScope, is_of_scope

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

T = TypeVar("T")


class Starting(abc.TaskStatus[Any]):
    """The `task_status` of a task that :meth:`TaskGroup.start` waits for. Until it has started, the
    task is in the scope of the waiting task; then it moves into the group's."""

    def __init__(self, group: TaskGroup) -> None:
        self.group = group
        self.scope = CancelScope()
        self.told: Future[Any] = native.future()
        self.state: TaskState | None = None
        self.given_up = False

    def started(self, value: Any = None) -> None:
        if self.given_up:
            return  # Nobody waits; the task is about to end.
        if not self.told.set_result(value):
            raise RuntimeError("called 'started' twice on the same task status")
        if self.state is not None:
            self.state.parent_id = self.group._host_id
            self.scope.move_to(self.group.cancel_scope)


class TaskGroup(abc.TaskGroup):
    """Its tasks run on the shard that it was entered on."""

    cancel_scope: CancelScope

    def __init__(self) -> None:
        self.cancel_scope = CancelScope()
        self._entered = False
        self._states: dict[TaskState, None] = {}
        """Of its tasks that have not ended."""
        self._errors: list[BaseException] = []
        self._host_id = 0
        self._loop: Loop | None = None

    async def __aenter__(self) -> TaskGroup:
        if self._entered:
            raise RuntimeError("TaskGroup cannot be entered more than once")
        self._entered = True
        state = current_state()
        self._loop = state.loop
        self.cancel_scope.__enter__()
        self._host_id = state.id
        return self

    # ---- spawning ----

    def _check_active(self) -> Loop:
        if self._loop is None or not self.cancel_scope._active:
            raise RuntimeError("This task group is not active; no new tasks can be started.")
        return self._loop

    def create_task(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> TaskHandle[T]:
        if not isinstance(coro, Coroutine):
            raise TypeError(f"expected a coroutine, got {coro.__class__.__qualname__}")
        try:
            loop = self._check_active()
        except RuntimeError:
            coro.close()
            raise
        final_name = get_coro_name(coro, name)
        state = TaskState(final_name, coro, self._host_id)
        task = TaskHandle(coro, final_name, CancelScope())
        if context is None:
            self._spawn(loop, state, task, self.cancel_scope, None)
        else:
            context.run(self._spawn, loop, state, task, self.cancel_scope, None)
        return task

    def _spawn(
        self,
        loop: Loop,
        state: TaskState,
        task: TaskHandle[Any],
        scope: CancelScope,
        starting: Starting | None,
    ) -> None:
        work = self._run(loop, state, task, starting)
        try:
            state.handle = loop.spawn(work, task.name)
        except BaseException:
            work.close()
            task.coro.close()
            raise
        state.loop = loop
        self._states[state] = None
        loop.states[state] = None
        scope.adopt(state)

    async def _run(
        self, loop: Loop, state: TaskState, task: TaskHandle[Any], starting: Starting | None
    ) -> None:
        __tracebackhide__ = True
        native.set_companion(state)
        try:
            await task._run_coro()
        except BaseException as error:
            self._ended(loop, state, starting, error)
            if isinstance(error, CancelledError) and not is_of_scope(error):
                raise  # The runtime ends: the task reports it through its handle.
        else:
            self._ended(loop, state, starting, None)
        finally:
            del self, task, starting

    def _ended(
        self, loop: Loop, state: TaskState, starting: Starting | None, error: BaseException | None
    ) -> None:
        if state.scope is not None:
            state.scope.release(state)
        loop.states.pop(state, None)
        self._states.pop(state, None)
        try:
            if starting is not None and not starting.told.done():
                starting.told.set_exception(
                    RuntimeError("Child exited without calling task_status.started()")
                    if error is None
                    else error
                )
            elif error is not None and not (starting is not None and starting.given_up):
                if not isinstance(error, CancelledError):
                    self._errors.append(error)
                if not self.cancel_scope._effective:
                    self.cancel_scope.cancel()
        finally:
            del error

    async def start(
        self,
        func: Callable[..., Coroutine[Any, Any, T]],
        *args: object,
        name: object = None,
        return_handle: Literal[False, True] = False,
    ) -> Any:
        loop = self._check_active()
        starting = Starting(self)
        final_name = get_callable_name(func, name)
        coro: Coroutine[Any, Any, T] = call_for_coroutine(func, args, task_status=starting)
        here = current_state()
        state = TaskState(final_name, coro, here.id)
        task = TaskHandle(coro, final_name, starting.scope)
        scope = self.cancel_scope
        if starting.told.done():
            state.parent_id = self._host_id  # It said so before its first step.
        else:
            starting.state = state
            scope = here.scope or scope
        self._spawn(loop, state, task, scope, starting)
        try:
            value = await starting.told
        except BaseException as error:
            if not starting.told.done():
                starting.given_up = True
                task.cancel()
                with CancelScope(shield=True):
                    await task.wait()
            del error
            raise
        finally:
            del starting, state, here
        if return_handle:
            task._start_value = value
            return task
        return value

    # ---- ending ----

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        outcome = exc_val
        if exc_val is not None:
            self.cancel_scope.cancel()
            if not isinstance(exc_val, CancelledError):
                self._errors.append(exc_val)
        try:
            if self._states:
                cut = await self._wait()
                # One of the runtime itself goes before a scope's.
                if cut is not None and (
                    outcome is None
                    or (isinstance(outcome, CancelledError) and not is_of_scope(cut))
                ):
                    outcome = cut
                del cut
            else:
                try:
                    await shielded_checkpoint()
                except CancelledError as error:
                    outcome = error
            errors, self._errors = self._errors, []
            if errors:
                outcome = BaseExceptionGroup("unhandled errors in a TaskGroup", errors)
                outcome.__suppress_context__ = True
            del errors
            kind = None if outcome is None else type(outcome)
            if self.cancel_scope.__exit__(kind, outcome, None):
                return True
            if outcome is None or outcome is exc_val:
                return False
            raise outcome
        finally:
            del exc_val, exc_tb, outcome

    async def _wait(self) -> BaseException | None:
        """Until all tasks have ended. The cancellation that came meanwhile, which has cancelled
        them."""
        persistence = Persistence()
        told: BaseException | None = None
        try:
            while self._states:
                state = next(iter(self._states))
                try:
                    await native.ended(state.handle)
                except CancelledError as error:
                    persistence.told(error)
                    self.cancel_scope.cancel()
                    if told is None or not is_of_scope(error):
                        told = error
                    continue
                if state in self._states:
                    self._abandoned(state)
            return told
        finally:
            persistence.end()
            del told

    def _abandoned(self, state: TaskState) -> None:
        """The runtime ends, and the task never began."""
        if state.scope is not None:
            state.scope.release(state)
        if self._loop is not None:
            self._loop.states.pop(state, None)
        self._states.pop(state, None)
        state.coro.close()
