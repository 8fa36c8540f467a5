"""A large file written from its beginning to its end in pieces of 1 MiB, one after the other, then
fsync. On one CPU, over and over the same file, which is cut to nothing first. Most of it is the
kernel's and the disk's: the CPU time tells the peers apart. The file is read back and compared."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import random
import resource
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import file_peers
import processes
import worker
from harness import SPARGIO, SPARGIO_2, Group, Measure, Metric, Peer, Sample, Settings
from processes import MeasurementFailed

MIB: Final = 1 << 20
PIECES: Final = 128
QUICK_PIECES: Final = 8
SEED: Final = 20_240_607

Pieces = list[bytes]
Write = Callable[[Path, Pieces], None]


def pieces(count: int) -> Pieces:
    chosen = random.Random(SEED)
    some = [chosen.randbytes(MIB) for _ in range(4)]
    return [some[n * n % 4] for n in range(count)]


def checksum(parts: Iterator[bytes] | Pieces) -> int:
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def write_plain(path: Path, parts: Pieces) -> None:
    with open(path, "wb", buffering=0) as file:
        for part in parts:
            file.write(part)
        os.fsync(file.fileno())


def write_executor(path: Path, parts: Pieces) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        file = await loop.run_in_executor(None, functools.partial(open, path, "wb", buffering=0))
        with file:
            for part in parts:
                await loop.run_in_executor(None, file.write, part)
            await loop.run_in_executor(None, os.fsync, file.fileno())

    asyncio.run(main())


async def fsync(path: Path) -> None:
    """For a package that has none: it is the file that is synced, whoever opened it."""

    def synced() -> None:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    await asyncio.get_running_loop().run_in_executor(None, synced)


async def write_each(file: Any, parts: Pieces) -> None:
    for part in parts:
        await file.write(part)


def write_aiofiles(path: Path, parts: Pieces) -> None:
    import aiofiles

    async def main() -> None:
        async with aiofiles.open(path, "wb", buffering=0) as file:
            await write_each(file, parts)
            await fsync(path)

    asyncio.run(main())


def write_urio(path: Path, parts: Pieces) -> None:
    import urio

    async def main() -> None:
        async with urio.open(path, "wb") as file:
            await write_each(file, parts)
            await file.fsync()

    asyncio.run(main())


def write_turbofile(path: Path, parts: Pieces) -> None:
    import turbofile

    async def main() -> None:
        async with turbofile.open(path, "wb") as file:
            await write_each(file, parts)
            await file.flush()
            await fsync(path)

    asyncio.run(main())


def write_asyncfiles(path: Path, parts: Pieces) -> None:
    import asyncfiles

    async def main() -> None:
        async with asyncfiles.open(path, "wb") as file:
            await write_each(file, parts)
        await fsync(path)

    asyncio.run(main())


def write_spargio(shards: int, path: Path, parts: Pieces) -> None:
    import spargio
    from spargio import fs

    async def main() -> None:
        async with await fs.File.open(path, "w") as file:
            offset = 0
            for part in parts:
                await file.write_all_at(offset, part)
                offset += len(part)
            await file.fsync()

    spargio.run(main, shards=shards)


RUNNERS: Final[dict[str, Write]] = {
    "plain-loop": write_plain,
    "asyncio-executor": write_executor,
    "aiofiles": write_aiofiles,
    "urio": write_urio,
    "turbofile": write_turbofile,
    "py-asyncfiles": write_asyncfiles,
    SPARGIO: functools.partial(write_spargio, 1),
    SPARGIO_2: functools.partial(write_spargio, 2),
}


def sample(write: Write, path: Path, count: int, seconds: float) -> Sample:
    parts = pieces(count)
    write(path, parts)  # imports, and the blocks of the file
    passes = 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = perf_counter()
    while (took := perf_counter() - start) < seconds or not passes:
        write(path, parts)
        passes += 1
    after = resource.getrusage(resource.RUSAGE_SELF)
    with path.open("rb") as file:
        found = checksum(iter(functools.partial(file.read, MIB), b""))
    if found != checksum(parts):
        raise MeasurementFailed("the file does not hold what was written")
    written = passes * count
    user_us, system_us = (
        (getattr(after, key) - getattr(before, key)) / written * 1e6
        for key in ("ru_utime", "ru_stime")
    )
    return {
        "mib_per_second": written / took,
        "cpu_us": user_us + system_us,
        "user_us": user_us,
        "system_us": system_us,
    }


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    cpu, _ = processes.two_cpus()
    count = QUICK_PIECES if settings.quick else PIECES
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="spargio-bench-") as folder:

        def measure(peer: str) -> Sample:
            options = ("--peer", peer, "--seconds", str(settings.seconds))
            more = ("--pieces", str(count), "--file", f"{folder}/data")
            command = processes.python(Path(__file__), *options, *more)
            return worker.parse(processes.run(command, cpus={cpu}, seconds=120))

        yield measure


GROUP = Group(
    name="seq_write",
    title=f"Sequential write of {PIECES} MiB and fsync, per MiB",
    peers=(
        Peer("plain-loop"),
        Peer("asyncio-executor"),
        *(Peer(name, module) for name, module in file_peers.MODULES.items()),
        Peer(SPARGIO, "spargio"),
    ),
    metrics=(
        Metric("mib_per_second", "MiB/s", unit="MiB/s", better="higher", headline=True),
        Metric("cpu_us", "CPU us", unit="us of CPU"),
        Metric("user_us", "user us", 1, ratio=False),
        Metric("system_us", "system us", ratio=False),
    ),
    targets=(),
    prepare=prepare,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=RUNNERS)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--pieces", type=int, default=PIECES)
    parser.add_argument("--file", type=Path, required=True)
    arguments = parser.parse_args()
    found = sample(RUNNERS[arguments.peer], arguments.file, arguments.pieces, arguments.seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
