"""What a stream is, its halves, and copying."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar, runtime_checkable

from .._ffi.types import Buffer, Coro
from .._validate import at_least


@runtime_checkable
class AsyncRead(Protocol):
    """Something that bytes come from."""

    def recv(self, max_bytes: int, /) -> Coro[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` at the end."""


@runtime_checkable
class AsyncWrite(Protocol):
    """Something that takes bytes."""

    def write_all(self, data: Buffer, /) -> Coro[None]:
        """All of `data`."""


class AsyncStream(AsyncRead, AsyncWrite, Protocol):
    """Both, with an end."""

    def shutdown(self) -> Coro[None]:
        """No more will be written."""

    def close(self) -> Coro[None]:
        """Close."""


S = TypeVar("S", bound=AsyncStream)


class ReadHalf(Generic[S]):
    """The reading side of a stream, for a task of its own."""

    def __init__(self, stream: S) -> None:
        self._stream = stream

    def __repr__(self) -> str:
        return f"<ReadHalf of {self._stream!r}>"

    def recv(self, max_bytes: int) -> Coro[bytes]:
        """As the stream's."""
        return self._stream.recv(max_bytes)

    def unread(self, data: bytes) -> None:
        """As the stream's, if it has one: reads get `data` first."""
        if not give_back(self._stream, data):
            raise AttributeError(f"{type(self._stream).__name__} has no unread(data)")


class WriteHalf(Generic[S]):
    """The writing side of a stream, for a task of its own."""

    def __init__(self, stream: S) -> None:
        self._stream = stream

    def __repr__(self) -> str:
        return f"<WriteHalf of {self._stream!r}>"

    def write_all(self, data: Buffer) -> Coro[None]:
        """As the stream's."""
        return self._stream.write_all(data)

    def shutdown(self) -> Coro[None]:
        """As the stream's."""
        return self._stream.shutdown()


def split(stream: S) -> tuple[ReadHalf[S], WriteHalf[S]]:
    """Two halves for two tasks; the stream stays the caller's to close."""
    return ReadHalf(stream), WriteHalf(stream)


def give_back(reader: AsyncRead, data: bytes) -> bool:
    """Its next read begins with `data`. False if it cannot take that."""
    unread = getattr(reader, "unread", None)
    if data and unread is not None:
        unread(data)
    return not data or unread is not None


async def copy(reader: AsyncRead, writer: AsyncWrite, *, chunk: int = 64 * 1024) -> int:
    """Write all that comes, until the end; returns the number of bytes. `chunk` bounds how many are
    in hand at a time. Nothing is closed. What ends it early has in its attribute ``bytes_written``
    how many the writer took; those in hand go back to a reader with ``unread(data)``."""
    chunk = at_least("chunk", chunk, 1)
    total = 0
    data = b""
    try:
        while data := await reader.recv(chunk):
            await writer.write_all(data)
            total += len(data)
            data = b""
    except BaseException as error:
        taken = min(getattr(error, "bytes_written", 0), len(data)) if data else 0
        give_back(reader, data[taken:])
        error.bytes_written = total + taken  # type: ignore[attr-defined]
        raise
    return total


async def copy_to_vec(reader: AsyncRead, *, limit: int | None = None) -> bytes:
    """All that comes, until the end; ``ValueError`` beyond `limit` bytes. What ends it early gives
    what it has back to a reader with ``unread(data)``."""
    if limit is not None:
        limit = at_least("limit", limit, 0)
    parts = bytearray()
    try:
        while data := await reader.recv(64 * 1024):
            parts += data
            if limit is not None and len(parts) > limit:
                raise ValueError(f"more than limit = {limit} bytes came")
    except BaseException:
        give_back(reader, bytes(parts))
        raise
    return bytes(parts)
