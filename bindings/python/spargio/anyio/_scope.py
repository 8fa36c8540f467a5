"""Cancel scopes with anyio's level semantics. Scopes form a tree; each knows whether it is
cancelled, by itself or through its parents up to a shield, and holds the cancellation of the tasks
whose innermost scope it is (``native.hold``). So each await of such a task is cancelled, by the
runtime itself, until the task has left the scope."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import Any

from anyio import CancelScope as BaseCancelScope

from .. import time as _time
from .._ffi.core import native
from ..errors import CancelledError
from ._loop import Loop, TaskState, current_state, hold, ns
from ._plain import Plain

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


def is_of_scope(error: BaseException) -> bool:
    """Whether a scope's cancellation is what it comes from: also of one that somebody has raised
    anew."""
    link: BaseException | None = error
    while isinstance(link, CancelledError):
        if getattr(link, "_scope", link) is None:
            return True
        link = link.__context__
    return False


def cancelled(reason: str | None = None) -> CancelledError:
    """As the runtime raises it in a task that a scope has cancelled."""
    error = CancelledError(*(() if reason is None else (reason,)))
    error._scope = None  # type: ignore[attr-defined]
    return error


class CancelScope(Plain, BaseCancelScope):
    """To be used by tasks of one shard; :meth:`cancel` by any thread."""

    __slots__ = (
        "_active",
        "_alarm",
        "_cancel_called",
        "_cancelled_caught",
        "_children",
        "_deadline",
        "_effective",
        "_loop",
        "_parent",
        "_shield",
        "_state",
        "_tasks",
        "reason",
    )

    def __init__(self, *, deadline: float | None = None, shield: bool = False) -> None:
        if deadline is not None:
            if deadline == math.inf:
                deadline = None
            elif math.isnan(deadline):
                raise ValueError("deadline must not be NaN")
        self._deadline = deadline
        """None for never: the scopes of all shards would count the references to one ``inf``."""
        self._shield = shield
        self._cancel_called = self._cancelled_caught = False
        self._active = False
        self._effective = False
        """Cancelled, by itself or from outside."""
        self._parent: CancelScope | None = None
        self._children: dict[CancelScope, None] = {}
        self._tasks: dict[TaskState, None] = {}
        """Those whose innermost scope this is."""
        self._state: TaskState | None = None
        """Of the task that entered it."""
        self._loop: Loop | None = None
        self._alarm: Any = None
        self.reason: str | None = None
        """The scope that cancelled it, and why."""

    # ---- the block ----

    def __enter__(self) -> CancelScope:
        if self._active:
            raise RuntimeError("Each CancelScope may only be used for a single 'with' block")
        state = self._state = current_state()
        self._loop = state.loop
        parent = self._parent = state.scope
        outside = False
        if parent is not None:
            outside = parent._effective
            parent._children[self] = None
            parent._tasks.pop(state, None)
        state.scope = self
        self._tasks[state] = None
        self._active = True
        self._effective = self._cancel_called or (outside and not self._shield)
        if self._effective != outside:
            hold(state.handle, self._effective)
        if self._deadline is not None:
            self._watch_deadline()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool:
        if not self._active:
            raise RuntimeError("This cancel scope is not active")
        state = self._state
        assert state is not None
        if native.companion() is not state:
            raise RuntimeError(
                "Attempted to exit cancel scope in a different task than it was entered in"
            )
        if state.scope is not self:
            raise RuntimeError(
                "Attempted to exit a cancel scope that isn't the current tasks's current cancel "
                "scope"
            )
        self._leave(state)
        try:
            if not self._cancel_called or self._is_cancelled_outside() or exc_val is None:
                return False
            return bool(self._catch(exc_val))
        finally:
            del exc_val, exc_tb

    def _leave(self, state: TaskState) -> None:
        self._active = False
        self._state = None
        self._stop_watching()
        parent = self._parent
        self._tasks.pop(state, None)
        outside = False
        if parent is not None:
            outside = parent._effective
            parent._children.pop(self, None)
            parent._tasks[state] = None
        state.scope = parent
        if self._effective != outside:
            hold(state.handle, outside)

    def _is_cancelled_outside(self) -> bool:
        """Then the cancellation goes on to there."""
        return self._parent is not None and not self._shield and self._parent._effective

    def _catch(self, error: BaseException) -> bool:
        """Whether nothing is left of it. Raises the rest of a group."""
        if not isinstance(error, BaseExceptionGroup):
            if not is_of_scope(error):
                return False
            self._cancelled_caught = True
            return True
        caught, rest = error.split(is_of_scope)
        if caught is None:
            return False
        self._cancelled_caught = True
        if rest is None:
            return True
        context = rest.__context__
        try:
            raise rest
        finally:
            rest.__context__ = context  # The raise has put `error` there.
            del context, error, caught, rest

    # ---- cancelling ----

    def cancel(self, reason: str | None = None) -> None:
        """Idempotent. On another thread than its shard's it takes effect a moment later."""
        if self._cancel_called:
            return
        loop = self._loop
        if loop is not None and not loop.is_here():
            loop.call_soon(self.cancel, reason)
            return
        self._cancel_called = True
        task = native.current_task()
        by = f" by task {task.name!r}" if task is not None else ""
        why = f"; reason: {reason}" if reason else ""
        self.reason = f"cancelled via cancel scope {id(self):x}{by}{why}"
        self._stop_watching()
        self.refresh()

    def refresh(self) -> None:
        """Something about it or its parent has changed: tells the tasks in it."""
        changed = [self]
        while changed:
            scope = changed.pop()
            if not scope._active:
                continue
            parent = scope._parent
            effective = scope._cancel_called or (
                parent is not None and parent._effective and not scope._shield
            )
            if effective == scope._effective:
                continue
            scope._effective = effective
            for state in scope._tasks:
                hold(state.handle, effective)
            changed.extend(scope._children)

    def adopt(self, state: TaskState) -> None:
        """A task begins whose innermost scope this is; its handle is known."""
        state.scope = self
        self._tasks[state] = None
        if self._effective:
            hold(state.handle, True)

    def release(self, state: TaskState) -> None:
        """It ends."""
        self._tasks.pop(state, None)

    def move_to(self, parent: CancelScope) -> None:
        """Into another parent, with the tasks in it."""
        if self._parent is parent:
            return
        if self._parent is not None:
            self._parent._children.pop(self, None)
        self._parent = parent
        parent._children[self] = None
        self.refresh()

    # ---- the deadline ----

    def _watch_deadline(self) -> None:
        if self._deadline is None:
            return
        left = self._deadline - _time.monotonic()
        if left <= 0:
            self.cancel("deadline exceeded")
        elif self._state is not None:
            self._alarm = _time._alarm(self._state.handle, self._watch_deadline, ns(left))

    def _stop_watching(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()

    @property
    def deadline(self) -> float:
        return math.inf if self._deadline is None else self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        value = float(value)
        if math.isnan(value):
            raise ValueError("deadline must not be NaN")
        self._deadline = None if value == math.inf else value
        self._stop_watching()
        if self._active and not self._cancel_called:
            self._watch_deadline()

    # ---- what it says ----

    @property
    def cancel_called(self) -> bool:
        return self._cancel_called

    @property
    def cancelled_caught(self) -> bool:
        return self._cancelled_caught

    @property
    def shield(self) -> bool:
        return self._shield

    @shield.setter
    def shield(self, value: bool) -> None:
        if self._shield != value:
            self._shield = value
            self.refresh()


def effective_deadline() -> float:
    """The nearest one that applies to the current task; -inf if it is cancelled."""
    state = native.companion()
    scope: CancelScope | None = None if state is None else state.scope
    if scope is not None and scope._effective:
        return -math.inf
    nearest = math.inf
    while scope is not None:
        nearest = min(nearest, scope.deadline)
        if scope._shield:
            break
        scope = scope._parent
    return nearest
