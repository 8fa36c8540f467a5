"""Whole files, many and small, that are in the page cache: 0 to 64 KiB, 16 KiB in the mean, on
both CPUs. Each peer first reads every file once with the very code that is timed, and gives a
checksum of what it saw: it has to be the files'."""

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
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Final

import file_peers
import native_tools
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import MeasurementFailed

FILES: Final = 10_000
QUICK_FILES: Final = 1_000
FOLDERS: Final = 100
LARGEST: Final = 65_536
THREADS: Final = 32
SEED: Final = 20_240_607
ONE_SHARD: Final = "spargio-1-shard"
C_SPARGIO: Final = "c-spargio"

See = Callable[[str, bytes], None]
"""Is shown a path and what was read there."""

ReadAll = Callable[[list[str], See], None]


class Seen:
    """Depends on which bytes came from which file, not on the order in which they came."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self.size = 0
        self.checksum = 0

    def add(self, path: str, data: bytes) -> None:
        self.size += len(data)
        if self.check:
            name = zlib.crc32(os.path.basename(path).encode())
            self.checksum = (self.checksum + zlib.crc32(data, name)) % 2**32


def sample(read_all: ReadAll, paths: list[str], seconds: float) -> Sample:
    """Verify one pass over the files, then time as many as fit."""
    first = Seen(check=True)
    read_all(paths, first.add)
    passes = 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = perf_counter()
    while (took := perf_counter() - start) < seconds or not passes:
        seen = Seen(check=False)
        read_all(paths, seen.add)
        if seen.size != first.size:
            raise MeasurementFailed(f"{seen.size} bytes came, {first.size} before")
        passes += 1
    after = resource.getrusage(resource.RUSAGE_SELF)
    files = passes * len(paths)
    return {
        "files_per_second": files / took,
        "cpu_us": (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        / files
        * 1e6,
        "checksum": first.checksum,
    }


def read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def run_loop(paths: list[str], see: See) -> None:
    for path in paths:
        see(path, read_file(path))


def run_threads(paths: list[str], see: See) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for path, data in zip(paths, pool.map(read_file, paths), strict=True):
            see(path, data)


def on_asyncio(read: Callable[[str], Awaitable[bytes]], paths: list[str], see: See) -> None:
    async def reader(part: list[str]) -> None:
        for path in part:
            see(path, await read(path))

    async def main() -> None:
        await asyncio.gather(*(reader(paths[n::THREADS]) for n in range(THREADS)))

    asyncio.run(main())


def run_aiofiles(paths: list[str], see: See) -> None:
    import aiofiles

    async def read(path: str) -> bytes:
        async with aiofiles.open(path, "rb") as file:
            return await file.read()

    on_asyncio(read, paths, see)


def run_urio(paths: list[str], see: See) -> None:
    import urio

    on_asyncio(lambda path: urio.Path(path).read_bytes(), paths, see)


def run_turbofile(paths: list[str], see: See) -> None:
    import turbofile

    on_asyncio(turbofile.read_bytes, paths, see)


def run_asyncfiles(paths: list[str], see: See) -> None:
    import asyncfiles

    async def read(path: str) -> bytes:
        async with asyncfiles.open(path, "rb") as file:
            data: bytes = await file.read()
            return data

    on_asyncio(read, paths, see)


def run_spargio(shards: int, paths: list[str], see: See) -> None:
    import spargio
    from spargio import fs

    async def main() -> None:
        async for path, data in fs.read_many(paths):
            if isinstance(data, OSError):
                raise data
            see(str(path), data)

    spargio.run(main, shards=shards)


@contextlib.contextmanager
def hot_files(count: int) -> Iterator[Path]:
    """A folder of them, on a real file system (/tmp is often none), and on the disk before they
    are read, so that nothing is written meanwhile."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="spargio-bench-") as name:
        chosen = random.Random(SEED)
        content = chosen.randbytes(LARGEST)
        top = Path(name)
        for n in range(FOLDERS):
            (top / f"{n}").mkdir()
        for n in range(count):
            size = int(chosen.random() ** 3 * (LARGEST + 1))
            (top / f"{n % FOLDERS}" / f"{n}").write_bytes(content[:size])
        os.sync()
        yield top


def wanted_files(settings: Settings) -> int:
    return QUICK_FILES if settings.quick else FILES


def listed(top: Path) -> list[str]:
    """In the order of their numbers: a folder gives them in an order of its own."""
    found = (str(path) for path in top.glob("*/*"))
    return sorted(found, key=lambda path: int(os.path.basename(path)))


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    with (
        hot_files(wanted_files(settings)) as top,
        tempfile.TemporaryDirectory(prefix="spargio-bench-") as folder,
    ):
        programs = Path(folder)
        (programs / "list").write_text("\n".join(listed(top)))
        wanted = Seen(check=True)
        run_loop(listed(top), wanted.add)

        def command(peer: str) -> list[str | Path]:
            if peer == C_SPARGIO:
                program = native_tools.build_limit("files_spargio", programs)
                return [program, programs / "list", str(settings.seconds)]
            options = ("--peer", peer, "--seconds", str(settings.seconds), "--folder", str(top))
            return processes.python(Path(__file__), *options)

        def measure(peer: str) -> Sample:
            limit_seconds = 120 + 20 * settings.seconds
            cpus = set(processes.two_cpus())
            found = worker.parse(processes.run(command(peer), cpus=cpus, seconds=limit_seconds))
            if found["checksum"] != wanted.checksum:
                raise MeasurementFailed(
                    f"checksum {found['checksum']}, the files' is {wanted.checksum}"
                )
            return found

        yield measure


RUNNERS: Final = {
    "plain-loop": run_loop,
    "threads-32": run_threads,
    "aiofiles": run_aiofiles,
    "urio": run_urio,
    "turbofile": run_turbofile,
    "py-asyncfiles": run_asyncfiles,
    SPARGIO: functools.partial(run_spargio, 2),
    ONE_SHARD: functools.partial(run_spargio, 1),
}


def target(peer: str, least: float) -> Target:
    return Target(f"files/s, against {peer}", "files_per_second", peer, "spargio/peer", ">=", least)


GROUP = Group(
    name="small_files",
    title=f"{FILES:,} files of 0 to 64 KiB, page cache hot, 2 CPUs",
    peers=(
        Peer("plain-loop"),
        Peer("threads-32"),
        *(Peer(name, module) for name, module in file_peers.MODULES.items()),
        Peer(SPARGIO, "spargio"),
        Peer(C_SPARGIO, "spargio"),
    ),
    metrics=(
        Metric("files_per_second", "files/s", unit="1/s", better="higher", headline=True),
        Metric("cpu_us", "CPU us", 2, unit="us of CPU"),
    ),
    targets=(target("threads-32", 3.0),),
    prepare=prepare,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--peer", required=True, choices=RUNNERS)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--folder", type=Path, help="default: one of its own")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        top = arguments.folder or stack.enter_context(hot_files(FILES))
        print(json.dumps(sample(RUNNERS[arguments.peer], listed(top), arguments.seconds)))


if __name__ == "__main__":
    main()
