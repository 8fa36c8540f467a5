"""Reads that the page cache serves end at once, and change nothing else."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest
import support

import spargio
from spargio import fs
from spargio.fs import _together

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


# ---- whole files ----


SIZES = [0, 1, 4096, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 40_000]
AT_ONCE = 5
"""Of these sizes, and a larger one is a reason to leave the next files to the ring."""


@pytest.fixture
def files(file: Path) -> dict[Path, bytes]:
    """Of more than one group."""
    made = {file.with_name(f"{n}"): CONTENT[n : n + SIZES[n % AT_ONCE]] for n in range(200)}
    for path, data in made.items():
        path.write_bytes(data)
    return made


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
@pytest.mark.parametrize("shards", [1, 2])
def test_small_files_need_no_operation(files: dict[Path, bytes], backend: str, shards: int) -> None:
    missing, folder = Path("/missing"), next(iter(files)).parent

    async def main(handle: spargio.RuntimeHandle) -> None:
        wanted = [*files, missing, folder]
        results = await _together.read_files(wanted, 128)
        found = dict(zip(wanted, results, strict=True))
        assert isinstance(found.pop(missing), FileNotFoundError)
        assert isinstance(found.pop(folder), IsADirectoryError)
        assert found == files
        assert at_once(handle) >= len(files)
        if shards == 1:
            before = handle.stats_snapshot().sqes_submitted
            for path, data in files.items():
                assert await fs.read(path) == data
            assert handle.stats_snapshot().sqes_submitted == before

    spargio.run(main, shards=shards, backend=backend)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_of_any_size_among_small_ones(files: dict[Path, bytes], size: int) -> None:
    for path in list(files)[3::50]:
        files[path] = CONTENT[:size]
        path.write_bytes(CONTENT[:size])
    names = [os.fspath(path) for path in files]

    async def main() -> None:
        assert await _together.read_files(names, 128) == list(files.values())

    before = support.descriptors()
    spargio.run(main, shards=1)
    assert support.descriptors() == before


@pytest.mark.parametrize("one_by_one", [True, False])
def test_others_get_their_turn_between_cached_files(
    files: dict[Path, bytes], one_by_one: bool
) -> None:
    names = [os.fspath(path) for path in files] * 10
    turns = 0

    async def main(handle: spargio.RuntimeHandle) -> None:
        over = False

        async def other() -> None:
            nonlocal turns
            while not over:
                turns += 1
                await spargio.yield_now()

        job = handle.spawn_pinned(0, other())
        await spargio.yield_now()
        if one_by_one:
            for name in names:
                await fs.read(name)
        else:
            await _together.read_files(names, 64)
        over = True
        await job

    spargio.run(main, shards=1)
    assert turns >= len(names) // 64


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_a_fifo_is_read_when_it_has_had_a_writer(tmp_path: Path, backend: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for data in (b"", b"data"):
            job = handle.spawn_pinned(0, fs.read(fifo))
            for _ in range(10):
                await spargio.yield_now()
            assert not job.done()
            with spargio.timeout(support.LIMIT_S):
                await spargio.spawn_blocking(fifo.write_bytes, data)
                assert await job == data

    spargio.run(main, shards=1, backend=backend)
