"""4 KiB reads from a 16 MiB file that is in the page cache, 32 at a time, at shuffled offsets that
are the same for all. Each peer first reads every block once with the very code that is timed, and
gives a checksum of what it saw: it has to be the file's."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import MeasurementFailed

if TYPE_CHECKING:
    import spargio

BLOCK: Final = 4096
BLOCKS: Final = 4096
DEPTH: Final = 32
SEED: Final = 20_240_607

See = Callable[[int, bytes], None]
"""Is shown an offset and what was read there."""

ReadAll = Callable[[Sequence[int], See | None], Awaitable[int]]
"""Reads the blocks at these offsets once, and gives the number of bytes that came."""


class Checksum:
    """Depends on which block was read for which offset, not on the order in which they came."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, offset: int, data: bytes) -> None:
        self.value = (self.value + zlib.crc32(data, offset)) % 2**32


def shuffled_offsets() -> list[int]:
    offsets = [block * BLOCK for block in range(BLOCKS)]
    random.Random(SEED).shuffle(offsets)
    return offsets


def cpu_seconds() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


async def sample(read_all: ReadAll, seconds: float) -> Sample:
    """Verify one pass over the file, then time as many as fit."""
    offsets = shuffled_offsets()
    checksum = Checksum()
    await read_all(offsets, checksum.add)

    passes = size = 0
    user, system = cpu_seconds()
    start = perf_counter()
    while (took := perf_counter() - start) < seconds:
        size += await read_all(offsets, None)
        passes += 1
    user_after, system_after = cpu_seconds()

    reads = passes * BLOCKS
    if size != reads * BLOCK:
        raise MeasurementFailed(f"{size} bytes came from {reads} reads of {BLOCK}")
    user_us = (user_after - user) / reads * 1e6
    system_us = (system_after - system) / reads * 1e6
    return {
        "reads_per_second": reads / took,
        "cpu_us": user_us + system_us,
        "user_us": user_us,
        "system_us": system_us,
        "checksum": checksum.value,
    }


def run_pread(path: Path, seconds: float) -> Sample:
    """One read after the other, with nothing around the system call but Python."""
    descriptor = os.open(path, os.O_RDONLY)

    async def read_all(offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            data = os.pread(descriptor, BLOCK, offset)
            size += len(data)
            if see:
                see(offset, data)
        return size

    return asyncio.run(sample(read_all, seconds))  # never waits: its loop turns once


def run_executor(path: Path, seconds: float) -> Sample:
    """The least that a pool of threads can cost: one hand-over per read."""
    descriptor = os.open(path, os.O_RDONLY)

    async def reader(offsets: Sequence[int], see: See | None) -> int:
        loop = asyncio.get_running_loop()
        size = 0
        for offset in offsets:
            data = await loop.run_in_executor(None, os.pread, descriptor, BLOCK, offset)
            size += len(data)
            if see:
                see(offset, data)
        return size

    async def read_all(offsets: Sequence[int], see: See | None) -> int:
        return sum(await asyncio.gather(*(reader(offsets[n::DEPTH], see) for n in range(DEPTH))))

    return asyncio.run(sample(read_all, seconds))


def run_aiofiles(path: Path, seconds: float) -> Sample:
    """It has no read at an offset: seek, then read, and so a file object for each coroutine.
    Unbuffered, because a buffered read after a seek fetches more than was asked for."""
    import aiofiles
    from aiofiles.threadpool.binary import AsyncFileIO

    async def reader(file: AsyncFileIO, offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            await file.seek(offset)
            data = await file.read(BLOCK)
            size += len(data)
            if see:
                see(offset, data)
        return size

    async def main() -> Sample:
        async with contextlib.AsyncExitStack() as stack:
            opened = [aiofiles.open(path, "rb", buffering=0) for _ in range(DEPTH)]
            files = [await stack.enter_async_context(file) for file in opened]

            async def read_all(offsets: Sequence[int], see: See | None) -> int:
                readers = (reader(file, offsets[n::DEPTH], see) for n, file in enumerate(files))
                return sum(await asyncio.gather(*readers))

            return await sample(read_all, seconds)

    return asyncio.run(main())


def run_spargio(path: Path, seconds: float) -> Sample:
    import spargio
    from spargio import fs

    async def reader(file: fs.File, offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            data = await file.read_at(offset, BLOCK)
            size += len(data)
            if see:
                see(offset, data)
        return size

    async def main(handle: spargio.RuntimeHandle) -> Sample:
        file = await fs.File.open(path)

        async def read_all(offsets: Sequence[int], see: See | None) -> int:
            jobs = [
                handle.spawn_stealable(reader(file, offsets[n::DEPTH], see)) for n in range(DEPTH)
            ]
            return sum([await job for job in jobs])

        try:
            return await sample(read_all, seconds)
        finally:
            await file.close()

    return spargio.run(main, shards=1)


@contextlib.contextmanager
def hot_file() -> Iterator[tuple[Path, int]]:
    """The file and its checksum. Not in /tmp, which is often a tmpfs and so no page cache of a
    real file system; on the disk before it is read, so that nothing is written meanwhile."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="spargio-bench-") as file:
        content = random.Random(SEED).randbytes(BLOCK * BLOCKS)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        checksum = Checksum()
        for offset in range(0, len(content), BLOCK):
            checksum.add(offset, content[offset : offset + BLOCK])
        yield Path(file.name), checksum.value


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    """On one CPU, as the other rows; the pools of threads are faster there as well, because their
    threads only wait for each other."""
    cpu, _ = processes.two_cpus()
    with hot_file() as (path, checksum):

        def measure(peer: str) -> Sample:
            options = ("--peer", peer, "--seconds", str(settings.seconds), "--file", str(path))
            command = processes.python(Path(__file__), *options)
            limit_seconds = 60 + 20 * settings.seconds
            found = worker.parse(processes.run(command, cpus={cpu}, seconds=limit_seconds))
            if found["checksum"] != checksum:
                raise MeasurementFailed(f"checksum {found['checksum']}, the file's is {checksum}")
            return found

        yield measure


RUNNERS: Final = {
    "pread-loop": run_pread,
    "asyncio-executor": run_executor,
    "aiofiles": run_aiofiles,
    SPARGIO: run_spargio,
}

GROUP = Group(
    name="read_4k",
    title=f"4 KiB reads, page cache hot, depth {DEPTH}",
    peers=(
        Peer("pread-loop"),
        Peer("asyncio-executor"),
        Peer("aiofiles", "aiofiles"),
        Peer(SPARGIO, "spargio"),
    ),
    metrics=(
        Metric("reads_per_second", "reads/s"),
        Metric("cpu_us", "CPU us", 2),
        Metric("user_us", "user us", 2),
        Metric("system_us", "system us", 2),
    ),
    targets=(
        Target(
            "reads/s, against a plain os.pread loop",
            "reads_per_second",
            "pread-loop",
            "spargio/peer",
            ">=",
            0.9,
        ),
        Target(
            "reads/s, against aiofiles",
            "reads_per_second",
            "aiofiles",
            "spargio/peer",
            ">=",
            20,
        ),
    ),
    prepare=prepare,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=RUNNERS)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--file", type=Path, help="default: one of its own")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        path = arguments.file or stack.enter_context(hot_file())[0]
        print(json.dumps(RUNNERS[arguments.peer](path, arguments.seconds)))


if __name__ == "__main__":
    main()
