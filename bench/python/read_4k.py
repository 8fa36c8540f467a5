"""4 KiB reads of a 16 MiB file at shuffled offsets that are the same for all, by one coroutine and
by 32 side by side; from the page cache, and past it with O_DIRECT. Each peer first reads every
block once with the code that is timed, and gives a checksum of what it saw: it has to be the
file's."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import random
import resource
import sys
import tempfile
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import file_peers
import native_tools
import processes
import worker
from file_peers import BLOCK, Reading
from harness import SPARGIO, SPARGIO_2, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import MeasurementFailed

if TYPE_CHECKING:
    import spargio

BLOCKS: Final = 4096
SEED: Final = 20_240_607
C_SPARGIO: Final = "c-spargio"
PREAD: Final = "pread-loop"
MANY: Final = "spargio-many"

See = Callable[[int, Any], None]
"""Is shown an offset and what was read there."""

ReadAll = Callable[[Sequence[int], See | None], Awaitable[int]]
"""Reads the blocks at these offsets once, and gives the number of bytes that came."""


@dataclass(frozen=True)
class Shape:
    depth: int
    direct: bool

    @property
    def name(self) -> str:
        return f"read_4k_{'cold' if self.direct else 'hot'}_{self.depth}"

    @property
    def title(self) -> str:
        cache = "past the page cache (O_DIRECT)" if self.direct else "page cache hot"
        return f"4 KiB reads, {cache}, depth {self.depth}"


SHAPES: Final = tuple(Shape(depth, direct) for direct in (False, True) for depth in (1, 32))
CENTRAL: Final = Shape(32, False)


class Checksum:
    """Depends on which block was read for which offset, not on the order in which they came."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, offset: int, data: Any) -> None:
        self.value = (self.value + zlib.crc32(data, offset)) % 2**32


def shuffled_offsets() -> list[int]:
    offsets = [block * BLOCK for block in range(BLOCKS)]
    random.Random(SEED).shuffle(offsets)
    return offsets


async def sample(read_all: ReadAll, seconds: float) -> Sample:
    """Verify one pass over the file, then time as many as fit."""
    offsets = shuffled_offsets()
    checksum = Checksum()
    await read_all(offsets, checksum.add)

    passes = size = 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = perf_counter()
    while (took := perf_counter() - start) < seconds or not passes:
        size += await read_all(offsets, None)
        passes += 1
    after = resource.getrusage(resource.RUSAGE_SELF)

    reads = passes * BLOCKS
    if size != reads * BLOCK:
        raise MeasurementFailed(f"{size} bytes came from {reads} reads of {BLOCK}")
    user_us = (after.ru_utime - before.ru_utime) / reads * 1e6
    system_us = (after.ru_stime - before.ru_stime) / reads * 1e6
    return {
        "reads_per_second": reads / took,
        "cpu_us": user_us + system_us,
        "user_us": user_us,
        "system_us": system_us,
        "checksum": checksum.value,
    }


