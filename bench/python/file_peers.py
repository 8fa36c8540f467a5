"""How each peer reads a block of a file at an offset. On asyncio a peer is a context that gives a
reader to each of the coroutines that read side by side; what they do with it is the same."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import mmap
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from processes import Missing

BLOCK: Final = 4096

Read = Callable[[int], Awaitable[Any]]
"""The block at an offset: bytes, or a memory that the next read of this reader overwrites."""


@dataclass(frozen=True)
class Reading:
    path: Path
    depth: int
    direct: bool
    """O_DIRECT: past the page cache."""

    def memory(self) -> memoryview:
        """One block, aligned as O_DIRECT wants it."""
        return memoryview(mmap.mmap(-1, BLOCK))


Peer = Callable[[Reading], AbstractAsyncContextManager[list[Read]]]


def set_direct(path: Path) -> None:
    """O_DIRECT for each descriptor of this process that `path` is open with: not every package
    takes flags or tells its descriptors."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.path.samefile(f"/proc/self/fd/{name}", path):
                flags = fcntl.fcntl(int(name), fcntl.F_GETFL)
                fcntl.fcntl(int(name), fcntl.F_SETFL, flags | os.O_DIRECT)


@contextlib.asynccontextmanager
async def executor(reading: Reading) -> AsyncIterator[list[Read]]:
    """The least that a pool of threads can cost: one hand-over per read."""
    flags = os.O_RDONLY | (os.O_DIRECT if reading.direct else 0)
    descriptor = os.open(reading.path, flags)
    loop = asyncio.get_running_loop()

    def hot(offset: int) -> Awaitable[bytes]:
        return loop.run_in_executor(None, os.pread, descriptor, BLOCK, offset)

    async def cold(memory: memoryview, offset: int) -> memoryview:
        return memory[: await loop.run_in_executor(None, os.preadv, descriptor, [memory], offset)]

    try:
        if reading.direct:
            yield [functools.partial(cold, reading.memory()) for _ in range(reading.depth)]
        else:
            yield [hot] * reading.depth
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def aiofiles(reading: Reading) -> AsyncIterator[list[Read]]:
    """It has no read at an offset: seek, then read, and so a file object for each coroutine.
    Unbuffered, because a buffered read after a seek fetches more than was asked for."""
    import aiofiles

    async def hot(file: Any, offset: int) -> bytes:
        await file.seek(offset)
        data: bytes = await file.read(BLOCK)
        return data

    async def cold(file: Any, memory: memoryview, offset: int) -> memoryview:
        await file.seek(offset)
        return memory[: await file.readinto(memory)]

    async with contextlib.AsyncExitStack() as stack:
        opened = [aiofiles.open(reading.path, "rb", buffering=0) for _ in range(reading.depth)]
        files = [await stack.enter_async_context(file) for file in opened]
        if reading.direct:
            set_direct(reading.path)
            yield [functools.partial(cold, file, reading.memory()) for file in files]
        else:
            yield [functools.partial(hot, file) for file in files]


@contextlib.asynccontextmanager
async def urio(reading: Reading) -> AsyncIterator[list[Read]]:
    """As aiofiles, of which it has the interface. It does not say how to read into memory that is
    aligned: its readinto copies."""
    import urio

    async def read(file: Any, offset: int) -> bytes:
        await file.seek(offset)
        data: bytes = await file.read(BLOCK)
        return data

    async with contextlib.AsyncExitStack() as stack:
        opened = [urio.open(reading.path, "rb") for _ in range(reading.depth)]
        files = [await stack.enter_async_context(file) for file in opened]
        if reading.direct:
            set_direct(reading.path)
        yield [functools.partial(read, file) for file in files]


@contextlib.asynccontextmanager
async def turbofile(reading: Reading) -> AsyncIterator[list[Read]]:
    """Reads at offsets, of one file."""
    import turbofile

    async with turbofile.open(reading.path, "rb") as file:

        def hot(offset: int) -> Awaitable[bytes]:
            found: Awaitable[bytes] = file.read_at(offset, BLOCK)
            return found

        async def cold(memory: memoryview, offset: int) -> memoryview:
            return memory[: await file.readinto_at(offset, memory)]

        if reading.direct:
            set_direct(reading.path)
            yield [functools.partial(cold, reading.memory()) for _ in range(reading.depth)]
        else:
            yield [hot] * reading.depth


@contextlib.asynccontextmanager
async def asyncfiles(reading: Reading) -> AsyncIterator[list[Read]]:
    """A seek is not awaited; reads are bytes only."""
    import asyncfiles

    async def read(file: Any, offset: int) -> bytes:
        file.seek(offset)
        data: bytes = await file.read(BLOCK)
        return data

    async with contextlib.AsyncExitStack() as stack:
        opened = [asyncfiles.open(reading.path, "rb") for _ in range(reading.depth)]
        files = [await stack.enter_async_context(file) for file in opened]
        if reading.direct:
            set_direct(reading.path)
        yield [functools.partial(read, file) for file in files]


ON_ASYNCIO: Final[dict[str, Peer]] = {
    "asyncio-executor": executor,
    "aiofiles": aiofiles,
    "urio": urio,
    "turbofile": turbofile,
    "py-asyncfiles": asyncfiles,
}
MODULES: Final = {
    "aiofiles": "aiofiles",
    "urio": "urio",
    "turbofile": "turbofile",
    "py-asyncfiles": "asyncfiles",
}
"""The peers that come from a package, and the module."""


@contextlib.contextmanager
def refused_is_missing(direct: bool) -> Any:
    """The kernel's answer to O_DIRECT into memory that is not aligned: the peer has no other."""
    try:
        yield
    except OSError as error:
        if direct:
            raise Missing(f"cannot read with O_DIRECT: {error}") from None
        raise
