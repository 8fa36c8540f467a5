"""spargio.fs: reads and writes at offsets, the buffers that the kernel works on, and closing."""

from __future__ import annotations

import array
import gc
import mmap
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs

FileTest = Callable[[], Coroutine[Any, Any, Any]]


def run(main: FileTest) -> Any:
    return spargio.run(main, shards=1)


# ---- ends and offsets ----


def test_reads_at_the_end_are_short(tmp_path: Path) -> None:
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")

    async def main() -> None:
        async with await fs.File.open(path) as file:
            assert await file.read_at(0, 100) == b"0123456789"
            assert await file.read_at(7, 3) == b"789"
            assert await file.read_at(7, 4) == b"789"
            assert await file.read_at(10, 1) == b""
            assert await file.read_at(1 << 40, 1) == b""
            assert await file.read_at(0, 0) == b""
            buffer = bytearray(b"x" * 6)
            assert await file.read_at_into(6, buffer) == 4
            assert buffer == b"6789xx"
            assert await file.read_at_into(10, buffer) == 0
            assert await file.read_at_into(0, bytearray()) == 0

    run(main)


def test_writes_of_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.create(tmp_path / "empty") as file:
            assert await file.write_at(0, b"") == 0
            assert await file.write_all_at(1000, b"") is None
        assert (tmp_path / "empty").read_bytes() == b""

    run(main)


def test_offsets_beyond_2_and_4_gib(tmp_path: Path) -> None:
    offsets = [(1 << 31) - 2, (1 << 31) + 5, (1 << 32) - 2, (1 << 32) + 5, 5 << 32]

    async def main() -> None:
        async with await fs.File.open(tmp_path / "sparse", "w+") as file:
            for n, offset in enumerate(offsets):
                await file.write_all_at(offset, b"%04d" % n)
            for n, offset in enumerate(offsets):
                assert await file.read_at(offset - 1, 5) == b"\0%04d" % n
                buffer = bytearray(4)
                assert await file.read_at_into(offset, buffer) == 4
                assert buffer == b"%04d" % n
            assert os.fstat(file.fileno()).st_size == offsets[-1] + 4

    run(main)


@pytest.mark.parametrize("offset", [-1, -(1 << 70)])
def test_a_negative_offset_is_refused(offset: int) -> None:
    async def main() -> None:
        async with await fs.File.open("/dev/zero", "r+") as file:
            for call in (
                lambda: file.read_at(offset, 1),
                lambda: file.read_at_into(offset, bytearray(1)),
                lambda: file.write_at(offset, b"x"),
                lambda: file.write_all_at(offset, b"x"),
            ):
                with pytest.raises((ValueError, OverflowError)):
                    call()
            with pytest.raises((ValueError, OverflowError)):
                file.read_at(0, -1)

    run(main)


def test_wrong_types_are_type_errors() -> None:
    async def main() -> None:
        async with await fs.File.open("/dev/zero", "r+") as file:
            for call in (
                lambda: file.read_at("0", 1),
                lambda: file.read_at(0.5, 1),
                lambda: file.read_at(0, None),
                lambda: file.read_at_into(0, "text"),
                lambda: file.read_at_into(0, 5),
                lambda: file.write_at(0, "text"),
                lambda: file.write_all_at(0, None),
            ):
                with pytest.raises(TypeError):
                    call()  # type: ignore[no-untyped-call]

    run(main)


def test_append_writes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first,")

    async def main() -> None:
        async with await fs.File.open(path, "a") as file:
            await file.write_all_at(0, b"second,")
            await file.write_all_at(0, b"third")

    run(main)
    assert path.read_bytes() == b"first,second,third"


# ---- buffers ----


