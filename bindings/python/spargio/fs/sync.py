"""Files for callers that are not asynchronous: ``spargio.fs`` on a runtime in the background, one
per process. It is started by the first call and ended at the interpreter's exit; a forked child has
one of its own. From any thread that runs no shard: of a program, of a data loader, of asyncio
(if the calls block the loop, as any call that reads does: see :func:`submit`).

In a spargio task there is :mod:`spargio.fs` itself: here these calls raise ``RuntimeError``. In an
asyncio task they work on a loop of spargio's as on any other."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import _asyncgens
from .._ffi.core import Future, JoinHandle, native
from .._ffi.messages import in_asyncio_of_ours
from .._ffi.types import Buffer
from ..runtime import Runtime, RuntimeHandle
from ._names import Path
from ._ranges import Range, RangeResult
from ._ranges import read_ranges as _read_ranges
from ._tree import CopySummary
from ._tree import copy_tree as _copy_tree
from ._walk import DirEntry, DuOptions, DuSummary, OnError
from ._walk import du as _du
from ._walk import read_tree as _read_tree
from ._walk import walk as _walk
from ._whole import Result, no_path
from ._whole import read_many as _read_many
from ._write import write_many as _write_many

if TYPE_CHECKING:
    from concurrent.futures import Future as ConcurrentFuture

T = TypeVar("T")
P = TypeVar("P", bound=Path)

_SHARDS_MOST = 4
_READY_MOST = 256
"""Results that lie ready for a caller, besides what the stream itself reads ahead."""
_READY_BYTES = 32 << 20

# ---- the runtime in the background ----


class _Background:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runtime: Runtime | None = None


_background = _Background()


def handle() -> RuntimeHandle:
    """Of the runtime in the background, which is started if there is none. Any thread."""
    background = _background
    with background.lock:
        if background.runtime is None:
            shards = min(_SHARDS_MOST, len(os.sched_getaffinity(0)))
            background.runtime = Runtime(shards=shards)
            atexit.unregister(shutdown)
            atexit.register(shutdown)  # Before what it stands on, which was registered earlier.
        return background.runtime.handle()


def shutdown() -> None:
    """End the runtime in the background, and cancel what runs there; the next call starts a new
    one. Idempotent. Any thread."""
    background = _background
    with background.lock:
        runtime, background.runtime = background.runtime, None
    if runtime is not None:
        runtime.shutdown()


_of_parents: list[_Background] = []
"""Kept in a forked child: their shards are threads that it does not have."""


def _in_child() -> None:
    global _background
    _of_parents.append(_background)
    _background = _Background()


os.register_at_fork(after_in_child=_in_child)


def _check(what: str) -> None:
    """An asyncio task may wait, on a loop of spargio's as on any other: it blocks that loop,
    and none of the shards that do the work."""
    if getattr(_asyncgens.local, "runtime", None) is not None and not in_asyncio_of_ours():
        raise RuntimeError(
            f"spargio.fs.sync.{what}() must not be called in a spargio task, which it would block: "
            f"await what spargio.fs has, or call it by spargio.spawn_blocking()"
        )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it on the runtime in the background, and wait for its result. What interrupts the wait,
    as Ctrl-C does, cancels it."""
    try:
        _check("run")
        job = _spawn(coroutine)
    except BaseException:
        coroutine.close()
        raise
    try:
        return job.result()
    except BaseException:
        if not job.done():
            job.cancel()
        raise


def _spawn(coroutine: Coroutine[Any, Any, T]) -> JoinHandle[T] | ConcurrentFuture[T]:
    """On the runtime in the background. A handle of spargio's refuses to block a shard, and an
    asyncio loop of spargio's is one; the caller blocks it as he would any loop."""
    return submit(coroutine) if in_asyncio_of_ours() else handle().spawn(coroutine)


