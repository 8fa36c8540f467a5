"""The store. Chunks that are asked for in one turn of zarr's event loop are one submission."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Iterable
from typing import Any

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer.core import default_buffer_prototype
from zarr.storage import LocalStore

from .. import fs
from ..fs import sync
from ..fs._ranges import Range

_CONCURRENCY = 128
Keys = list[tuple[str, int]]
Values = list[Any]

_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class SpargioStore(LocalStore):  # type: ignore[misc]
    """Local files, as ``zarr.storage.LocalStore`` has them: same layout, same guarantees. Reads
    that zarr has under way at the same time (``async.concurrency`` of its configuration, 10 unless
    it is raised) go to the kernel together; listings walk the tree in one call. ``get_sync`` and
    its like are there (``SupportsSyncStore``). Any thread, any event loop, and forked children may
    use it."""

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """The bytes of a key, or a part of them; None if there is no such key."""
        prototype = prototype or default_buffer_prototype()
        if not self._is_open:
            await self._ensure_open()
        data = await _gathered(f"{self.root}/{key}", byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> Values:
        """Many keys and parts of keys in one submission."""
        return await asyncio.gather(
            *(self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        )

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        """The same for callers that are not asynchronous, on the calling thread."""
        prototype = prototype or default_buffer_prototype()
        self._ensure_open_sync()
        try:
            return prototype.buffer.from_bytes(_read(f"{self.root}/{key}", byte_range))
        except _MISSING:
            return None

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """The keys below a prefix."""
        for key, _ in await self._keys(prefix, False):
            yield key

    async def getsize_prefix(self, prefix: str) -> int:
        """Bytes of all keys below a prefix."""
        return sum(size for _, size in await self._keys(prefix, True))

    async def _keys(self, prefix: str, sizes: bool) -> Keys:
        top = os.path.join(self.root, prefix.rstrip("/"))
        strip = len(str(self.root)) + 1
        future = sync.submit(_files_below(top, sizes))
        return [(path[strip:], size) for path, size in await asyncio.wrap_future(future)]


async def _files_below(top: str, sizes: bool) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    try:
        async for block in fs.read_tree(top, metadata=sizes).blocks():
            for entry in block:
                if entry.is_file():
                    about = entry.metadata()
                    found.append((entry.path, about.size if about else 0))
                elif entry.is_symlink():
                    with contextlib.suppress(OSError):
                        if (info := await fs.metadata(entry.path)).is_file():
                            found.append((entry.path, info.size))
    except (FileNotFoundError, NotADirectoryError):
        pass
    return found


# ---- one at a time, on the calling thread ----


def _read(path: str, byte_range: Any) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        first, last = _bounds(byte_range, size)
        pieces = []
        while first < last and (piece := os.pread(descriptor, last - first, first)):
            pieces.append(piece)
            first += len(piece)
    finally:
        os.close(descriptor)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _bounds(byte_range: Any, size: int) -> tuple[int, int]:
    if byte_range is None:
        return 0, size
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, min(size, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, size
    if isinstance(byte_range, SuffixByteRequest):
        return max(0, size - byte_range.suffix), size
    raise TypeError(f"Unexpected byte_range, got {byte_range}.")


def _range(path: str, byte_range: Any) -> Range:
    if byte_range is None:
        return path, 0, None
    if isinstance(byte_range, RangeByteRequest):
        return path, byte_range.start, byte_range.end - byte_range.start
    first, last = _bounds(byte_range, os.stat(path).st_size)
    return path, first, last - first


# ---- together ----

Waiting = tuple[Range, "asyncio.Future[bytes | None]"]

_waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[Waiting]] = (
    weakref.WeakKeyDictionary()
)
"""What each event loop's turn has asked for so far. Only the loop's thread changes its list."""


def _gathered(path: str, byte_range: Any) -> asyncio.Future[bytes | None]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes | None] = loop.create_future()
    try:
        wanted = _range(path, byte_range)
    except _MISSING:
        future.set_result(None)
        return future
    waiting = _waiting.get(loop)
    if waiting is None:
        waiting = _waiting[loop] = []
    if not waiting:
        loop.call_soon(_submit, loop)
    waiting.append((wanted, future))
    return future


def _submit(loop: asyncio.AbstractEventLoop) -> None:
    waiting = _waiting[loop]
    _waiting[loop] = []
    sync.handle().spawn(_answer(loop, waiting))


async def _answer(loop: asyncio.AbstractEventLoop, waiting: list[Waiting]) -> None:
    results: list[Any]
    try:
        ranges = [wanted for wanted, _ in waiting]
        results = [None] * len(ranges)
        async for place, result in fs.read_ranges(ranges, concurrency=_CONCURRENCY):
            results[place] = result
    except Exception as error:
        results = [error] * len(waiting)
    with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
        loop.call_soon_threadsafe(_deliver, waiting, results)


def _deliver(waiting: list[Waiting], results: list[Any]) -> None:
    for (_, future), result in zip(waiting, results, strict=True):
        if future.done():
            continue  # Cancelled.
        if isinstance(result, _MISSING):
            future.set_result(None)
        elif isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
