"""A file that is read one piece after the other, and read ahead meanwhile."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from concurrent.futures import Future
from typing import Any

from .. import fs
from ..fs import sync

BLOCK = 1 << 20
_AHEAD = 3
"""Blocks under way before they are asked for."""
_SEQUENTIAL = 2
"""So many reads if the one before ended begin it."""


class _Raw(io.RawIOBase):
    def __init__(self, path: str, block: int) -> None:
        self.name = path
        self._block = max(4096, block)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self._position = 0
        self._last_end = 0
        self._in_a_row = 0
        self._pid = os.getpid()
        self._blocks: OrderedDict[int, Future[Any]] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self.size)[whence]
        if base + offset < 0:
            raise OSError(22, f"a position must be 0 or more, got {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        at = self._position
        self._in_a_row = self._in_a_row + 1 if at == self._last_end else 0
        count = self._from_ahead(view, at)
        if count is None:
            count = os.preadv(self._fd, [view], at)
        self._position = self._last_end = at + count
        return count

    def _from_ahead(self, view: memoryview, at: int) -> int | None:
        """None if it is not read ahead."""
        if self._in_a_row < _SEQUENTIAL or self.size <= self._block or self._pid != os.getpid():
            self._forget()
            return None
        first = at - at % self._block
        for place in list(self._blocks):
            if place < first:
                del self._blocks[place]
        for n in range(_AHEAD):
            place = first + n * self._block
            if place < self.size and place not in self._blocks:
                self._blocks[place] = sync.submit(_read(self._fd, place, self._block))
        if first not in self._blocks:
            return None
        data = memoryview(self._blocks[first].result())[at - first :]
        count = min(len(data), len(view))
        if count == 0:
            return None  # It has grown since, or this is its end.
        view[:count] = data[:count]
        return count

    def _forget(self) -> None:
        """They end before the descriptor is closed: another file may get its number."""
        blocks, self._blocks = self._blocks, OrderedDict()
        for future in blocks.values():
            if self._pid == os.getpid():
                future.exception()

    def close(self) -> None:
        if not self.closed:
            self._forget()
            os.close(self._fd)
        super().close()


async def _read(fd: int, offset: int, size: int) -> bytes:
    file = fs.File.from_fd(os.dup(fd))
    try:
        return await file.read_at(offset, size)
    finally:
        await file.close()


class ReadAhead(io.BufferedReader):
    """As ``open(path, "rb")``: what reads it from the start to the end has the next blocks read by
    the runtime in the background meanwhile. Can be pickled, with its position."""

    def __init__(self, path: str, block: int = BLOCK) -> None:
        self._arguments = (path, block)
        self.path = path
        raw = _Raw(path, block)
        self.size = raw.size
        super().__init__(raw, 128 << 10)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _reopen, (*self._arguments, self.tell())


def _reopen(path: str, block: int, position: int) -> ReadAhead:
    file = ReadAhead(path, block)
    file.seek(position)
    return file