def run_pread(reading: Reading, seconds: float) -> Sample:
    """One read after the other, with nothing around the system call but Python."""
    flags = os.O_RDONLY | (os.O_DIRECT if reading.direct else 0)
    descriptor = os.open(reading.path, flags)
    memory = reading.memory()

    async def hot(offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            data = os.pread(descriptor, BLOCK, offset)
            size += len(data)
            if see:
                see(offset, data)
        return size

    async def cold(offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            size += os.preadv(descriptor, [memory], offset)
            if see:
                see(offset, memory)
        return size

    # Never waits: its loop turns once.
    return asyncio.run(sample(cold if reading.direct else hot, seconds))


def run_on_asyncio(peer: str, reading: Reading, seconds: float) -> Sample:
    async def reader(read: file_peers.Read, offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            data = await read(offset)
            size += len(data)
            if see:
                see(offset, data)
        return size

    async def main() -> Sample:
        async with file_peers.ON_ASYNCIO[peer](reading) as reads:

            async def read_all(offsets: Sequence[int], see: See | None) -> int:
                parts = (
                    reader(read, offsets[n :: reading.depth], see) for n, read in enumerate(reads)
                )
                return sum(await asyncio.gather(*parts))

            return await sample(read_all, seconds)

    with file_peers.refused_is_missing(reading.direct):
        return asyncio.run(main())


def run_spargio(shards: int, reading: Reading, seconds: float) -> Sample:
    import spargio
    from spargio import fs

    async def hot(file: fs.File, offsets: Sequence[int], see: See | None) -> int:
        size = 0
        for offset in offsets:
            data = await file.read_at(offset, BLOCK)
            size += len(data)
            if see:
                see(offset, data)
        return size

    async def cold(file: fs.File, offsets: Sequence[int], see: See | None) -> int:
        memory = reading.memory()
        size = 0
        for offset in offsets:
            size += await file.read_at_into(offset, memory)
            if see:
                see(offset, memory)
        return size

    async def main(handle: spargio.RuntimeHandle) -> Sample:
        file = await fs.OpenOptions().read(True).direct(reading.direct).open(reading.path)
        reader = cold if reading.direct else hot

        async def read_all(offsets: Sequence[int], see: See | None) -> int:
            jobs = [
                handle.spawn_stealable(reader(file, offsets[n :: reading.depth], see))
                for n in range(reading.depth)
            ]
            return sum([await job for job in jobs])

        try:
            return await sample(read_all, seconds)
        finally:
            await file.close()

    return spargio.run(main, shards=shards)


def run_spargio_many(reading: Reading, seconds: float) -> Sample:
    """One task, and one await for as many reads as the others have under way."""
    import spargio
    from spargio import fs

    async def main() -> Sample:
        options = fs.OpenOptions().read(True).direct(reading.direct)
        async with await options.open(reading.path) as file:

            async def read_all(offsets: Sequence[int], see: See | None) -> int:
                size = 0
                for start in range(0, len(offsets), reading.depth):
                    batch = offsets[start : start + reading.depth]
                    found = await file.read_many_at(batch, BLOCK)
                    for offset, data in zip(batch, found, strict=True):
                        size += len(data)
                        if see:
                            see(offset, data)
                return size

            return await sample(read_all, seconds)

    with file_peers.refused_is_missing(reading.direct):
        return spargio.run(main, shards=1)


RUNNERS: Final = {
    PREAD: run_pread,
    **{name: functools.partial(run_on_asyncio, name) for name in file_peers.ON_ASYNCIO},
    SPARGIO: functools.partial(run_spargio, 1),
    SPARGIO_2: functools.partial(run_spargio, 2),
    MANY: run_spargio_many,
}


@contextlib.contextmanager
def test_file() -> Iterator[tuple[Path, Path, int]]:
    """The file, the list of offsets for C, and the checksum. Not in /tmp, which is often a tmpfs
    and so no page cache of a real file system; on the disk before it is read, so that nothing is
    written meanwhile."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="spargio-bench-") as folder:
        path, offsets = Path(folder) / "data", Path(folder) / "offsets"
        content = random.Random(SEED).randbytes(BLOCK * BLOCKS)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        offsets.write_text(" ".join(map(str, shuffled_offsets())))
        checksum = Checksum()
        for offset in range(0, len(content), BLOCK):
            checksum.add(offset, content[offset : offset + BLOCK])
        yield path, offsets, checksum.value


@contextlib.contextmanager
def prepare(shape: Shape, settings: Settings) -> Iterator[Measure]:
    """On one CPU, as the other rows; the pools of threads are faster there as well, because their
    threads only wait for each other."""
    cpu, _ = processes.two_cpus()
    options = (str(shape.depth), str(settings.seconds), str(int(shape.direct)))
    with test_file() as (path, offsets, checksum):

        def command(peer: str) -> list[str | Path]:
            if peer == C_SPARGIO:
                program = native_tools.build_limit("read_spargio", path.parent)
                return [program, path, offsets, *options]
            return processes.python(Path(__file__), "--of", peer, str(path), *options)

        def measure(peer: str) -> Sample:
            limit_seconds = 60 + 20 * settings.seconds
            found = worker.parse(processes.run(command(peer), cpus={cpu}, seconds=limit_seconds))
            if found["checksum"] != checksum:
                raise MeasurementFailed(f"checksum {found['checksum']}, the file's is {checksum}")
            return found

        yield measure


def targets_of(shape: Shape) -> tuple[Target, ...]:
    if shape != CENTRAL:
        return ()

    def target(subject: str, text: str, peers: str | tuple[str, ...], limit: float) -> Target:
        return Target(
            f"reads/s{' of ' * bool(subject)}{subject}, against {text}",
            "reads_per_second",
            peers,
            "spargio/peer",
            ">=",
            limit,
            subject=subject,
        )

    return tuple(
        one
        for subject in ("", MANY)
        for one in (
            target(subject, "a plain os.pread loop", PREAD, 1.2),
            target(subject, "the best async peer", tuple(file_peers.ON_ASYNCIO), 3),
        )
    )


def group_of(shape: Shape) -> Group:
    return Group(
        name=shape.name,
        family="read_4k",
        title=shape.title,
        peers=(
            Peer(PREAD),
            *(Peer(name, file_peers.MODULES.get(name)) for name in file_peers.ON_ASYNCIO),
            Peer(SPARGIO, "spargio"),
            *([Peer(MANY, "spargio")] if shape.depth > 1 else []),
            Peer(C_SPARGIO, "spargio"),
        ),
        metrics=(
            Metric("reads_per_second", "reads/s", unit="1/s", better="higher", headline=True),
            Metric("cpu_us", "CPU us", 2, unit="us of CPU"),
            Metric("user_us", "user us", 2, unit="us"),
            Metric("system_us", "system us", 2, unit="us"),
        ),
        targets=targets_of(shape),
        prepare=functools.partial(prepare, shape),
        quick=shape in (CENTRAL, Shape(32, True)),
    )


GROUPS: Final = tuple(group_of(shape) for shape in SHAPES)


def one_measurement(peer: str, path: str, depth: str, seconds: str, direct: str) -> None:
    """What `prepare` runs in a process of its own."""
    reading = Reading(Path(path), int(depth), direct == "1")
    try:
        print(json.dumps(RUNNERS[peer](reading, float(seconds))))
    except processes.Missing as error:
        print(error, file=sys.stderr)
        sys.exit(processes.SKIPPED)


def main() -> None:
    if sys.argv[1:2] == ["--of"]:
        one_measurement(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    names = [*(peer.name for peer in group_of(CENTRAL).peers), SPARGIO_2]
    parser.add_argument("--peer", required=True, choices=names)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--depth", type=int, default=CENTRAL.depth)
    parser.add_argument("--direct", action="store_true", help="O_DIRECT")
    arguments = parser.parse_args()
    shape = Shape(arguments.depth, arguments.direct)
    with prepare(shape, Settings(rounds=1, seconds=arguments.seconds)) as measure:
        print(json.dumps(measure(arguments.peer)))


if __name__ == "__main__":
    main()
