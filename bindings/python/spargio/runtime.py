"""Starting runtimes and giving them work."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
import weakref
from collections.abc import Callable, Coroutine
from types import CoroutineType, FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _asyncgens, _interrupts, _watch
from ._asyncgens import current_runtime
from ._backend import backend_name, start
from ._blocking import spawn_blocking
from ._ffi import constants
from ._ffi.core import Future, JoinHandle, NativeJoinHandle, is_awaitable, native
from ._ffi.core import Runtime as NativeRuntime
from .errors import CancelledError, Overloaded
from .messages import RemoteShard
from .options import RuntimeBuilder
from .placement import TaskPlacement
from .stats import RuntimeStats

if TYPE_CHECKING:
    from .uring import UringNativeAny

__all__ = (
    "Runtime",
    "RuntimeHandle",
    "current_handle",
    "current_shard",
    "main",
    "run",
    "run_local_on",
    "run_with",
)

T = TypeVar("T")
Coro = Coroutine[Any, Any, T]
MainFunction = Callable[..., Coroutine[Any, Any, T]]

_FOREVER_NS = (1 << 63) - 1

current_shard = native.current_shard
"""The number of the shard that runs this task; ``RuntimeError`` outside a spargio task."""


class RuntimeHandle:
    """What spawns. Any thread may use it, for as long as the runtime is up; then spawns raise
    :class:`spargio.RuntimeClosed`, but for those of the runtime's own tasks, which clean up. Every
    spawn gives a :class:`JoinHandle`."""

    __slots__ = ("_runtime", "_spawn")

    def __init__(self, runtime: NativeRuntime) -> None:
        self._runtime = runtime
        self._spawn = runtime.spawn

    def spawn_stealable(self, coroutine: Coro[T], *, name: str | None = None) -> JoinHandle[T]:
        """With a GIL on the shard of the task that spawns it, else on the next shard in turn; an
        idle one may take it before it begins. Raises
        :class:`spargio.Overloaded` where that shard's queue is full."""
        return self._spawn(constants.PLACE_STEALABLE, 0, coroutine, name)

    def spawn_stealable_on(
        self, shard: int, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """Preferably on `shard`; an idle one may take it before it begins."""
        return self._spawn(constants.PLACE_STEALABLE_PREFERRED, shard, coroutine, name)

    def spawn_pinned(
        self, shard: int, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """On `shard` and nowhere else. ``ValueError`` where there is no such shard."""
        return self._spawn(constants.PLACE_PINNED, shard, coroutine, name)

    def spawn_with_placement(
        self, placement: TaskPlacement, coroutine: Coro[T], *, name: str | None = None
    ) -> JoinHandle[T]:
        """Where `placement` says."""
        return self._spawn(placement.kind, placement.value, coroutine, name)

    def _settled(self, placement: TaskPlacement) -> TaskPlacement:
        """With the shard that it means now, where it is stealable."""
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

    def spawn_blocking(self, function: Callable[..., T], /, *arguments: object) -> Future[T]:
        """Call ``function(*arguments)``, which may wait as it likes, on a thread of the process's
        pool (at most 32 threads). See :func:`spargio.spawn_blocking`."""
        return spawn_blocking(function, *arguments)

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
        """A shard as the target of messages. ``ValueError`` where there is no such shard."""
        return RemoteShard(self._runtime, shard)

    def stats_snapshot(self) -> RuntimeStats:
        """All counters now. Monotonic; take two and subtract. Not one instant across shards."""
        return RuntimeStats.from_cbor(self._runtime.stats())

    def shutdown(self) -> None:
        """Refuse new tasks and cancel those that run; does not wait. Idempotent."""
        self._runtime.request_stop()


class Runtime:
    """A runtime in the background: one thread per shard. From ``Runtime.builder()...build()``;
    shut it down, or use ``with``. Any thread may use it."""

    def __init__(self, builder: RuntimeBuilder) -> None:
        if builder._stop_signals:
            raise ValueError("stop_signals for a runtime in the background: allowed with run()")
        self._native = start(builder, driven=False)
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
        ns = _FOREVER_NS if timeout is None or timeout > 1e9 else int(timeout * 1e9)
        if not self._native.shutdown(ns):
            raise TimeoutError(f"tasks are still running after {timeout} s")
        self._finalizer.detach()
        _watch.join(self._native)

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
        _watch.leave(runtime)
        return
    try:
        warnings.warn("a spargio runtime was never shut down", ResourceWarning, stacklevel=2)
    finally:  # Also where warnings are errors.
        runtime.shutdown(_FOREVER_NS)
        _watch.join(runtime)


def current_handle() -> RuntimeHandle:
    """The handle of the runtime that runs this task; ``RuntimeError`` elsewhere."""
    return RuntimeHandle(current_runtime())


def _call_main(main: MainFunction[T], handle: RuntimeHandle | None) -> Coroutine[Any, Any, T]:
    given: Any = main() if handle is None else main(handle)
    if not is_awaitable(given):
        raise TypeError(
            f"main is {main!r}, whose call gave {given!r}: allowed is a function whose call gives "
            "a coroutine, as one of `async def`"
        )
    return given  # type: ignore[return-value]


def _check_main(main: object) -> None:
    if isinstance(main, CoroutineType):
        raise TypeError(f"main is {main!r}: allowed is the function itself, without a call")
    if not callable(main):
        raise TypeError(f"main is {main!r}: allowed is a function, as one of `async def`")


def _takes_handle(function: Callable[..., object]) -> bool:
    if type(function) is FunctionType and not vars(function):
        return function.__code__.co_argcount > 0  # As most are; inspect costs 10 ms.
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def run_with(builder: RuntimeBuilder, main: MainFunction[T]) -> T:
    """Run `main` on a runtime of its own and give its result or raise its exception.

    Shard 0 is the calling thread, so signal handlers run as in any program. What one raises cancels
    every task at its next await, and is raised from here when all have ended: ``SystemExit``, or
    ``KeyboardInterrupt`` after Ctrl-C; a second Ctrl-C is raised at once, wherever the program is,
    and cancels again. See :meth:`RuntimeBuilder.stop_signals` for SIGTERM. `main` is called with a
    :class:`RuntimeHandle` where it takes an argument. Tasks that are left when it ends are
    cancelled. ``RuntimeError`` inside a spargio task.
    """
    if getattr(_asyncgens.local, "runtime", None) is not None:
        raise RuntimeError("spargio.run() inside a spargio task: await the coroutine instead")
    _check_main(main)
    with _interrupts.Guard(builder._stop_signals) as guard:
        runtime = start(builder, driven=True)
        driven = False
        try:
            handle = RuntimeHandle(runtime)
            with_handle = _takes_handle(main)

            async def whole() -> T:
                return await _call_main(main, handle if with_handle else None)

            job = handle.spawn_pinned(0, whole(), name=getattr(main, "__qualname__", None))
            guard.drives(runtime)
            driven = True
            runtime.drive(job)
        finally:
            if not driven:  # Something about `main`: the other shards are up and hold it.
                runtime.shutdown(_FOREVER_NS)
            _watch.join(runtime)
    guard.raise_kept()
    return job.result()


def run_local_on(builder: RuntimeBuilder, shard: int, main: MainFunction[T]) -> T:
    """:func:`run_with`, but `main` runs on `shard`. ``ValueError`` where there is no such shard."""

    _check_main(main)

    async def start(handle: RuntimeHandle) -> T:
        target = handle.remote(shard).id
        coroutine = _call_main(main, handle if _takes_handle(main) else None)
        return await handle.spawn_pinned(
            target, coroutine, name=getattr(main, "__qualname__", None)
        )

    return run_with(builder, start)


def run(main: MainFunction[T], **options: Any) -> T:
    """:func:`run_with`, with every option of :class:`RuntimeBuilder` as a keyword::

    spargio.run(main, shards=4, stealable_queue_capacity=16_384)
    """
    return run_with(RuntimeBuilder().apply(**options), main)


@overload
def main(function: MainFunction[T], /) -> Callable[[], T]: ...
@overload
def main(**options: Any) -> Callable[[MainFunction[T]], Callable[[], T]]: ...
def main(function: Any = None, /, **options: Any) -> Any:
    """Decorator: calling the function runs it with :func:`run`. ``@spargio.main`` or
    ``@spargio.main(shards=4)``."""
    if function is None:
        return functools.partial(_decorate, options=options)
    return _decorate(function, options=options)


def _decorate(function: MainFunction[T], *, options: dict[str, Any]) -> Callable[[], T]:
    @functools.wraps(function)
    def start() -> T:
        return run(function, **options)

    del start.__wrapped__  # Its signature is another.
    return start
