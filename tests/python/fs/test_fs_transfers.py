"""How much a read or write moves: to the end and no less, in pieces that leave the shard its time, and
what is told where it is cut short."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs

PIECEMEAL = "/sys/kernel/btf/vmlinux"
"""A file with a size, of which one read gives a part (on the kernels that have it)."""


# ---- a short read is no end ----


@pytest.mark.parametrize(
    "path", [PIECEMEAL, "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/self/maps"]
)
def test_all_of_a_file_that_is_handed_out_in_parts(tmp_path: Path, path: str) -> None:
    if not os.path.exists(path):
        pytest.skip(f"no {path} here")
    size = os.path.getsize(path)

    async def main() -> None:
        whole = Path(path).read_bytes()
        found = [await fs.read(path)]
        found += [data async for _, data in fs.read_many([path])]  # type: ignore[misc]
        async with await fs.File.open(path) as file:
            found.append(await file.read_to_end_at(0))
            found.append(await file.cursor().read())
            found.append(await file.cursor().read(size or 1 << 20))
            found.append(b"".join([line async for line in file.cursor()]))
        await fs.copy(path, tmp_path / "copy")
        found.append((tmp_path / "copy").read_bytes())
        if path.startswith("/sys"):
            assert [len(one) for one in found] == [len(whole)] * len(found)
            assert all(one.split() == whole.split() for one in found)
        else:  # It changes while it is read.
            assert all(one.endswith(b"\n") and len(one) > len(whole) // 2 for one in found)

    spargio.run(main, shards=1)


def test_a_file_without_a_size_is_copied_in_large_pieces(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    data = os.urandom(1_000_000)

    async def main(handle: spargio.RuntimeHandle) -> int:
        feeder = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(data,))
        feeder.start()
        before = handle.stats_snapshot().polls
        assert await fs.copy(tmp_path / "fifo", tmp_path / "copy") == len(data)
        feeder.join()
        return handle.stats_snapshot().polls - before

    assert spargio.run(main, shards=1) < 5_000  # Two for each byte it would be.
    assert (tmp_path / "copy").read_bytes() == data


# ---- a cursor ----


@contextlib.contextmanager
def fed(path: Path, pieces: list[bytes]) -> Iterator[Callable[[], None]]:
    """A FIFO that gets one piece more with each call, and its end after the last."""
    os.mkfifo(path)
    go = threading.Semaphore(0)

    def feed() -> None:
        with open(path, "wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)
                go.acquire()

    feeder = threading.Thread(target=feed)
    feeder.start()
    yield go.release
    feeder.join()


def test_a_cursor_reads_what_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = b"P5 400 500 255\n" + os.urandom(200_000)
    path.write_bytes(data)

    async def main() -> None:
        async with await fs.File.open(path) as file:
            cursor = file.cursor()
            assert await cursor.readline() == data[:15]
            assert cursor.buffer() == data[15 : 64 * 1024]
            assert await cursor.read(150_000) == data[15:150_015]
            assert await cursor.read(1) == data[150_015:150_016]
            assert cursor.tell() == 150_016
            assert await cursor.read(100_000) == data[150_016:]
            assert (await cursor.read(5), await cursor.read()) == (b"", b"")
            await cursor.seek(3)
            assert await cursor.readline() == data[3:15]
            assert await cursor.read() == data[15:]
            await cursor.seek(0)
            assert [await cursor.recv(5), await cursor.read(0)] == [data[:5], b""]

    spargio.run(main, shards=1)


def test_what_a_cursor_of_a_fifo_read_ahead_is_not_lost(tmp_path: Path) -> None:
    async def main() -> None:
        with fed(tmp_path / "fifo", [b"line\nrest ", b"and ", b"more"]) as go:
            async with await fs.File.open(tmp_path / "fifo") as file:
                cursor = file.cursor()
                assert await cursor.readline() == b"line\n"
                assert cursor.buffer() == b"rest "
                with pytest.raises(OSError, match="seek"):
                    await cursor.seek(0)
                go()
                assert await cursor.read(7) == b"rest an"
                with pytest.raises(TimeoutError), spargio.timeout(0.01):
                    await cursor.read(50)  # What it had stays.
                go()
                go()
                assert await cursor.read() == b"d more"

    spargio.run(main, shards=1)


def test_a_text_of_a_fifo_gives_a_line_when_it_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        with fed(tmp_path / "fifo", [b"one\ntwo", b"\nthree"]) as go:
            async with await fs.File.open(tmp_path / "fifo") as file:
                text = file.text()
                assert await text.readline() == "one\n"
                go()
                assert await text.readline() == "two\n"
                go()
                assert await text.read() == "three"

    spargio.run(main, shards=1)


def test_a_cursor_that_appends_is_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")

    async def main() -> None:
        async with await fs.File.open(path, "a") as file:
            cursor = file.cursor()
            with open(path, "ab") as other:
                assert cursor.tell() == other.tell() == 6
                other.write(b" other")
            assert await cursor.write(b" own") == 4
            assert cursor.tell() == 16
            await cursor.write_all(b"!")
            assert cursor.tell() == 17
        closed = file.cursor()
        with pytest.raises(spargio.ClosedError):
            await closed.read(1)

    spargio.run(main, shards=1)
    assert path.read_bytes() == b"before other own!"


# ---- the shard's time ----


def shards_cpu_s(work: Callable[[], Awaitable[Any]]) -> float:
    """What the shard's own thread spends on it."""

    async def main() -> float:
        before = time.thread_time()
        await work()
        return time.thread_time() - before

    return float(spargio.run(main, shards=1))