class _Signal:
    """What a native future is for a thread that waits, on spargio's asyncio loop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set_result(self, _: None) -> bool:
        self._event.set()
        return True

    def result(self) -> None:
        self._event.wait()


def submit(coroutine: Coroutine[Any, Any, T]) -> ConcurrentFuture[T]:
    """Run it on the runtime in the background: a ``concurrent.futures.Future`` of its result, which
    ``asyncio.wrap_future`` makes one that asyncio awaits. Cancelling it cancels the coroutine."""
    from concurrent.futures import Future as ConcurrentFuture

    future: ConcurrentFuture[T] = ConcurrentFuture()

    async def whole() -> None:
        try:
            result = await coroutine
        except BaseException as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(result)

    try:
        job = handle().spawn(whole())
    except BaseException:
        coroutine.close()
        raise
    future.add_done_callback(lambda done: job.cancel() if done.cancelled() else None)
    return future


# ---- streams ----


class _Inlet(Generic[T]):
    """What the caller's iterable has, taken on the caller's thread, for a task."""

    def __init__(self, items: Iterable[T], ahead: int) -> None:
        self._source = iter(items)
        self._ahead = ahead
        self._lock = threading.Lock()
        self._items: deque[T] = deque()
        self._over = False
        self._error: BaseException | None = None
        self._wanted: Future[None] | None = None

    def fill(self) -> None:
        if self._over or len(self._items) > self._ahead // 2:
            return
        found: list[T] = []
        over, error = False, None
        try:
            while len(found) < self._ahead:
                found.append(next(self._source))
        except StopIteration:
            over = True
        except BaseException as raised:
            over, error = True, raised
        with self._lock:
            self._items.extend(found)
            self._over, self._error = over, error
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.set_result(None)

    async def items(self) -> AsyncIterator[T]:
        while True:
            wanted: Future[None] = native.future()
            with self._lock:
                found = list(self._items)
                self._items.clear()
                if not found and not self._over:
                    self._wanted = wanted
            if found:
                for item in found:
                    yield item
            elif self._wanted is wanted:
                await wanted
            elif self._over:
                if self._error is not None:
                    raise self._error
                return


class _Outlet(Generic[T]):
    """An asynchronous iterator that a task pumps, as an ordinary one."""

    def __init__(self, results: AsyncGenerator[T, None], inlet: _Inlet[Any] | None) -> None:
        self._results = results
        self._inlet = inlet
        self._lock = threading.Lock()
        self._items: deque[T] = deque()
        self._bytes = 0
        self._over = False
        self._wanted: Future[None] | _Signal | None = None
        self._room: Future[None] | None = None
        self._job = _spawn(self._pump())

    async def _pump(self) -> None:
        try:
            async with contextlib.aclosing(self._results):
                async for item in self._results:
                    await self._put(item)
        finally:
            with self._lock:
                self._over = True
                wanted, self._wanted = self._wanted, None
            if wanted is not None:
                wanted.set_result(None)

    async def _put(self, item: T) -> None:
        room: Future[None] | None = None
        with self._lock:
            self._items.append(item)
            self._bytes += _size(item)
            if len(self._items) >= _READY_MOST or self._bytes >= _READY_BYTES:
                room = self._room = native.future()
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.set_result(None)
        if room is not None:
            await room

    def each(self) -> Iterator[T]:
        try:
            while True:
                if self._inlet is not None:
                    self._inlet.fill()
                wanted = _Signal() if in_asyncio_of_ours() else native.future()
                with self._lock:
                    found = list(self._items)
                    self._items.clear()
                    self._bytes = 0
                    room, self._room = self._room, None
                    over = self._over
                    if not found and not over:
                        self._wanted = wanted
                if room is not None:
                    room.set_result(None)
                if found:
                    found.reverse()
                    while found:
                        yield found.pop()
                elif over:
                    break
                else:
                    wanted.result()
            self._job.result()
        finally:
            if not self._job.done():
                self._job.cancel()
                with contextlib.suppress(BaseException):
                    self._job.result()


def _size(item: Any) -> int:
    data = item[1] if type(item) is tuple and len(item) == 2 else item
    return len(data) if type(data) is bytes else 0


def _streamed(
    what: str,
    make: Callable[[Any], AsyncGenerator[T, None]],
    given: Iterable[Any] | None,
    ahead: int = 0,
) -> Iterator[T]:
    """Nothing begins before the first item is asked for."""
    _check(what)

    def each() -> Iterator[T]:
        inlet = None if given is None else _Inlet(given, ahead)
        outlet = _Outlet(make(None if inlet is None else inlet.items()), inlet)
        yield from outlet.each()

    return each()


def read_many(
    paths: Iterable[P],
    *,
    concurrency: int = 128,
    ordered: bool = True,
    max_bytes: int = 256 << 20,
) -> Iterator[tuple[P, Result]]:
    """:func:`spargio.fs.read_many`. `paths` is iterated by the calling thread."""
    no_path("paths", paths)
    options: Any = {"concurrency": concurrency, "ordered": ordered, "max_bytes": max_bytes}
    return _streamed(
        "read_many", lambda items: _read_many(items, **options), paths, 2 * max(1, concurrency)
    )


def read_ranges(
    ranges: Iterable[Range],
    *,
    into: Buffer | Iterable[Buffer] | None = None,
    ordered: bool = True,
    max_gap: int = 4096,
    max_size: int = 8 << 20,
    concurrency: int = 128,
    max_bytes: int = 256 << 20,
) -> Iterator[tuple[int, RangeResult]]:
    """:func:`spargio.fs.read_ranges`. `ranges` is iterated by the calling thread."""
    no_path("ranges", ranges)
    options: Any = {
        "into": into,
        "ordered": ordered,
        "max_gap": max_gap,
        "max_size": max_size,
        "concurrency": concurrency,
        "max_bytes": max_bytes,
    }
    return _streamed("read_ranges", lambda items: _read_ranges(items, **options), ranges, 4096)


def write_many(
    files: Iterable[tuple[P, Buffer]], *, concurrency: int = 64
) -> Iterator[tuple[P, OSError | None]]:
    """:func:`spargio.fs.write_many`. `files` is iterated by the calling thread, a few ahead; what
    is behind the last result that was asked for may not be written."""
    no_path("files", files)
    return _streamed(
        "write_many",
        lambda items: _write_many(items, concurrency=concurrency),
        files,
        2 * max(1, concurrency),
    )


def walk(
    path: Path = ".",
    *,
    follow_symlinks: bool = False,
    on_error: OnError | None = None,
) -> Iterator[tuple[str, list[DirEntry], list[DirEntry]]]:
    """:func:`spargio.fs.walk`; which directories are entered is settled before they are given out.
    `on_error` is called on a thread of the background."""
    made: Any = lambda _: _walk(path, follow_symlinks=follow_symlinks, on_error=on_error)  # noqa: E731
    return _streamed("walk", made, None)


def read_tree(
    path: Path = ".",
    *,
    metadata: bool = False,
    follow_symlinks: bool = False,
    on_error: OnError | None = None,
) -> Iterator[DirEntry]:
    """:func:`spargio.fs.read_tree`. `on_error` is called on a thread of the background."""

    def blocks(_: Any) -> AsyncGenerator[list[DirEntry], None]:
        return _read_tree(
            path, metadata=metadata, follow_symlinks=follow_symlinks, on_error=on_error
        ).blocks()

    return (entry for block in _streamed("read_tree", blocks, None) for entry in block)


def du(path: Path = ".", options: DuOptions | None = None) -> DuSummary:
    """:func:`spargio.fs.du`."""
    _check("du")
    return run(_du(path, options))


def copy_tree(
    source: Path,
    target: Path,
    *,
    concurrency: int = 32,
    exist_ok: bool = False,
    on_error: OnError | None = None,
) -> CopySummary:
    """:func:`spargio.fs.copy_tree`. `on_error` is called on a thread of the background."""
    _check("copy_tree")
    return run(
        _copy_tree(source, target, concurrency=concurrency, exist_ok=exist_ok, on_error=on_error)
    )
