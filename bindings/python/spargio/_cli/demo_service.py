"""The ingest service of the demo: one stealable task per connection. Each task
receives a file, writes it, fsyncs it, and answers with its SHA-256."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spargio import fs, net

from .demo_wire import CHUNK_BYTES, HEADER, WireError, check_name


class Stream(Protocol):
    """What the service uses of a connection."""

    async def read_exactly(self, size: int, /) -> bytes: ...
    async def recv_into(self, buffer: memoryview, /) -> int: ...
    async def write_all(self, data: bytes, /) -> None: ...


@dataclass(frozen=True)
class Stored:
    """One file in the store."""

    path: Path
    size: int


class Service:
    """Its tasks run on any shard; what they share is only added to, one item at a time."""

    def __init__(self, store: Path) -> None:
        self.stored: dict[bytes, Stored] = {}
        self.problems: dict[bytes, str] = {}
        self.full: OSError | None = None
        """The disk has no room: no file can arrive any more."""
        self._store = store
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    async def serve(self, listener: net.TcpListener) -> None:
        """Until it is cancelled."""
        await net.serve(listener, self.receive)

    async def receive(self, stream: Stream) -> None:
        """One file of one connection."""
        name = b"?"
        with self._lock:
            number = next(self._numbers)
        try:
            size, name_size = HEADER.unpack(await stream.read_exactly(HEADER.size))
            name = await stream.read_exactly(name_size)
            check_name(name)
            path = self._store / f"{number}.bin"  # The sender has no say in it.
            digest = await _receive(stream, path, size)
            self.stored[name] = Stored(path, size)
            await stream.write_all(digest)
        except (OSError, EOFError, WireError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.full = OSError(error.errno, os.strerror(error.errno), str(self._store))
            self.problems[name] = f"{type(error).__name__}: {error}"

    def clear(self) -> None:
        """Deletes what is stored. Only while no connection is open."""
        for stored in self.stored.values():
            stored.path.unlink(missing_ok=True)
        self.stored.clear()


async def _receive(stream: Stream, path: Path, size: int) -> bytes:
    """Stores `size` bytes of the stream; they are on disk when it returns. Returns their
    SHA-256."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(size, CHUNK_BYTES)))
    async with await fs.File.create(path) as file:
        offset = 0
        while offset < size:
            received = await stream.recv_into(buffer[: size - offset])
            if received == 0:
                raise EOFError(f"the sender left after {offset} of {size} bytes")
            digest.update(buffer[:received])
            await file.write_all_at(offset, buffer[:received])
            offset += received
        await file.fsync()
    return digest.digest()
