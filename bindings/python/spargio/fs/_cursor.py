"""A file with a position, for those who read and write one thing after the other."""

from __future__ import annotations

import codecs
import fcntl
import io
import os
from typing import TYPE_CHECKING

from .._counts import integer
from .._ffi.types import Buffer

if TYPE_CHECKING:
    from ._file import File

_READ_AHEAD = 64 * 1024


class Cursor:
    """A position in a :class:`File`, read ahead by 64 KiB for lines. One task at a time. Several
    cursors of one file are independent; the file stays open when they go."""

    def __init__(self, file: File, position: int = 0) -> None:
        self._file = file
        self._position = position
        self._ahead = bytearray()  # Grows and loses its start without a copy of the rest.

    def __repr__(self) -> str:
        return f"<Cursor at {self._position} of {self._file!r}>"

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ``io.IOBase.seek``; ``ValueError`` for a place before the start."""
        offset = integer("offset", offset)
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += (await self._file.metadata()).size
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence is {whence}: allowed is 0, 1 or 2")
        if offset < 0:
            raise ValueError(f"seek to {offset}: allowed is 0 or more")
        self._position = offset
        self._ahead.clear()
        return offset

    async def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all that is left where it is negative; ``b""`` at the end."""
        size = integer("size", size)
        if size < 0:
            data = await self._file.read_to_end_at(self._position)
            self._ahead.clear()
        elif self._ahead:
            data = self._take(size)
        else:
            data = await self._file.read_at(self._position, size)
        self._position += len(data)
        return data

    async def readline(self) -> bytes:
        """Up to and with the next newline; without one at the end of the file."""
        ahead = self._ahead
        searched = 0
        while (at := ahead.find(b"\n", searched)) < 0:
            searched = len(ahead)
            more = await self._file.read_at(self._position + searched, _READ_AHEAD)
            if not more:
                at = searched - 1
                break
            ahead += more
        line = self._take(at + 1)
        self._position += len(line)
        return line

    def _take(self, size: int) -> bytes:
        data = bytes(memoryview(self._ahead)[:size])
        del self._ahead[:size]
        return data

    async def write(self, data: Buffer) -> int:
        """All of `data`; gives its number of bytes."""
        self._ahead.clear()
        await self._file.write_all_at(self._position, data)
        count = memoryview(data).nbytes
        self._position += count
        return count

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


class TextCursor:
    """The same for text: lines end with "\\n" (of "\\r\\n" and "\\r" too) and there is no seek,
    because characters have no fixed size."""

    def __init__(self, file: File, encoding: str = "utf-8", errors: str = "strict") -> None:
        self._file = file
        self._cursor = Cursor(file)
        self._decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(encoding)(errors), translate=True
        )
        self._encoding = encoding
        self._errors = errors
        self._encoder: codecs.IncrementalEncoder | None = None
        self._ahead = ""
        self._start = 0  # Of what was not given out yet.
        self._ended = False

    def __repr__(self) -> str:
        return f"<TextCursor, {self._encoding}, of {self._file!r}>"

    async def read(self) -> str:
        """All that is left."""
        return await self._take(None)

    async def readline(self) -> str:
        """Up to and with the next newline; ``""`` at the end of the file."""
        return await self._take("\n")

    async def _take(self, last: str | None) -> str:
        parts: list[str] = []
        try:
            while (at := -1 if last is None else self._ahead.find(last, self._start)) < 0:
                parts.append(self._ahead[self._start :])
                self._ahead, self._start = "", 0
                if self._ended:
                    break
                data = await self._cursor.read(_READ_AHEAD)
                self._ended = not data
                self._ahead = self._decoder.decode(data, final=not data)
        except BaseException:
            self._ahead = "".join(parts)
            raise
        parts.append(self._ahead[self._start : at + 1])
        self._start = at + 1
        return "".join(parts)

    async def write(self, text: str) -> None:
        """All of `text`, encoded, as it is. A byte order mark, where the encoding has one, is
        written at the start of the file only."""
        if not isinstance(text, str):
            raise TypeError(f"text is {text!r}: allowed is a str; file.cursor() writes bytes")
        encoder = self._encoder or await self._first_encoder()
        await self._cursor.write(encoder.encode(text, final=True))
        self._encoder = encoder

    async def _first_encoder(self) -> codecs.IncrementalEncoder:
        encoder = codecs.getincrementalencoder(self._encoding)(self._errors)
        appends = fcntl.fcntl(self._file.fileno(), fcntl.F_GETFL) & os.O_APPEND
        at = (await self._file.metadata()).size if appends else self._cursor.tell()
        if at:
            encoder.setstate(0)  # As the built-in open(): the mark is taken for written.
        return encoder

    def __aiter__(self) -> TextCursor:
        return self

    async def __anext__(self) -> str:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line
