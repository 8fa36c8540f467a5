"""What anyio calls an event loop: a shard of a runtime. And the tasks on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from anyio import RunFinishedError
from anyio._core._eventloop import set_current_async_library

from .._asyncgens import current_runtime, local
from .._ffi import constants
from .._ffi.core import JoinHandle, native
from .._ffi.core import Runtime as NativeRuntime
from ..errors import RuntimeClosed
from ..runtime import RuntimeHandle

Scope = Any
"""A CancelScope, whose module knows this one."""

T = TypeVar("T")


class TaskState:
    """What is known of a task besides what the runtime knows."""

    __slots__ = ("coro", "handle", "loop", "name", "parent_id", "scope")

    handle: JoinHandle[Any]
    loop: Loop

    def __init__(
        self,
        name: str | None,
        coro: Any,
        parent_id: int | None = None,
        scope: Scope = None,
    ) -> None:
        self.name = name
        self.coro = coro
        self.parent_id = parent_id
        self.scope = scope
        """The innermost one that the task is in."""

    @property
    def id(self) -> int:
        return id(self.handle)

    @property
    def reason(self) -> str:
        """Why it is cancelled: what the exception says."""
        scope: Scope = self.scope
        while scope is not None:
            if scope.reason is not None:
                return str(scope.reason)
            scope = None if scope.shield else scope._parent
        return "cancelled"


class Loop:
    """One for each shard that anyio is used on, as long as the shard runs. Also the token that
    :mod:`anyio.from_thread` takes."""

    def __init__(self, runtime: NativeRuntime) -> None:
        self.runtime = runtime
        self.shard = native.current_shard()
        self.handle = RuntimeHandle(runtime)
        self.states: dict[TaskState, None] = {}
        """Of the tasks that task groups have spawned and that have not ended."""
        self.reads: dict[int, Scope] = {}
        self.writes: dict[int, Scope] = {}
        """By descriptor: those who wait until it is ready."""
        self.limiter: Any = None

    def spawn(self, coroutine: Coroutine[Any, Any, T], name: str | None) -> JoinHandle[T]:
        """On this shard. Any thread."""
        return self.handle._spawn(constants.PLACE_PINNED, self.shard, coroutine, name)

    def spawn_from_outside(
        self, coroutine: Coroutine[Any, Any, T], name: str | None
    ) -> JoinHandle[T]:
        """The same from another thread, in a copy of its context. ``RunFinishedError`` if the
        runtime takes no tasks any more."""
        context = copy_context()
        context.run(set_current_async_library, "spargio")
        try:
            return context.run(self.spawn, coroutine, name)
        except RuntimeClosed:
            coroutine.close()
            raise RunFinishedError from None

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call it on the shard's thread, in the order of these calls. Any thread."""
        self.spawn_from_outside(_call(function, arguments), "call_soon")

    def is_here(self) -> bool:
        """Whether this thread runs it."""
        return getattr(local, "loop", None) is self


async def _call(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    return function(*arguments)


def current_loop() -> Loop:
    """Of this thread; ``RuntimeError`` if it is no shard's."""
    loop: Loop | None = getattr(local, "loop", None)
    if loop is None:
        loop = local.loop = Loop(current_runtime())
    return loop


def current_state() -> TaskState:
    """Of the current task; ``RuntimeError`` outside a task."""
    state: TaskState | None = native.companion()
    return _new_state() if state is None else state


def _new_state() -> TaskState:
    """Of a task that no task group of anyio has spawned."""
    handle = native.current_task()
    if handle is None:
        raise RuntimeError("not in a spargio task")
    state = TaskState(handle.name, native.coroutine_of(handle))
    state.handle = handle
    state.loop = current_loop()
    native.set_companion(state)
    return state


def ns(seconds: float) -> int:
    """For timers; at least what was asked for."""
    return int(seconds * 1_000_000_000) + 1 if seconds < _MOST_S else _MOST_NS


_MOST_NS = (1 << 62) - 1
_MOST_S = 1e9

hold = native.hold
keep_back = functools.partial(native.keep_back, 1)
give_back = functools.partial(native.keep_back, -1)


async def checkpoint() -> None:
    """Others run; raises the cancellation if there is one, but not before they ran: a task that
    takes no notice of it must not keep them from what they do."""
    state: TaskState | None = native.companion()
    if state is not None and state.scope is not None and state.scope._effective:
        await shielded_checkpoint()
        native.raise_if_cancelled()
    else:
        await native.yield_now()


async def shielded_checkpoint() -> None:
    """Others run; a scope's cancellation comes later."""
    native.keep_back(1)
    try:
        await native.yield_now()
    finally:
        native.keep_back(-1)
