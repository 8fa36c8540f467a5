"""Reads that the page cache serves end at once, and change nothing else."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import support

import spargio
from spargio import fs

CONTENT = os.urandom(64 * 1024 + 100)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    if not nowait_works(path):
        pytest.skip("the file system has no reads that do not wait (preadv2, RWF_NOWAIT)")
    return path


def nowait_works(path: Path) -> bool:
    with path.open("rb") as plain:
        try:
            return os.preadv(plain.fileno(), [bytearray(10)], 0, os.RWF_NOWAIT) == 10
        except OSError:
            return False


def at_once(handle: spargio.RuntimeHandle) -> int:
    return handle.stats_snapshot().reads_at_once


def test_cached_reads_need_no_operation(file: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await fs.File.open(file) as opened:
            buffer = bytearray(4096)
            assert await opened.read_at(100, 4096) == CONTENT[100:4196]
            assert await opened.read_at_into(200, buffer) == 4096
            assert buffer == CONTENT[200:4296]
            assert await opened.read_at(len(CONTENT), 10) == b""
            assert at_once(handle) == 3

    spargio.run(main, shards=1)


@pytest.mark.parametrize(
    ("offset", "size"), [(len(CONTENT) - 50, 4096), (0, 32 * 1024)], ids=["end", "long"]
)
def test_what_is_short_or_long_goes_to_the_ring(file: Path, offset: int, size: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await fs.File.open(file) as opened:
            assert await opened.read_at(offset, size) == CONTENT[offset : offset + size]
            assert at_once(handle) == 0

    spargio.run(main, shards=1)


def test_direct_reads_go_to_the_ring() -> None:
    path = Path("/var/tmp", f"spargio-direct-{os.getpid()}")
    path.write_bytes(CONTENT)

    async def main(handle: spargio.RuntimeHandle) -> None:
        with mmap.mmap(-1, 4096) as page:  # Aligned, as O_DIRECT wants it.
            async with fs.File.from_fd(os.open(path, os.O_RDONLY | os.O_DIRECT)) as opened:
                assert await opened.read_at_into(0, page) == 4096
            assert page[:] == CONTENT[:4096]
        assert at_once(handle) == 0

    try:
        spargio.run(main, shards=1)
    except OSError as error:
        pytest.skip(f"no O_DIRECT in {path.parent}: {error}")
    finally:
        path.unlink()


def test_a_reader_that_never_waits_lets_others_run(file: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> int:
        done = False

        async def read() -> int:
            count = 0
            while not done:
                assert len(await opened.read_at(0, 512)) == 512
                count += 1
            return count

        async with await fs.File.open(file) as opened:
            job = handle.spawn_pinned(0, read())
            await support.until(lambda: at_once(handle) > 100)
            done = True
            return await job

    assert spargio.run(main, shards=1) > 100


def test_a_cancellation_comes_before_the_next_read(file: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        reads = 0

        async def read() -> None:
            nonlocal reads
            while True:
                await opened.read_at(0, 512)
                reads += 1
                job.cancel()

        async with await fs.File.open(file) as opened:
            job = handle.spawn_pinned(0, read())
            with pytest.raises(spargio.TaskCancelled):
                await job
            assert reads == 1

    spargio.run(main, shards=1)


def test_errors_are_those_of_the_ring(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path / "new", "w") as opened:
            with pytest.raises(OSError, match="Bad file descriptor"):
                await opened.read_at(0, 10)
        async with fs.File.from_fd(os.open(tmp_path, os.O_RDONLY)) as folder:
            with pytest.raises(IsADirectoryError):
                await folder.read_at(0, 10)

    spargio.run(main, shards=1)
