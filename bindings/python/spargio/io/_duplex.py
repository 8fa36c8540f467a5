"""A stream in memory, for tests of what talks over streams."""

from __future__ import annotations

import threading
from collections import deque

from .._counts import at_least, view_of
from .._ffi.core import Future, native
from .._ffi.types import Buffer
from ..errors import ClosedError
from ..sync._wait import hand_over, wait


class _Pipe:
    """One direction: at most `capacity` bytes."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.lock = threading.Lock()
        self.data = bytearray()
        self.ended = False
        self.broken = False
        self.readers: deque[Future[None]] = deque()
        self.writers: deque[Future[None]] = deque()

    async def read(self, most: int) -> bytes:
        while True:
            with self.lock:
                if self.data:
                    found = bytes(memoryview(self.data)[:most])
                    del self.data[:most]
                    hand_over(self.writers, None)
                    return found
                if self.ended:
                    return b""
                if self.broken:
                    raise ClosedError("the stream is closed")
                future: Future[None] = native.future()
                self.readers.append(future)
            await wait(future, self.readers, future, self.lock)

    async def write(self, data: memoryview) -> None:
        while data:
            with self.lock:
                if self.broken or self.ended:
                    raise BrokenPipeError(32, "the other side is closed")
                room = self.capacity - len(self.data)
                if room:
                    self.data += data[:room]
                    data = data[room:]
                    hand_over(self.readers, None)
                    continue
                future: Future[None] = native.future()
                self.writers.append(future)
            await wait(future, self.writers, future, self.lock)

    def end(self, *, broken: bool) -> None:
        with self.lock:
            self.ended = True
            self.broken = self.broken or broken
            for queue in (self.readers, self.writers):
                while hand_over(queue, None):
                    pass


class DuplexStream:
    """One end; what is written here is read there. One task at a time may read, one may write, on
    any shard."""

    def __init__(self, inward: _Pipe, outward: _Pipe) -> None:
        self._in = inward
        self._out = outward

    def __repr__(self) -> str:
        return f"<DuplexStream, {'closed' if self._in.broken else 'open'}>"

    async def recv(self, max_bytes: int) -> bytes:
        """At least one byte and at most `max_bytes`; ``b""`` at the end."""
        return await self._in.read(at_least("max_bytes", max_bytes, 1))

    async def write_all(self, data: Buffer) -> None:
        """All of `data`; waits while the pipe is full. ``BrokenPipeError`` where the other end is
        closed."""
        await self._out.write(view_of(data))

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
