"""Reading and writing in other pieces than the stream's."""

from __future__ import annotations

from .._counts import at_least, check_separator, view_of
from .._ffi.types import Buffer
from ..errors import IncompleteReadError
from ._streams import AsyncRead, AsyncWrite

_PIECE = 64 * 1024


class LimitExceeded(ValueError):
    """What was looked for did not come within the limit; the bytes stay readable."""


class BufReader:
    """Reads ahead. One task at a time; a read that is cancelled loses nothing, because bytes leave
    the buffer only when a call gives them out."""

    def __init__(self, reader: AsyncRead, *, limit: int = _PIECE) -> None:
        self._reader = reader
        self._limit = at_least("limit", limit, 1)
        self._buffer = bytearray()
        self._ended = False

    def __repr__(self) -> str:
        return f"<BufReader with {len(self._buffer)} bytes, of {self._reader!r}>"

    async def _more(self) -> bool:
        """False at the end."""
        if not self._ended:
            data = await self._reader.recv(_PIECE)
            self._buffer += data
            self._ended = not data
        return not self._ended

    def _take(self, count: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return data

    def buffer(self) -> bytes:
        """What was read ahead."""
        return bytes(self._buffer)

    async def peek(self) -> bytes:
        """What was read ahead, at least one byte of it; ``b""`` at the end. It stays."""
        if not self._buffer:
            await self._more()
        return bytes(self._buffer)

    async def recv(self, max_bytes: int) -> bytes:
        """At least one byte and at most `max_bytes`; ``b""`` at the end."""
        max_bytes = at_least("max_bytes", max_bytes, 1)
        if not self._buffer:
            await self._more()
        return self._take(max_bytes)

    async def read_exactly(self, size: int) -> bytes:
        """`size` bytes; :class:`IncompleteReadError` with the rest where the stream ends first."""
        size = at_least("size", size, 0)
        while len(self._buffer) < size:
            if not await self._more():
                raise IncompleteReadError(self._take(len(self._buffer)), size)
        return self._take(size)

    async def read_until(self, separator: bytes = b"\n", *, limit: int | None = None) -> bytes:
        """All up to and with `separator`. :class:`IncompleteReadError` where the stream ends first,
        :class:`LimitExceeded` where it does not come within `limit` bytes (default: that of the
        reader)."""
        data = await self._find(separator, limit)
        if data is None:
            expected = len(self._buffer) + len(separator)
            raise IncompleteReadError(self._take(len(self._buffer)), expected)
        return data

    async def read_line(self, *, limit: int | None = None) -> bytes:
        """Up to and with the next newline; without one at the end of the stream, ``b""`` behind."""
        line = await self._find(b"\n", limit)
        return self._take(len(self._buffer)) if line is None else line

    async def _find(self, separator: bytes, limit: int | None) -> bytes | None:
        check_separator(separator)
        most = self._limit if limit is None else at_least("limit", limit, 0)
        searched = 0
        while True:
            at = self._buffer.find(separator, searched)
            end = at + len(separator) if at >= 0 else len(self._buffer)
            if end > most:
                raise LimitExceeded(f"no {separator!r} within limit = {most} bytes")
            if at >= 0:
                return self._take(end)
            searched = max(0, len(self._buffer) - len(separator) + 1)
            if not await self._more():
                return None

    def __aiter__(self) -> BufReader:
        return self

    async def __anext__(self) -> bytes:
        line = await self.read_line()
        if not line:
            raise StopAsyncIteration
        return line


class BufWriter:
    """Collects small writes. One task at a time. After an error it is kept, and each later call
    raises it again: how much of the buffer went out is not known."""

    def __init__(self, writer: AsyncWrite, *, capacity: int = _PIECE) -> None:
        self._writer = writer
        self._capacity = at_least("capacity", capacity, 1)
        self._buffer = bytearray()
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<BufWriter with {len(self._buffer)} bytes, of {self._writer!r}>"

    def buffered(self) -> int:
        """Bytes that were not sent yet."""
        return len(self._buffer)

    async def write_all(self, data: Buffer) -> None:
        """Take all of `data`; it goes out when the buffer is full, or with :meth:`flush`."""
        self._check()
        self._buffer += view_of(data)
        if len(self._buffer) >= self._capacity:
            await self.flush()

    async def flush(self) -> None:
        """Send what is left."""
        self._check()
        if not self._buffer:
            return
        data, self._buffer = self._buffer, bytearray()
        try:
            await self._writer.write_all(data)
        except BaseException as error:
            self._error = error
            raise

    def _check(self) -> None:
        if self._error is not None:
            raise OSError("an earlier write failed, or was cut short") from self._error
