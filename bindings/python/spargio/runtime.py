"""Starting runtimes and giving them work."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
import weakref
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from . import _asyncgens, _interrupts, _watchdog
from ._asyncgens import current_runtime
from ._blocking import spawn_blocking
from ._ffi import constants
from ._ffi.core import Future, JoinHandle, NativeJoinHandle, ShardHooks, native
from ._ffi.core import Runtime as NativeRuntime
from ._hints import Hints
from ._main import Main, without_handle
from ._start import backend_name
from .errors import CancelledError, Overloaded
from .messages import RemoteShard
from .options import RuntimeBuilder
from .placement import TaskPlacement
from .stats import RuntimeStats
from .time import FOREVER_NS, nanoseconds

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    from ._tasks import TaskInfo
    from .options import Options
    from .uring import UringNativeAny

    Ts = TypeVarTuple("Ts")

    class _Decorator(Protocol):
        @overload
        def __call__(
            self, function: Callable[Concatenate[RuntimeHandle, P], Coro[T]], /
        ) -> Callable[P, T]: ...
        @overload
        def __call__(self, function: Callable[P, Coro[T]], /) -> Callable[P, T]: ...


__all__ = (
    "Runtime",
    "RuntimeHandle",
    "current_handle",
    "current_shard",
    "current_task",
    "main",
    "run",
    "run_local_on",
    "run_with",
)

T = TypeVar("T")
P = ParamSpec("P")
Coro = Coroutine[Any, Any, T]


current_task = native.current_task
"""The :class:`JoinHandle` of the task that runs here; None outside a spargio task."""

current_shard = native.current_shard
"""The number of the shard that runs this task; ``RuntimeError`` outside a spargio task."""


def _stack(handle: JoinHandle[Any], runtime: NativeRuntime) -> list[str]:
    from ._tasks import stack_of_task

    return stack_of_task(handle, runtime)


ShardHooks.stack = staticmethod(_stack)


class RuntimeHandle(Hints):
    """What spawns. Any thread may use it, for as long as the runtime is up; then spawns raise
    :class:`spargio.RuntimeClosed`, but for those of the runtime's own tasks, which clean up. Every
    spawn returns a :class:`JoinHandle`."""

    __slots__ = ("_runtime", "_spawn")
    _instead = {  # noqa: RUF012
        "create_task": "spawn(coroutine)",
        "ensure_future": "spawn(coroutine)",
        "start_soon": "spawn(function(...))",
        "call_soon": "spawn(coroutine)",
        "run_in_executor": "spawn_blocking(function, ...)",
        "run_until_complete": "spawn(coroutine).result() on an ordinary thread",
        "block_on": "spawn(coroutine).result() on an ordinary thread",
        "run": "spawn(coroutine).result() on an ordinary thread, or spargio.run(main)",
        "stop": "shutdown()",
        "close": "shutdown()",
    }

    def __init__(self, runtime: NativeRuntime) -> None:
        self._runtime = runtime
        self._spawn = runtime.spawn

    def spawn(
        self,
        coroutine: Coro[T],
        *,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """:meth:`spawn_stealable`, or where `placement` says. Raises as that does."""
        return self.spawn_with_placement(placement, coroutine, name=name)

    def spawn_stealable(self, coroutine: Coro[T], *, name: str | None = None) -> JoinHandle[T]:
        """With a GIL on the shard of the task that spawns it, else on the next shard in turn; an
        idle one may take it before it begins. Raises
        :class:`spargio.Overloaded` if that shard's queue is full."""
        return self._spawn(constants.PLACE_STEALABLE, 0, coroutine, name)

    def spawn_stealable_on(
        self, shard: int, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """Preferably on `shard`; an idle one may take it before it begins."""
        return self._spawn(constants.PLACE_STEALABLE_PREFERRED, shard, coroutine, name)

    def spawn_pinned(
        self, shard: int, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """On `shard` and nowhere else. ``ValueError`` if there is no such shard."""
        return self._spawn(constants.PLACE_PINNED, shard, coroutine, name)

    def spawn_with_placement(
        self, placement: TaskPlacement, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """Where `placement` says."""
        if type(placement) is not TaskPlacement:
            raise TypeError(
                f"placement must be a TaskPlacement, got {placement!r}: write it as "
                "TaskPlacement.Pinned(0)"
            )
        return self._spawn(placement.kind, placement.value, coroutine, name)

    def _settled(self, placement: TaskPlacement) -> TaskPlacement:
        """With the shard that it means now, if it is stealable."""
        if placement.kind != constants.PLACE_STEALABLE:
            return placement
        shard = self._runtime.place(placement.kind, placement.value)
        return TaskPlacement.StealablePreferred(shard)

    async def spawn_wait(
        self,
        coroutine: Coro[T],
        *,
        placement: TaskPlacement = TaskPlacement.Stealable,
        name: str | None = None,
    ) -> JoinHandle[T]:
        """:meth:`spawn_with_placement`, after a wait while the shard's stealable queue is full,
        instead of :class:`spargio.Overloaded`. In a task. One that is cancelled meanwhile has
        spawned nothing; the coroutine is closed."""
        at = self._settled(placement)
        try:
            while True:
                with contextlib.suppress(Overloaded):
                    return self._spawn(at.kind, at.value, coroutine, name)
                await self._runtime.room(at.value)
        except CancelledError:
            coroutine.close()
            raise

    def spawn_native(
        self,
        address: int,
        ctx: int = 0,
        placement: TaskPlacement = TaskPlacement.Stealable,
    ) -> NativeJoinHandle:
        """Run the C function at `address` as a task, without the GIL. Its type is
        ``spargio_poll_fn`` of ``spargio.h``: ``int32_t f(void *ctx, int64_t *result)``; it must
        stay loaded, and what `ctx` points to alive, until the task has ended. The handle gives
        the function's `*result`."""
        return self._runtime.spawn_native(address, ctx, placement.kind, placement.value)

    def spawn_blocking(
        self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs
    ) -> Future[T]:
        """Call ``function(*arguments, **keywords)``, which may wait as it likes, on a thread of
        the process's pool (at most 32 threads). See :func:`spargio.spawn_blocking`."""
        return spawn_blocking(function, *arguments, **keywords)

    def spawn_local_on(
        self, shard: int, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """:meth:`spawn_pinned`: every coroutine may use what belongs to its shard's thread."""
        return self.spawn_pinned(shard, coroutine, name=name)

    def uring_native_unbound(self) -> UringNativeAny:
        """Operations of io_uring on plain descriptors, and on SQEs that the caller fills; each goes
        to the shard that suits. See :mod:`spargio.uring`."""
        from .uring import UringNativeAny

        return UringNativeAny(self._runtime)

    def shard_count(self) -> int:
        """Number of shards."""
        return self._runtime.shard_count()

    def backend(self) -> str:
        """``"io_uring"`` or ``"epoll"``."""
        return backend_name(self._runtime)

    def remote(self, shard: int) -> RemoteShard:
        """A shard as the target of messages. ``ValueError`` if there is no such shard."""
        return RemoteShard(self._runtime, shard)

    def stats_snapshot(self) -> RuntimeStats:
        """All counters now. Monotonic; take two and subtract. Not one instant across shards."""
        return RuntimeStats.from_cbor(self._runtime.stats())

    def tasks(self, timeout: float = 1.0) -> Future[list[TaskInfo]]:
        """What runs, in a while: each task that has begun, with its state, its age, what it waits
        for and the stack of its awaits. Await it in a task, or ask its ``result()`` on a thread.
        Each shard is asked between two polls, so tasks go on meanwhile; one that has not answered
        after `timeout` seconds is blocked, and the stack of its thread is given instead. Tasks
        that wait in a queue for their first poll are counted by ``stealable_queue_depth``."""
        from ._tasks import tasks

        return tasks(self._runtime, timeout)

    def shutdown(self) -> None:
        """Refuse new tasks and cancel those that run; does not wait. Idempotent."""
        self._runtime.request_stop()

    def __repr__(self) -> str:
        return f"<RuntimeHandle of {self._runtime!r}>"


class Runtime(Hints):
    """A runtime in the background: one thread per shard. From ``Runtime.builder()...build()``, or
    ``Runtime(shards=2)``; shut it down, or use ``with``. Any thread may use it."""

    _instead = dict.fromkeys(
        ("run", "block_on", "run_until_complete", "spawn", "create_task"),
        "handle().spawn(coroutine), and its result() on an ordinary thread",
    ) | {"close": "shutdown()", "stop": "shutdown()"}

    def __init__(self, builder: RuntimeBuilder | None = None, **options: Unpack[Options]) -> None:
        if builder is not None and options:
            raise TypeError("Runtime takes a builder or options, not both")
        chosen = RuntimeBuilder().apply(**options) if builder is None else builder
        if chosen._stop_signals:
            raise ValueError("stop_signals must be given to run(), got a runtime in the background")
        self._native = chosen._start(driven=False)
        self._handle = RuntimeHandle(self._native)
        self._owner = os.getpid()
        self._finalizer = weakref.finalize(self, _stop_forgotten, self._native, os.getpid())

    @staticmethod
    def builder() -> RuntimeBuilder:
        """A builder with the defaults."""
        return RuntimeBuilder()

    def handle(self) -> RuntimeHandle:
        """What spawns."""
        return self._handle

    def shutdown(self, timeout: float | None = None) -> None:
        """Refuse new tasks, cancel those that run, wait until all have ended. Idempotent.
        ``TimeoutError`` after `timeout` seconds: they are cancelled but not all have ended; call
        it again."""
        if not self._finalizer.alive or os.getpid() != self._owner:
            return  # Down already, or a forked child: the shards are the parent's.
        ns = FOREVER_NS if timeout is None else nanoseconds(timeout, "timeout")
        if not self._native.shutdown(ns):
            raise TimeoutError(f"tasks are still running after {timeout} s")
        self._finalizer.detach()
        _watchdog.join(self._native)

    def __repr__(self) -> str:
        return repr(self._native)

    def __enter__(self) -> RuntimeHandle:
        return self._handle

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()


def _stop_forgotten(runtime: NativeRuntime, owner: int) -> None:
    """The owner went away, or the interpreter ends: no shard may run Python after that."""
    if os.getpid() != owner:
        return  # A forked child: the shards are the parent's.
    if getattr(_asyncgens.local, "runtime", None) is not None:
        runtime.request_stop()  # On a shard, which must not wait: the last of its threads ends it.
        _watchdog.leave(runtime)
        return
    try:
        warnings.warn("a spargio runtime was never shut down", ResourceWarning, stacklevel=2)
    finally:  # Also if warnings are errors.
        runtime.shutdown(FOREVER_NS)
        _watchdog.join(runtime)


def _join_elsewhere(job: JoinHandle[Any]) -> Any:
    from ._elsewhere import awaited  # Knows asyncio, which few programs with a Runtime use.

    return awaited(job)


ShardHooks.join_elsewhere = staticmethod(_join_elsewhere)


def current_handle() -> RuntimeHandle:
    """The handle of the runtime that runs this task; ``RuntimeError`` elsewhere."""
    return RuntimeHandle(current_runtime())


# "misc" below: mypy (2.4) does not see that `*args: Any` takes what `*args: Unpack[Ts]` takes.


@overload
def run_with(builder: RuntimeBuilder, main: Callable[[], Coro[T]]) -> T: ...
@overload
def run_with(builder: RuntimeBuilder, main: Callable[[RuntimeHandle], Coro[T]]) -> T: ...
@overload
def run_with(
    builder: RuntimeBuilder, main: Callable[[Unpack[Ts]], Coro[T]], /, *args: Unpack[Ts]
) -> T: ...
@overload
def run_with(
    builder: RuntimeBuilder,
    main: Callable[[RuntimeHandle, Unpack[Ts]], Coro[T]],
    /,
    *args: Unpack[Ts],
) -> T: ...
def run_with(builder: RuntimeBuilder, main: Any, *args: Any) -> Any:  # type: ignore[misc]
    """Run ``main(*args)`` on a runtime of its own and give its result or raise its
    exception.

    Shard 0 is the calling thread, so signal handlers run as in any program. What one raises cancels
    every task at its next await, and is raised from here when all have ended: ``SystemExit``, or
    ``KeyboardInterrupt`` after Ctrl-C; a second Ctrl-C is raised at once, wherever the program is,
    and cancels again. See :meth:`RuntimeBuilder.stop_signals` for SIGTERM. A parameter of `main`
    that is annotated as :class:`RuntimeHandle`, or named ``handle``, gets the handle; without
    arguments also the only one that has no default. Tasks that are left when it ends are cancelled.
    ``RuntimeError`` inside a spargio task.
    """
    return _drive(builder, Main(main, args, {}))


def _drive(builder: RuntimeBuilder, function: Main) -> Any:
    if getattr(_asyncgens.local, "runtime", None) is not None:
        raise RuntimeError("spargio.run() inside a spargio task: await the coroutine instead")
    with _interrupts.Guard(builder._stop_signals) as guard:
        runtime = builder._start(driven=True)
        driven = False
        try:
            handle = RuntimeHandle(runtime)

            async def whole() -> Any:
                return await function.call(handle)

            job = handle.spawn_pinned(0, whole(), name=function.name)
            guard.drives(runtime)
            driven = True
            runtime.drive(job)
        finally:
            if not driven:  # Something about `main`: the other shards are up and hold it.
                runtime.shutdown(FOREVER_NS)
            _watchdog.join(runtime)
    guard.raise_kept()
    return job.result()


@overload
def run_local_on(builder: RuntimeBuilder, shard: int, main: Callable[[], Coro[T]]) -> T: ...
@overload
def run_local_on(
    builder: RuntimeBuilder, shard: int, main: Callable[[RuntimeHandle], Coro[T]]
) -> T: ...
@overload
def run_local_on(
    builder: RuntimeBuilder,
    shard: int,
    main: Callable[[Unpack[Ts]], Coro[T]],
    /,
    *args: Unpack[Ts],
) -> T: ...
@overload
def run_local_on(
    builder: RuntimeBuilder,
    shard: int,
    main: Callable[[RuntimeHandle, Unpack[Ts]], Coro[T]],
    /,
    *args: Unpack[Ts],
) -> T: ...
def run_local_on(builder: RuntimeBuilder, shard: int, main: Any, *args: Any) -> Any:  # type: ignore[misc]
    """:func:`run_with`, but `main` runs on `shard`. ``ValueError`` if there is no such shard."""
    function = Main(main, args, {})

    async def start(handle: RuntimeHandle) -> Any:
        target = handle.remote(shard).id
        return await handle.spawn_pinned(target, function.call(handle), name=function.name)

    return run_with(builder, start)


@overload
def run(main: Callable[[], Coro[T]], **options: Unpack[Options]) -> T: ...
@overload
def run(main: Callable[[RuntimeHandle], Coro[T]], **options: Unpack[Options]) -> T: ...
@overload
def run(
    main: Callable[[Unpack[Ts]], Coro[T]], /, *args: Unpack[Ts], **options: Unpack[Options]
) -> T: ...
@overload
def run(
    main: Callable[[RuntimeHandle, Unpack[Ts]], Coro[T]],
    /,
    *args: Unpack[Ts],
    **options: Unpack[Options],
) -> T: ...
def run(main: Any, *args: Any, **options: Any) -> Any:  # type: ignore[misc]
    """:func:`run_with`, with the arguments of `main` behind it and every option of
    :class:`RuntimeBuilder` as a keyword::

    spargio.run(main, "localhost", 8000, shards=4, stealable_queue_capacity=16_384)
    """
    return run_with(RuntimeBuilder().apply(**options), main, *args)


@overload
def main(function: Callable[Concatenate[RuntimeHandle, P], Coro[T]], /) -> Callable[P, T]: ...
@overload
def main(function: Callable[P, Coro[T]], /) -> Callable[P, T]: ...
@overload
def main(**options: Unpack[Options]) -> _Decorator: ...
def main(function: Any = None, /, **options: Any) -> Any:
    """Decorator: calling the function runs it with :func:`run`, with the call's arguments.
    ``@spargio.main`` or ``@spargio.main(shards=4)``."""
    if function is None:
        return functools.partial(_decorate, options=options)
    return _decorate(function, options=options)


def _decorate(function: Any, *, options: dict[str, Any]) -> Any:
    @functools.wraps(function)
    def start(*args: Any, **kwargs: Any) -> Any:
        return _drive(RuntimeBuilder().apply(**options), Main(function, args, kwargs))

    del start.__wrapped__  # Its signature is another: the handle is not the caller's to give.
    signature = without_handle(function)
    if signature is not None:
        start.__signature__ = signature  # type: ignore[attr-defined]
    return start