def test_buffers_to_read_into(tmp_path: Path) -> None:
    path = tmp_path / "data"
    data = bytes(range(256)) * 16
    path.write_bytes(data)

    async def main() -> None:
        async with await fs.File.open(path) as file:
            plain = bytearray(4096)
            numbers = array.array("I", bytes(4096))
            part = bytearray(5000)
            with mmap.mmap(-1, 4096) as mapped:
                for buffer in (plain, numbers, memoryview(part)[100:4196], mapped):
                    assert await file.read_at_into(0, buffer) == 4096
                assert mapped[:] == data
            assert (bytes(plain), numbers.tobytes(), part[100:4196]) == (data, data, data)
            assert (part[:100], part[4196:]) == (bytes(100), bytes(804))

    run(main)


def test_buffers_to_write_from(tmp_path: Path) -> None:
    data = bytes(range(256))

    async def main() -> None:
        buffers = [data, bytearray(data), memoryview(data), array.array("B", data)]
        for n, buffer in enumerate(buffers):
            async with await fs.File.create(tmp_path / str(n)) as file:
                await file.write_all_at(0, buffer)
            assert (tmp_path / str(n)).read_bytes() == data

    run(main)


@pytest.mark.parametrize("buffer", [b"bytes", memoryview(b"view"), memoryview(bytearray(8))[::2]])
def test_a_buffer_that_cannot_be_filled_is_refused(buffer: Any) -> None:
    async def main() -> None:
        async with await fs.File.open("/dev/zero") as file:
            with pytest.raises(BufferError):
                file.read_at_into(0, buffer)

    run(main)


def test_a_buffer_is_exported_as_long_as_the_operation_lasts() -> None:
    """The read waits on a pipe until the test writes into it."""
    reading, writing = os.pipe()

    async def read(buffer: bytearray) -> int:
        async with await fs.File.open(f"/proc/self/fd/{reading}") as file:
            return await file.read_at_into(0, buffer)

    async def main(handle: spargio.RuntimeHandle) -> None:
        buffer = bytearray(8)
        job = handle.spawn_stealable(read(buffer))
        await support.in_flight(handle, 1)
        await support.until(lambda: _is_exported(buffer))
        with pytest.raises(BufferError):
            buffer.append(1)
        os.write(writing, b"ab")
        assert await job == 2
        buffer.append(1)
        assert buffer == b"ab\0\0\0\0\0\0\1"

    try:
        spargio.run(main, shards=2)
    finally:
        os.close(reading)
        os.close(writing)


def _is_exported(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return True
    buffer.pop()
    return False


def test_a_cancelled_read_gives_its_buffer_back() -> None:
    reading, writing = os.pipe()

    async def read(buffer: bytearray) -> None:
        async with await fs.File.open(f"/proc/self/fd/{reading}") as file:
            await file.read_at_into(0, buffer)

    async def main(handle: spargio.RuntimeHandle) -> None:
        buffer = bytearray(8)
        job = handle.spawn_stealable(read(buffer))
        await support.until(lambda: _is_exported(buffer))
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        buffer.append(1)
        os.write(writing, b"kept")
        assert os.read(reading, 10) == b"kept"

    try:
        spargio.run(main, shards=2)
    finally:
        os.close(reading)
        os.close(writing)


# ---- closing ----


def test_a_closed_file(tmp_path: Path) -> None:
    async def main() -> None:
        file = await fs.File.open(tmp_path / "file", "w+")
        await file.close()
        await file.close()
        async with file:
            pass
        assert file.fileno() == -1
        for call in (
            lambda: file.read_at(0, 1),
            lambda: file.read_at_into(0, bytearray(1)),
            lambda: file.write_at(0, b"x"),
            lambda: file.write_all_at(0, b"x"),
            lambda: file.write_all_at(0, b""),
            file.fsync,
        ):
            with pytest.raises(spargio.ClosedError, match="closed"):
                await call()
        assert issubclass(spargio.ClosedError, OSError)

    run(main)


def test_the_block_closes_it_also_when_it_raises(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(LookupError):
            async with await fs.File.create(tmp_path / "file") as file:
                raise LookupError
        assert file.fileno() == -1

    run(main)


def test_an_unclosed_file_is_closed_with_a_warning(tmp_path: Path) -> None:
    async def main() -> None:
        file = await fs.File.create(tmp_path / "file")
        number = file.fileno()
        with pytest.warns(ResourceWarning, match=f"unclosed spargio file, descriptor {number}"):
            del file
            gc.collect()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)

    run(main)


def test_a_close_lets_reads_under_way_end(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1 << 20))

    async def read(file: fs.File, n: int) -> int:
        try:
            return len(await file.read_at(n, 4096))
        except spargio.ClosedError:
            return 4096

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(20):
            file = await fs.File.open(path)
            jobs = [handle.spawn_stealable(read(file, n)) for n in range(40)]
            await spargio.yield_now()
            await file.close()
            assert [await job for job in jobs] == [4096] * 40

    spargio.run(main, shards=4)


