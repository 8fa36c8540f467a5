"""Text files without threads. The work on the text is Python's own, and finds what it reads in
memory: the ring has put it there before."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

from ._files import READ, STEP, RingFile

_CHARACTER_MOST = 4
"""Bytes of a character, or of a line's end that becomes one."""


class Source(RingFile):
    """The bytes of a text file. Reads by its text are served from what was read ahead, and its
    writes collected, while the ring is what carries them."""

    _ended = False
    _collected: list[bytes] | None = None

    def forget_ahead(self) -> None:
        self._ended = False
        super().forget_ahead()

    async def ahead(self, enough: int | None, mark: bytes = b"") -> None:
        """Have `enough` bytes ahead, or some with `mark` in them, or all that there is."""
        parts, count = [self._ahead], len(self._ahead)
        found = bool(mark) and mark in self._ahead
        while not (found or self._ended) and (enough is None or count < enough):
            room = bytearray(STEP)
            got = await self.transfer(READ, room)
            parts.append(bytes(memoryview(room)[:got]))
            self._ended = got == 0
            count += got
            found = bool(mark) and mark in parts[-1]
        self._ahead = b"".join(parts)

    def read1(self, size: int = -1, /) -> Any:
        if self._ahead:
            size = len(self._ahead) if size < 0 else size
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        if self._ended:
            self._ended = False
            return b""
        return super().read1(size)

    def read(self, size: int | None = -1, /) -> Any:
        if size is None or size < 0:
            parts = []
            while data := self.read1():
                parts.append(data)
            return b"".join(parts)
        return self.read1(size)

    def write(self, data: Any, /) -> Any:
        if self._collected is None:
            self.forget_ahead()
            return super().write(data)
        self._collected.append(bytes(data))
        return len(self._collected[-1])


class RingText(io.TextIOWrapper):
    """A text file. As an object it is Python's, for those who use it on a thread of their own; the
    ring does what anyio asks for."""

    def __init__(
        self,
        source: Source,
        mode: str,
        encoding: str | None,
        errors: str | None,
        newline: str | None,
        line_buffering: bool,
    ) -> None:
        super().__init__(source, encoding, errors, newline, line_buffering)
        self.mode = mode  # type: ignore[misc]
        self._source = source
        self._mark = b"\r" if newline == "\r" else b"\n"

    # ---- on the ring ----

    async def _carried(self, call: Any, *arguments: Any) -> Any:
        """`call` writes: what it would write goes by the ring."""
        collected: list[bytes] = []
        self._source._collected = collected
        try:
            result = call(*arguments)
        finally:
            self._source._collected = None
        if collected:
            await self._source.ring_write(b"".join(collected))
        return result

    async def ring_flush(self) -> None:
        await self._carried(self.flush)

    async def _before_reading(self) -> None:
        if self.writable():
            await self.ring_flush()

    async def ring_read(self, size: int | None = -1) -> str:
        if self.readable():
            await self._before_reading()
            whole = size is None or size < 0
            await self._source.ahead(None if whole else _CHARACTER_MOST * (size or 0))
        return self.read(size)

    async def ring_readline(self, size: int = -1) -> str:
        if self.readable():
            await self._before_reading()
            await self._source.ahead(None, self._mark)
        return self.readline(size)

    async def ring_readlines(self, hint: int = -1) -> list[str]:
        if self.readable():
            await self._before_reading()
            await self._source.ahead(None)
        return self.readlines(hint)

    async def ring_write(self, text: str) -> int:
        count: int = await self._carried(self.write, text)
        return count

    async def ring_writelines(self, lines: Iterable[str]) -> None:
        await self._carried(self.writelines, lines)

    async def ring_seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        await self.ring_flush()
        return self.seek(offset, whence)

    async def ring_tell(self) -> int:
        await self.ring_flush()
        return self.tell()

    async def ring_truncate(self, size: int | None = None) -> int:
        await self.ring_flush()
        return self.truncate(size)

    async def ring_close(self) -> None:
        try:
            if not self.closed:
                await self.ring_flush()
        finally:
            self.close()
