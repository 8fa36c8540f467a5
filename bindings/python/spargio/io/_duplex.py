"""A stream in memory, for tests of what talks over streams."""

from __future__ import annotations

import threading

from .._ffi.core import native
from .._ffi.types import Buffer
from .._shared import Shared
from .._validate import at_least, view_of
from .._wait import ALL, wait
from ..errors import BusyError, ClosedError


class _Pipe:
    """One direction: at most `capacity` bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        # Of the data. A finalizer may close the stream in the middle of this thread's read.
        self.lock = threading.RLock()
        self.data = bytearray()
        self.ended = False
        self.broken = False
        self.writing = False
        self.written = 0  # Of the write that is under way.
        self.readers = native.exchange(0, 1, 0)
        self.writers = native.exchange(0, 1, 0)

    async def read(self, most: int) -> bytes:
        while (found := self._take(most)) is None:
            future = self.readers.join()
            if self.data or self.ended:  # Looked at last: it may have come in between.
                self.readers.serve(ALL, None)
            await wait(future, self.readers.leave)
        return found

    def _take(self, most: int) -> bytes | None:
        with self.lock:
            found = bytes(memoryview(self.data)[:most])
            del self.data[:most]
        if found:
            self.writers.serve(1, None)
            return found
        if not self.ended:
            return None
        if self.broken:
            raise ClosedError("the stream is closed")
        return b""

    async def write(self, data: memoryview) -> None:
        while data:
            with self.lock:
                if self.ended:
                    raise BrokenPipeError(32, "the other side is closed")
                room = self.capacity - len(self.data)
                self.data += data[:room]
                self.written += min(room, len(data))
                data = data[room:]
            if room:
                self.readers.serve(1, None)
                continue
            future = self.writers.join()
            if self._takes():
                self.writers.serve(ALL, None)
            await wait(future, self.writers.leave)

    def _takes(self) -> bool:
        """Whether a write goes on, or ends."""
        return self.ended or len(self.data) < self.capacity

    def end(self, *, broken: bool) -> None:
        self.broken = self.broken or broken
        self.ended = True
        self.readers.serve(ALL, None)
        self.writers.serve(ALL, None)


class DuplexStream(Shared):
    """One end; what is written here is read there. One task at a time may read, one may write, on
    any shard."""

    def __init__(self, inward: _Pipe, outward: _Pipe) -> None:
        self._in = inward
        self._out = outward

    def _state(self) -> str:
        state = f"{len(self._in.data)} bytes to read, {len(self._out.data)} not read by the other"
        return f"{state}, closed" if self._in.broken else state

    async def recv(self, max_bytes: int) -> bytes:
        """At least one byte and at most `max_bytes`; ``b""`` at the end."""
        return await self._in.read(at_least("max_bytes", max_bytes, 1))

    async def write_all(self, data: Buffer) -> None:
        """All of `data`; waits while the pipe is full. ``BrokenPipeError`` if the other end is
        closed, :class:`BusyError` while another task writes. What ends it early has
        ``bytes_written``."""
        out, view = self._out, view_of(data)
        with out.lock:
            if out.writing:
                raise BusyError("another task writes to this stream: one may at a time")
            out.writing, out.written = True, 0
        try:
            await out.write(view)
        except BaseException as error:
            error.bytes_written = out.written  # type: ignore[attr-defined]
            raise
        finally:
            out.writing = False

    def unread(self, data: bytes) -> None:
        """Reads get `data` first. For the one task that reads, and has read too far."""
        with self._in.lock:
            self._in.data[:0] = data

    async def shutdown(self) -> None:
        """No more will be written: the other end reads what is left, then the end."""
        self._out.end(broken=False)

    async def close(self) -> None:
        """Both directions; idempotent."""
        self._out.end(broken=False)
        self._in.end(broken=True)


def duplex(capacity: int = 64 * 1024) -> tuple[DuplexStream, DuplexStream]:
    """Two ends that are connected; each direction holds at most `capacity` bytes."""
    capacity = at_least("capacity", capacity, 1)
    one, other = _Pipe(capacity), _Pipe(capacity)
    return DuplexStream(one, other), DuplexStream(other, one)
