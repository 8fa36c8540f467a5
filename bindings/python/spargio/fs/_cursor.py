"""A file with a position, for those who read and write one thing after the other."""

from __future__ import annotations

import codecs
import errno
import fcntl
import io
import os
from typing import TYPE_CHECKING

from .._ffi.types import Buffer
from .._pieces import joined
from .._validate import at_least, integer, wrong
from ..errors import bytes_written

if TYPE_CHECKING:
    from ._file import File

_READ_AHEAD = 64 * 1024
_READ_STEP = 1 << 20
_READ_MOST = 1 << 30
"""Less than the kernel reads at a time."""


class Cursor:
    """A position in a :class:`File`, read ahead by 64 KiB for lines. One task at a time. Several
    cursors of one file are independent; the file stays open when they go.

    Of a FIFO or another stream what was read ahead is in the cursor alone: read it by one cursor,
    and take :meth:`buffer` along if you go on by the descriptor. It is an
    :class:`spargio.io.AsyncRead` and ``AsyncWrite``."""

    def __init__(self, file: File, position: int = 0) -> None:
        self._file = file
        self._position = at_least("position", position, 0)
        self._ahead = bytearray()  # Grows and loses its start without a copy of the rest.
        self._has_places: bool | None = None

    def __repr__(self) -> str:
        return f"<Cursor at {self._position} of {self._file!r}>"

    def tell(self) -> int:
        """Bytes from the start."""
        return self._position

    def buffer(self) -> bytes:
        """What was read ahead of the position."""
        return bytes(self._ahead)

    def unread(self, data: bytes) -> None:
        """The next read gets `data` before anything else; the position goes back by its length."""
        self._ahead[:0] = data
        self._position -= len(data)

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ``io.IOBase.seek``; ``ValueError`` for a place before the start, ``OSError`` ESPIPE
        for a stream, which has no places."""
        if not self._seekable():
            raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE), self._file.path)
        offset = integer("offset", offset)
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += (await self._file.metadata()).size
        elif whence != os.SEEK_SET:
            raise ValueError(wrong("whence", "0, 1 or 2", whence))
        if offset < 0:
            raise ValueError(wrong("the position to seek to", "0 or more", offset))
        self._position = offset
        self._ahead.clear()
        return offset

    async def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end of the file; all that is left if `size` is
        negative; ``b""`` at the end."""
        size = integer("size", size)
        if 0 <= size <= len(self._ahead):
            return self._take(size)
        if self._seekable():
            # Nothing is lost if this is cut short: it can be read again.
            data = await self._read_anew(size)
            self._ahead.clear()
            return self._passed(data)
        while size < 0 or len(self._ahead) < size:
            missing = _READ_STEP if size < 0 else size - len(self._ahead)
            if not await self._more(max(missing, _READ_AHEAD)):
                break
        return self._take(len(self._ahead) if size < 0 else size)

    async def _read_anew(self, size: int) -> bytes:
        if size < 0:
            return await self._file.read_to_end_at(self._position)
        parts: list[bytes] = []
        at, end = self._position, self._position + size
        while at < end and (part := await self._file.read_at(at, min(end - at, _READ_MOST))):
            parts.append(part)
            at += len(part)
        return await joined(parts)

    async def recv(self, max_bytes: int) -> bytes:
        """At least one byte and at most `max_bytes`, what one read returns; ``b""`` at the end."""
        max_bytes = at_least("max_bytes", max_bytes, 1)
        if not self._ahead:
            await self._more(min(max_bytes, _READ_MOST))
        return self._take(max_bytes)

    async def readline(self) -> bytes:
        """Up to and with the next newline; without one at the end of the file."""
        searched = 0
        while (at := self._ahead.find(b"\n", searched)) < 0:
            searched = len(self._ahead)
            if not await self._more(_READ_AHEAD):
                return self._take(searched)
        return self._take(at + 1)

    async def _more(self, size: int) -> bool:
        """Reads once; False at the end."""
        at = self._position + len(self._ahead)
        data = await self._file.read_at(at, min(size, _READ_MOST))
        self._ahead += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data = bytes(memoryview(self._ahead)[:size])
        del self._ahead[:size]
        return self._passed(data)

    def _passed(self, data: bytes) -> bytes:
        self._position += len(data)
        return data

    def _seekable(self) -> bool:
        """Asked once: at a seek a file of /proc forgets where it is, and makes all of it up to the
        next read's place again."""
        if self._has_places is None:
            try:
                os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
            except OSError as error:
                if error.errno != errno.ESPIPE:
                    return True  # The operation itself says what is wrong.
                self._has_places = False
            else:
                self._has_places = True
        return self._has_places

    async def write(self, data: Buffer) -> int:
        """All of `data`; returns its number of bytes. In a file that is opened to append it goes to
        the end, and the position is the end after it. An error, a cancellation or a time limit has
        in ``bytes_written`` how many bytes the file took."""
        count = memoryview(data).nbytes
        if self._ahead and self._seekable():
            self._ahead.clear()
        appending = appends(self._file)
        try:
            await self._file.write_all_at(self._position, data)
        except BaseException as error:
            if not appending:
                self._position += bytes_written(error)
            raise
        if appending:
            self._position = (await self._file.metadata()).size
        else:
            self._position += count
        return count

    async def write_all(self, data: Buffer) -> None:
        """The same without the number."""
        await self.write(data)

    def __aiter__(self) -> Cursor:
        return self

    async def __anext__(self) -> bytes:
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line


def appends(file: File) -> bool:
    """Whether it is open to append. A closed one is not: what is done with it next says so."""
    descriptor = file.fileno()
    return descriptor >= 0 and bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)


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
                data = await self._cursor.recv(_READ_AHEAD)
                self._ended = not data
                self._ahead = self._decoder.decode(data, final=not data)
        except BaseException:
            self._ahead = "".join(parts)
            raise
        parts.append(self._ahead[self._start : at + 1])
        self._start = at + 1
        return "".join(parts)

    async def write(self, text: str) -> None:
        """All of `text`, encoded, as it is. A byte order mark, if the encoding has one, is
        written at the start of the file only."""
        if not isinstance(text, str):
            raise TypeError(wrong("text", "a str", text, "; file.cursor() writes bytes"))
        encoder = self._encoder or await self._first_encoder()
        await self._cursor.write(encoder.encode(text, final=True))
        self._encoder = encoder

    async def _first_encoder(self) -> codecs.IncrementalEncoder:
        encoder = codecs.getincrementalencoder(self._encoding)(self._errors)
        at = (await self._file.metadata()).size if appends(self._file) else self._cursor.tell()
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