SIZE = 96 << 20


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "file"
    with open(path, "wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(4096) * 256)
    path.read_bytes()  # It is in the page cache.
    yield path
    path.unlink()


async def opened(path: Path, use: Callable[[fs.File], Awaitable[Any]]) -> None:
    async with await fs.File.open(path) as file:
        await use(file)


PAGES = mmap.mmap(-1, SIZE)
"""Not made and given back by the shard: that costs it as much as a copy."""


async def vectored(file: fs.File) -> None:
    with memoryview(PAGES) as view, view[: SIZE // 2] as one, view[SIZE // 2 :] as other:
        assert await file.read_vectored_at(0, [one, other]) == SIZE


async def natively(file: fs.File) -> None:
    uring = spargio.current_handle().uring_native_unbound()
    assert await uring.read_at_into(file.fileno(), 0, PAGES) == SIZE


LARGE: dict[str, Callable[[Path], Awaitable[Any]]] = {
    "read": fs.read,
    "read_at": lambda path: opened(path, lambda file: file.read_at(0, SIZE)),
    "read_at_into": lambda path: opened(path, lambda file: file.read_at_into(0, PAGES)),
    "read_vectored_at": lambda path: opened(path, vectored),
    "read_to_end_at": lambda path: opened(path, lambda file: file.read_to_end_at(0)),
    "cursor": lambda path: opened(path, lambda file: file.cursor().read()),
    "read_many_at": lambda path: opened(
        path, lambda file: file.read_many_at(range(0, SIZE, 1 << 20), 1 << 20)
    ),
    "uring": lambda path: opened(path, natively),
}


@pytest.mark.alone  # CPU times are compared.
@pytest.mark.parametrize("call", LARGE)
def test_a_large_read_takes_another_thread(large: Path, call: str) -> None:
    plain = min(timed(large) for _ in range(3))
    assert min(shards_cpu_s(lambda: LARGE[call](large)) for _ in range(3)) < plain / 3


def timed(path: Path) -> float:
    before = time.thread_time()
    path.read_bytes()
    return time.thread_time() - before


def test_large_files_are_whole(large: Path, tmp_path: Path) -> None:
    whole = large.read_bytes()

    async def main() -> None:
        assert await fs.read(large) == whole
        assert [data async for _, data in fs.read_many([large, large])] == [whole] * 2
        async with await fs.File.open(large) as file:
            assert await file.read_to_end_at(0) == whole
            assert await file.read_to_end_at(SIZE - 300_000) == whole[-300_000:]
            assert await file.read_at(12_345, SIZE) == whole[12_345:]
        await fs.write(tmp_path / "copy", whole)
        assert await fs.copy(large, tmp_path / "other") == SIZE

    spargio.run(main, shards=1)
    assert (tmp_path / "copy").read_bytes() == whole == (tmp_path / "other").read_bytes()


# ---- how much went out ----


@contextlib.asynccontextmanager
async def full_pipe() -> Any:
    """A pipe of which nobody reads, as a file; and its size."""
    read_end, write_end = os.pipe()
    try:
        size = fcntl.fcntl(write_end, fcntl.F_GETPIPE_SZ)
        async with fs.File.from_fd(write_end) as file:
            yield file, size, read_end
    finally:
        with contextlib.suppress(OSError):
            os.close(read_end)


def test_a_write_that_is_cut_short_says_how_much_went_out() -> None:
    data = bytes(1_000_000)

    async def cancelled(file: fs.File) -> int:
        try:
            await file.write_all_at(0, data)
        except spargio.CancelledError as error:
            return error.bytes_written  # type: ignore[attr-defined,no-any-return]
        return -1

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with full_pipe() as (file, size, _):
            with pytest.raises(TimeoutError) as late, spargio.timeout(0.05):
                await file.write_all_at(0, data)
            assert late.value.bytes_written == size  # type: ignore[attr-defined]
        async with full_pipe() as (file, size, read_end):
            job = handle.spawn_pinned(0, cancelled(file))
            await support.until(lambda: available(read_end) == size)
            job.cancel()
            assert await job == size
        async with full_pipe() as (file, size, read_end):
            write = handle.spawn_pinned(0, file.write_all_at(0, data))
            await support.until(lambda: available(read_end) == size)
            write.cancel()
            with pytest.raises(spargio.TaskCancelled) as joined:
                await write
            assert joined.value.bytes_written == size  # type: ignore[attr-defined]
        async with full_pipe() as (file, size, read_end):
            token = spargio.CancellationToken()
            job = handle.spawn_pinned(0, token.run(file.cursor().write_all(data)))
            await support.until(lambda: available(read_end) == size)
            token.cancel()
            with pytest.raises(spargio.TaskCancelled) as ended:
                await job
            assert ended.value.bytes_written == size  # type: ignore[attr-defined]
        async with full_pipe() as (file, size, read_end):
            job = handle.spawn_pinned(0, file.write_all_at(0, data))
            await support.until(lambda: available(read_end) == size)
            os.close(read_end)
            with pytest.raises(BrokenPipeError) as broken:
                await job
            assert broken.value.bytes_written == size  # type: ignore[attr-defined]

    spargio.run(main, shards=1)


def available(descriptor: int) -> int:
    import array
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


# ---- lists of buffers ----


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path / "file", "w+") as file:
            pieces = [b"%04d" % n for n in range(2_000)]
            assert await file.write_vectored_at(0, pieces) == 4 * 1_024
            assert await file.write_vectored_at(0, [b""] * 1_500 + [b"x"]) == 1
            assert await file.write_vectored_at(0, [b""] * 1_500) == 0
            room = [bytearray(4) for _ in range(1_500)]
            assert await file.read_vectored_at(4, room) == 4 * 1_023
            assert bytes(room[0]) == b"0001"
            assert bytes(room[1_022]) == b"1023"
            assert await file.read_vectored_at(0, [bytearray(0)] * 1_500 + [bytearray(1)]) == 1

    spargio.run(main, shards=1)


def test_sizes_and_offsets_are_not_cut(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path / "file", "w+") as file:
            await file.write_all_at(0, b"kept")
            for call in (
                lambda: file.truncate(1 << 64),
                lambda: file.allocate(0, 1 << 64),
                lambda: file.allocate(1 << 64, 1),
                lambda: file.write_vectored_at(1 << 64, [b"x"]),
                lambda: file.read_vectored_at(-1, [bytearray(1)]),
            ):
                with pytest.raises(ValueError, match="must be between"):
                    await call()
            assert await file.read_to_end_at(0) == b"kept"

    spargio.run(main, shards=1)
