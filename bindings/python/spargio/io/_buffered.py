"""Reading and writing in other pieces than the stream's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import TracebackType

from .._ffi.types import Buffer
from .._shared import Shared
from .._validate import at_least, check_separator, view_of
from ..errors import BusyError, IncompleteReadError
from ._streams import AsyncRead, AsyncWrite, give_back

_PIECE = 64 * 1024


class LimitExceeded(ValueError):
    """What was looked for did not come within the limit; the bytes stay readable."""


class BufReader(Shared):
    """Reads ahead. One task at a time; a read that is cancelled loses nothing, because bytes leave
    the buffer only when a call gives them out. :meth:`detach` gives the rest back to the reader
    beneath."""

    def __init__(self, reader: AsyncRead, *, limit: int = _PIECE) -> None:
        self._reader = reader
        self._limit = at_least("limit", limit, 1)
        self._buffer = bytearray()
        self._ended = False
        self._detached = False

    def _state(self) -> str:
        state = f"{len(self._buffer)} bytes read ahead, of {self._reader!r}"
        return f"{state}, at the end" if self._ended else state

    async def _more(self) -> bool:
        """False at the end."""
        if self._detached:
            raise RuntimeError("the reader beneath was detached")
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

    def unread(self, data: bytes) -> None:
        """Reads get `data` first."""
        self._buffer[:0] = data

    def detach(self) -> AsyncRead:
        """The reader beneath, which gets back what was read ahead: its next read begins there. Of
        no use any more afterwards. ``RuntimeError`` if something was read ahead and the reader has
        no ``unread(data)`` to take it; :meth:`buffer` has it then."""
        if self._detached:
            raise RuntimeError("the reader beneath was detached")
        if not give_back(self._reader, bytes(self._buffer)):
            raise RuntimeError(
                f"detach() with {len(self._buffer)} bytes that {type(self._reader).__name__} "
                "cannot take back: it has no unread(data)"
            )
        self._buffer.clear()
        self._detached = True
        return self._reader

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
        """`size` bytes; :class:`IncompleteReadError` with the rest if the stream ends first."""
        size = at_least("size", size, 0)
        while len(self._buffer) < size:
            if not await self._more():
                raise IncompleteReadError(self._take(len(self._buffer)), size)
        return self._take(size)

    async def read_until(self, separator: bytes = b"\n", *, limit: int | None = None) -> bytes:
        """All up to and with `separator`. :class:`IncompleteReadError` if the stream ends first,
        :class:`LimitExceeded` if it does not come within `limit` bytes (default: that of the
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


class BufWriter(Shared):
    """Collects small writes. One task at a time: a flush during another's is refused with
    :class:`BusyError`, and loses nothing. ``async with`` flushes at the end of the block, unless it
    ends by an error. After a write that failed each later call raises ``OSError``: how much of the
    buffer went out is not known. One that goes away with bytes in it tells by a
    ``ResourceWarning`` how many."""

    _buffer = bytearray()  # Of one whose making failed.

    def __init__(self, writer: AsyncWrite, *, capacity: int = _PIECE) -> None:
        self._writer = writer
        self._capacity = at_least("capacity", capacity, 1)
        self._buffer = bytearray()
        self._failed: str | None = None
        self._flushing = False

    def buffered(self) -> int:
        """Bytes that were not sent yet."""
        return len(self._buffer)

    async def write_all(self, data: Buffer) -> None:
        """Take all of `data`; it goes out when the buffer is full, or with :meth:`flush`."""
        self._check()
        view = view_of(data)
        if len(self._buffer) + view.nbytes >= self._capacity:
            self._check_free()
        self._buffer += view
        if len(self._buffer) >= self._capacity:
            await self.flush()

    async def flush(self) -> None:
        """Send what is left."""
        self._check()
        if not self._buffer:
            return
        self._check_free()
        data, self._buffer = self._buffer, bytearray()
        self._flushing = True
        try:
            await self._writer.write_all(data)
        except BaseException as error:
            # Its words only: the error's traceback would hold the owner of this.
            self._failed = repr(error)
            raise
        finally:
            self._flushing = False

    def _check_free(self) -> None:
        if self._flushing:
            raise BusyError("another task flushes this BufWriter: one may at a time")

    def _check(self) -> None:
        if self._failed is not None:
            raise OSError(f"an earlier write failed, or was cut short: {self._failed}")

    def _state(self) -> str:
        state = f"{len(self._buffer)} bytes buffered, for {self._writer!r}"
        return state if self._failed is None else f"{state}, failed: {self._failed}"

    async def __aenter__(self) -> BufWriter:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception is None:
            await self.flush()
        else:
            self._buffer.clear()  # The error that left the block says it already.

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if self._buffer:
            _warn(
                f"a BufWriter went away with {len(self._buffer)} bytes that were not sent, for "
                f"{self._writer!r}: await flush(), or use 'async with'",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
