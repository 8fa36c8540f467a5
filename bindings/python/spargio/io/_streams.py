"""What a stream is, its halves, and copying."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from .._counts import at_least
from ..errors import bytes_written, say_written


@runtime_checkable
class AsyncRead(Protocol):
    """Something that bytes come from."""

    def recv(self, max_bytes: int, /) -> Awaitable[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` at the end."""


@runtime_checkable
class AsyncWrite(Protocol):
    """Something that takes bytes."""

    def write_all(self, data: object, /) -> Awaitable[None]:
        """All of `data`."""


class AsyncStream(AsyncRead, AsyncWrite, Protocol):
    """Both, with an end."""

    def shutdown(self) -> Awaitable[None]:
        """No more will be written."""

    def close(self) -> Awaitable[None]:
        """Close."""


S = TypeVar("S", bound=AsyncStream)
R = TypeVar("R", bound=AsyncRead)


class _Rejoined:
    """A reader, and what was read of it before."""

    def __init__(self, reader: AsyncRead, data: bytes) -> None:
        self._reader = reader
        self._data = data

    async def recv(self, max_bytes: int) -> bytes:
        max_bytes = at_least("max_bytes", max_bytes, 1)
        if not self._data:
            return await self._reader.recv(max_bytes)
        data, self._data = self._data[:max_bytes], self._data[max_bytes:]
        return data

    def unread(self, data: bytes) -> None:
        self._data = data + self._data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def give_back(reader: R, data: bytes) -> R:
    """`reader` with `data` in front of what it gives next."""
    if not data:
        return reader
    unread = getattr(reader, "unread", None)
    if unread is None:
        return _Rejoined(reader, data)  # type: ignore[return-value]
    unread(data)
    return reader


class ReadHalf(Generic[S]):
    """The reading side of a stream, for a task of its own."""

    def __init__(self, stream: S) -> None:
        self._stream = stream

    def recv(self, max_bytes: int) -> Awaitable[bytes]:
        """As the stream's."""
        return self._stream.recv(max_bytes)

    def unread(self, data: bytes) -> None:
        """The stream's next read, by whoever, gets `data` before anything else."""
        self._stream = give_back(self._stream, data)


class WriteHalf(Generic[S]):
    """The writing side of a stream, for a task of its own."""

    def __init__(self, stream: S) -> None:
        self._stream = stream

    def write_all(self, data: object) -> Awaitable[None]:
        """As the stream's."""
        return self._stream.write_all(data)

    def shutdown(self) -> Awaitable[None]:
        """As the stream's."""
        return self._stream.shutdown()


def split(stream: S) -> tuple[ReadHalf[S], WriteHalf[S]]:
    """Two halves for two tasks; the stream stays the caller's to close."""
    return ReadHalf(stream), WriteHalf(stream)


async def copy(reader: AsyncRead, writer: AsyncWrite, *, chunk: int = 64 * 1024) -> int:
    """Write all that comes, until the end; gives the number of bytes. `chunk` bounds how many are
    in hand at a time. Nothing is closed. What ends it early, a cancellation or time limit too, has
    in ``bytes_written`` how many bytes the writer took."""
    chunk = at_least("chunk", chunk, 1)
    total = 0
    try:
        while data := await reader.recv(chunk):
            await writer.write_all(data)
            total += len(data)
    except BaseException as error:
        say_written(error, total + bytes_written(error))
        raise
    return total


async def copy_to_vec(reader: AsyncRead, *, limit: int | None = None) -> bytes:
    """All that comes, until the end; ``ValueError`` beyond `limit` bytes."""
    if limit is not None:
        limit = at_least("limit", limit, 0)
    parts = bytearray()
    while data := await reader.recv(64 * 1024):
        parts += data
        if limit is not None and len(parts) > limit:
            raise ValueError(f"more than limit = {limit} bytes came")
    return bytes(parts)
