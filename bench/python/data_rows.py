"""Files as their users read them: each row beside the default of its library, in one run.

    python bench/python/data_rows.py [ROW...] [--scale 1.0] [--rounds 5] [--folder DIR]

Rows: walk, turns, du, remove, copy, cat, ranges_one, ranges_many, zarr_whole, zarr_random, epoch,
cold. Each side runs in turn, `rounds` times; what is printed is the best wall time and the CPU time
(user and system, all threads and children) of that round. `turns` is the longest time that another
task of the shard waited for its turn meanwhile, in the best round. A library that is not installed
leaves its rows out. Rows that read the same files share them. docs/performance.md has the commands
for a quiet machine."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import spargio
from spargio import fs
from spargio.fs import sync

Side = Callable[[], Any]


def cpu() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


class Bench:
    def __init__(self, folder: Path, scale: float, rounds: int) -> None:
        self.folder = folder
        self.scale = scale
        self.rounds = rounds
        self._made: dict[tuple[int, int], list[str]] = {}

    def count(self, full: int) -> int:
        return max(10, int(full * self.scale))

    def row(
        self,
        name: str,
        unit: str,
        amount: int,
        ours: Side,
        default: Side,
        before: Side = lambda: None,
    ) -> None:
        best: dict[str, tuple[float, float]] = {}
        for _ in range(self.rounds):
            for side, call in (("default", default), ("spargio", ours)):
                before()
                used, began = cpu(), time.perf_counter()
                call()
                wall, spent = time.perf_counter() - began, cpu() - used
                if side not in best or wall < best[side][0]:
                    best[side] = (wall, spent)
        mine, other = best["spargio"], best["default"]
        print(
            f"{name:26} {amount:7} {unit:8}"
            f" spargio {mine[0] * 1e3:8.1f} ms, CPU {mine[1] * 1e3:8.1f};"
            f" default {other[0] * 1e3:8.1f} ms, CPU {other[1] * 1e3:8.1f};"
            f" wall {other[0] / mine[0]:5.2f}x CPU {other[1] / mine[1]:5.2f}x",
            flush=True,
        )

    def make(self, count: int, size: int, per_folder: int = 500) -> list[str]:
        top = Path(tempfile.mkdtemp(dir=self.folder))
        data = os.urandom(size)
        paths = []
        for n in range(count):
            folder = top / f"d{n // per_folder}"
            if n % per_folder == 0:
                folder.mkdir()
            path = folder / f"file{n}"
            if size:
                with open(path, "wb", buffering=0) as file:
                    file.write(data)
            else:
                os.mknod(path)
            paths.append(str(path))
        return paths

    def made(self, count: int, size: int) -> list[str]:
        """Files that no row changes."""
        if (count, size) not in self._made:
            self._made[count, size] = self.make(count, size)
        return self._made[count, size]


# ---- trees ----


def tree_of(paths: list[str]) -> str:
    return os.path.dirname(os.path.dirname(paths[0]))


async def entries(top: str) -> int:
    count, directories = 0, 0
    async for entry in fs.read_tree(top):
        count += 1
        if entry.is_dir():
            directories += 1
    return count


async def blocks(top: str) -> int:
    count = 0
    async for block in fs.read_tree(top).blocks():
        count += len(block)
    return count


async def triples(top: str) -> int:
    return sum([len(a) + len(b) async for _, a, b in fs.walk(top)])


def walk(bench: Bench) -> None:
    amount = bench.count(500_000)
    top = tree_of(bench.made(amount, 0))

    def plain() -> int:
        count, todo = 0, [top]
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        return count

    for name, each in (("entries", entries), ("blocks", blocks), ("fs.walk", triples)):
        plain_side = plain if name != "fs.walk" else lambda: sum(1 for _ in os.walk(top))
        bench.row(
            f"walk, {name}",
            "entries",
            amount,
            lambda e=each: spargio.run(e, top, shards=1),
            plain_side,
        )


async def _longest_wait(work: Callable[[str], Any], top: str) -> float:
    """Seconds that another task of the shard waited for its turn, at most."""
    longest, over = 0.0, False

    async def other() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not over:
            await spargio.yield_now()
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    job = spargio.current_handle().spawn_pinned(0, other())
    await work(top)
    over = True
    await job
    return longest


def turns(bench: Bench) -> None:
    top = tree_of(bench.made(bench.count(500_000), 0))
    for work in (entries, blocks, triples, fs.du):
        found = [
            spargio.run(_longest_wait, work, top, shards=1) for _ in range(max(3, bench.rounds))
        ]
        print(f"longest wait, {work.__name__:12} {min(found) * 1e3:8.2f} ms", flush=True)


def du(bench: Bench) -> None:
    amount = bench.count(500_000)
    top = tree_of(bench.made(amount, 0))

    def plain() -> int:
        total, todo = 0, [top]
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    total += os.stat(entry.path, follow_symlinks=False).st_size
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        return total

    bench.row("du", "entries", amount, lambda: spargio.run(fs.du, top, shards=1), plain)


def remove(bench: Bench) -> None:
    amount = bench.count(100_000)
    tops: list[str] = []

    def make() -> None:
        tops.append(tree_of(bench.make(amount, 0)))

    bench.row(
        "remove_dir_all",
        "entries",
        amount,
        lambda: spargio.run(fs.remove_dir_all, tops.pop(), shards=1),
        lambda: shutil.rmtree(tops.pop()),
        make,
    )


def copy(bench: Bench) -> None:
    size = bench.count(512) << 20
    source, target = bench.folder / "copy-from", bench.folder / "copy-to"
    with source.open("wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    import subprocess

    try:
        bench.row(
            "copy of one file",
            "MiB",
            size >> 20,
            lambda: spargio.run(fs.copy, source, target, shards=1),
            lambda: subprocess.run(["cp", str(source), str(target)], check=True),
            lambda: target.unlink(missing_ok=True),
        )
    finally:
        source.unlink()
        target.unlink(missing_ok=True)


# ---- fsspec ----


def cat(bench: Bench) -> None:
    import fsspec

    from spargio.fsspec import SpargioFileSystem

    amount = bench.count(10_000)
    paths = bench.made(amount, 4096)
    ours, theirs = SpargioFileSystem(), fsspec.filesystem("file")
    bench.row(
        "fsspec cat, 4 KiB files",
        "files",
        amount,
        lambda: ours.cat(paths),
        lambda: theirs.cat(paths),
    )


def _ranges(bench: Bench, name: str, files: int, size: int) -> None:
    import fsspec

    from spargio.fsspec import SpargioFileSystem

    amount = bench.count(10_000)
    dice = random.Random(1)
    made = bench.made(files, size)
    paths = [dice.choice(made) for _ in range(amount)]
    starts = [dice.randrange(size - 2048) for _ in range(amount)]
    ends = [start + 2048 for start in starts]
    ours, theirs = SpargioFileSystem(), fsspec.filesystem("file")
    assert ours.cat_ranges(paths, starts, ends) == theirs.cat_ranges(paths, starts, ends)
    bench.row(
        name,
        "ranges",
        amount,
        lambda: ours.cat_ranges(paths, starts, ends),
        lambda: theirs.cat_ranges(paths, starts, ends),
    )


def ranges_one(bench: Bench) -> None:
    _ranges(bench, "fsspec cat_ranges, 1 file", 1, 64 << 20)


def ranges_many(bench: Bench) -> None:
    _ranges(bench, "fsspec cat_ranges, 1,000", 1000, 64 << 10)


# ---- zarr ----


def _zarr(bench: Bench, name: str, whole: bool) -> None:
    import zarr

    from spargio.zarr import SpargioCodecPipeline, SpargioStore

    chunks = bench.count(20_000) if whole else 20_000
    rows = chunks // 100
    path = bench.folder / "zarr"
    array = zarr.create_array(
        store=str(path), shape=(rows * 32, 100 * 64), chunks=(32, 64), dtype="f4", compressors=None
    )
    array[:] = 1.5
    own = f"{SpargioCodecPipeline.__module__}.{SpargioCodecPipeline.__qualname__}"
    before = zarr.config.get("codec_pipeline.path")
    dice = random.Random(1)
    picked = [(dice.randrange(rows) * 32, dice.randrange(100) * 64) for _ in range(1000)]

    def read(store: Any) -> Any:
        opened = zarr.open_array(store, mode="r")
        if whole:
            return opened[:]
        return opened.vindex[[r for r, _ in picked], [c for _, c in picked]]

    def run(pipeline: str, store: Any) -> Any:
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            return read(store)

    try:
        fused = "zarr.core.codec_pipeline.FusedCodecPipeline"
        amount = chunks if whole else 1000
        for note, default in (("", before), (", fused", fused)):
            bench.row(
                f"{name}{note}",
                "chunks",
                amount,
                lambda: run(own, SpargioStore(path)),
                lambda d=default: run(d, str(path)),
            )
    finally:
        shutil.rmtree(path)


def zarr_whole(bench: Bench) -> None:
    _zarr(bench, "zarr, whole array", True)


def zarr_random(bench: Bench) -> None:
    _zarr(bench, "zarr, random chunks", False)


# ---- an epoch ----


def _reader(paths: list[str], batches: Any, results: Any) -> None:
    for batch in iter(batches.get, None):
        samples = []
        for index in batch:
            with open(paths[index], "rb") as file:
                samples.append(file.read())
        results.put(samples)


def _by_processes(paths: list[str]) -> None:
    """As a DataLoader with two workers does: indices out, a batch read there, its samples back."""
    context: Any = multiprocessing.get_context("fork")
    batches, results = context.Queue(), context.Queue()
    workers = [context.Process(target=_reader, args=(paths, batches, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    count = 0
    for at in range(0, len(paths), 256):
        batches.put(list(range(at, min(at + 256, len(paths)))))
        count += 1
    for _ in workers:
        batches.put(None)
    read = sum(len(results.get()) for _ in range(count))
    assert read == len(paths)
    for worker in workers:
        worker.join()


def _drop(paths: list[str]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def _epoch(bench: Bench, name: str, amount: int, cold: bool) -> None:
    from spargio.torch import Files

    paths = bench.made(amount, 16 << 10)
    os.sync()
    data = Files(paths, concurrency=32 if cold else 128)

    def ours() -> None:
        for at in range(0, len(paths), 256):
            data.__getitems__(range(at, min(at + 256, len(paths))))

    sync.shutdown()
    bench.row(
        name,
        "files",
        amount,
        ours,
        lambda: (sync.shutdown(), _by_processes(paths)),  # No fork with threads.
        (lambda: _drop(paths)) if cold else (lambda: None),
    )


def epoch(bench: Bench) -> None:
    _epoch(bench, "epoch, 16 KiB files", bench.count(50_000), False)


def cold(bench: Bench) -> None:
    _epoch(bench, "epoch, cold, 32 in flight", bench.count(10_000), True)


ROWS = {
    call.__name__: call
    for call in (
        *(walk, turns, du, remove, copy, cat, ranges_one, ranges_many, zarr_whole, zarr_random),
        *(epoch, cold),
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(Path(folder), given.scale, given.rounds)
        for name in given.rows or ROWS:
            try:
                ROWS[name](bench)
            except ImportError as error:
                print(f"{name:28} left out: {error}", flush=True)
        spargio.run(fs.remove_dir_all, folder)
        os.mkdir(folder)
    sync.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