def test_one_file_from_all_shards(tmp_path: Path) -> None:
    """Each task writes its own places; what one wrote the others read."""
    block, count = 1000, 400

    async def write(file: fs.File, n: int) -> None:
        await file.write_all_at(n * block, bytes([n % 251]) * block)

    async def check(file: fs.File, n: int) -> bool:
        return await file.read_at(n * block, block) == bytes([n % 251]) * block

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await fs.File.open(tmp_path / "shared", "w+") as file:
            for job in [handle.spawn_stealable(write(file, n)) for n in range(count)]:
                await job
            jobs = [handle.spawn_stealable(check(file, n)) for n in range(count)]
            assert all([await job for job in jobs])

    spargio.run(main, shards=4)


def test_more_reads_at_once_than_the_ring_has_entries(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"".join(b"%08d" % n for n in range(2000)))

    async def read(file: fs.File, n: int) -> bytes:
        return await file.read_at(8 * n, 8)

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await fs.File.open(path) as file:
            jobs = [handle.spawn_pinned(0, read(file, n)) for n in range(2000)]
            assert [await job for job in jobs] == [b"%08d" % n for n in range(2000)]

    spargio.run(main, shards=1, ring_entries=8)


def test_operations_of_a_dropped_file_end_before_it_is_closed(tmp_path: Path) -> None:
    """The awaitable holds the file: the number is not reused under the operation."""
    path = tmp_path / "data"
    path.write_bytes(b"data")

    async def main() -> None:
        operation = (await fs.File.open(path)).read_at(0, 4)
        gc.collect()
        with pytest.warns(ResourceWarning, match="unclosed spargio file"):
            assert await operation == b"data"
            del operation
            await spargio.sleep(0)  # The task lets go of its last operation.
            gc.collect()

    run(main)


def test_a_file_is_closed_on_whatever_thread_drops_it(tmp_path: Path) -> None:
    async def open_one() -> fs.File:
        return await fs.File.create(tmp_path / "file")

    with spargio.Runtime.builder().shards(1).build() as handle:
        file: Any = handle.spawn_stealable(open_one()).result(support.LIMIT_S)
    number = file.fileno()
    with pytest.warns(ResourceWarning, match="unclosed"):
        thread = threading.Thread(target=gc.collect)
        del file
        thread.start()
        thread.join()
    with pytest.raises(OSError):
        os.fstat(number)


def test_a_cursor_asks_once_whether_the_file_has_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each seek lets a file of /proc make everything before the next read again."""
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    seeks = []
    lseek = os.lseek

    def counted(*arguments: int) -> int:
        seeks.append(arguments)
        return lseek(*arguments)

    async def main() -> None:
        async with await fs.open(path) as file:
            cursor = file.cursor()
            monkeypatch.setattr(os, "lseek", counted)
            while await cursor.read(100):
                pass
            monkeypatch.undo()

    spargio.run(main, shards=1)
    assert len(seeks) == 1
