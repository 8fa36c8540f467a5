"""spargio.fs: files, their errors, and the buffers that the kernel works on."""

from __future__ import annotations

import array
import errno
import fcntl
import gc
import mmap
import os
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import fs

FileTest = Callable[[], Coroutine[Any, Any, Any]]


def run(main: FileTest) -> Any:
    return spargio.run(main, shards=1)


def test_write_read_sync(tmp_path: Path, options: dict[str, Any]) -> None:
    data = os.urandom(100_000)

    async def work(path: Path) -> None:
        async with await fs.File.create(path) as file:
            assert await file.write_all_at(0, data) is None
            assert await file.fsync() is None
            assert await file.fsync(data_only=True) is None
        async with await fs.File.open(path) as file:
            assert await file.read_at(0, len(data)) == data
            assert await file.read_at(99_000, 10_000) == data[99_000:]
        assert path.read_bytes() == data

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [
            handle.spawn_pinned(shard, work(tmp_path / f"{shard}.bin"))
            for shard in range(handle.shard_count())
        ]
        for job in jobs:
            await job

    spargio.run(main, **options)


# ---- modes ----


@pytest.mark.parametrize("mode", ["r", "r+", "w", "w+", "a", "x", "x+"])
@pytest.mark.parametrize("exists", [True, False])
def test_modes_are_those_of_open(tmp_path: Path, mode: str, exists: bool) -> None:
    ours, builtin = tmp_path / "ours", tmp_path / "builtin"
    for path in (ours, builtin) if exists else ():
        path.write_bytes(b"before")
    try:
        with open(builtin, mode + "b", buffering=0) as file:
            can = (file.readable(), file.writable())
            if file.writable():
                file.write(b"XY")
    except OSError as error:
        wanted: Any = (type(error), error.errno)
    else:
        wanted = (*can, builtin.read_bytes())

    async def main() -> Any:
        try:
            file = await fs.File.open(ours, mode)
        except OSError as error:
            return type(error), error.errno
        async with file:
            try:
                await file.read_at(0, 1)
                readable = True
            except OSError as error:
                assert error.errno == errno.EBADF
                readable = False
            try:
                await file.write_all_at(0, b"XY")
                writable = True
            except OSError as error:
                assert error.errno == errno.EBADF
                writable = False
        return readable, writable, ours.read_bytes()

    assert run(main) == wanted


@pytest.mark.parametrize("mode", ["", "rw", "bb", "W", "rt", "rbb", "b"])
def test_a_wrong_mode_is_a_value_error(tmp_path: Path, mode: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"mode is .*allowed is one of r, r"):
            await fs.File.open(tmp_path / "file", mode)

    run(main)


@pytest.mark.parametrize(
    "mode", ["rb", "r+b", "rb+", "wb", "w+b", "wb+", "ab", "a+", "a+b", "ab+", "xb", "x+b", "xb+"]
)
def test_a_mode_may_say_that_files_are_binary(tmp_path: Path, mode: str) -> None:
    """As the built-in open has them: same flags, same outcome."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    if "r" in mode or "a" in mode:
        for path in (ours, theirs):
            path.write_bytes(b"before")

    async def main() -> int:
        async with await fs.open(ours, mode) as file:  # type: ignore[arg-type]
            return fcntl.fcntl(file.fileno(), fcntl.F_GETFL)

    with open(theirs, mode) as file:
        assert run(main) == fcntl.fcntl(file.fileno(), fcntl.F_GETFL)
    assert ours.read_bytes() == theirs.read_bytes()


def test_permissions_of_a_new_file(tmp_path: Path) -> None:
    async def main() -> None:
        for permissions in (0o600, 0o640):
            path = tmp_path / oct(permissions)
            await (await fs.File.create(path, permissions=permissions)).close()
            assert path.stat().st_mode & 0o777 == permissions

    run(main)


@pytest.mark.parametrize("kind", [str, os.fsencode, Path], ids=["str", "bytes", "path"])
def test_paths(tmp_path: Path, kind: Callable[[str], Any]) -> None:
    path = kind(str(tmp_path / "n\u00e4me \u2603"))

    async def main() -> None:
        async with await fs.File.create(path) as file:
            assert file.path == path
            assert file.fileno() > 2
            assert not os.get_inheritable(file.fileno())
        assert os.path.exists(path)

    run(main)


# ---- errors ----


@pytest.mark.parametrize(
    ("name", "mode", "kind", "number"),
    [
        ("missing", "r", FileNotFoundError, errno.ENOENT),
        ("missing/below", "w", FileNotFoundError, errno.ENOENT),
        ("file/below", "r", NotADirectoryError, errno.ENOTDIR),
        ("folder", "w", IsADirectoryError, errno.EISDIR),
        ("file", "x", FileExistsError, errno.EEXIST),
        ("x" * 300, "r", OSError, errno.ENAMETOOLONG),
        ("loop", "r", OSError, errno.ELOOP),
        ("", "r", OSError, None),
    ],
)
def test_open_errors_have_errno_and_filename(
    tmp_path: Path, name: str, mode: str, kind: type[OSError], number: int | None
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = str(tmp_path / name) if name else ""

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await fs.File.open(path, mode)
        assert caught.value.filename == path
        assert caught.value.errno == (errno.ENOENT if number is None else number)
        assert caught.value.strerror == os.strerror(caught.value.errno)

    run(main)


def test_no_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may open everything")
    path = tmp_path / "secret"
    path.write_bytes(b"")
    path.chmod(0)

    async def main() -> None:
        with pytest.raises(PermissionError) as caught:
            await fs.File.open(path)
        assert caught.value.filename == path

    run(main)


def test_a_nul_byte_in_the_path_is_a_value_error() -> None:
    async def main() -> None:
        for path in ("a\0b", b"a\0b", "\0"):
            with pytest.raises(ValueError, match="NUL"):
                await fs.File.open(path)

    run(main)


@pytest.mark.parametrize("path", [5, None, 1.5, ["a"]])
def test_what_is_no_path_is_a_type_error(path: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await fs.File.open(path)

    run(main)


def test_a_folder_can_be_opened_but_not_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path) as file:
            with pytest.raises(IsADirectoryError) as caught:
                await file.read_at(0, 10)
            assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, tmp_path)

    run(main)


def test_a_full_disk() -> None:
    async def main() -> None:
        async with await fs.File.create("/dev/full") as file:
            for write in (file.write_at, file.write_all_at):
                with pytest.raises(OSError) as caught:
                    await write(0, b"data")
                assert caught.value.errno == errno.ENOSPC
                assert caught.value.filename == "/dev/full"

    run(main)


def test_a_write_that_fails_half_way_says_how_far_it_came(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops it: first a short write, then EFBIG."""
    done = programs.run_program(
        f"""
        import errno, resource, signal
        import spargio
        from spargio import fs

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

        async def main():
            async with await fs.File.create({str(tmp_path / "limited")!r}) as file:
                try:
                    await file.write_all_at(0, bytes(30_000))
                except OSError as error:
                    print(error.errno == errno.EFBIG, error.strerror.partition(": ")[2])
                    print(error.filename == {str(tmp_path / "limited")!r})

        spargio.run(main, shards=1)
        """
    )
    assert done.stderr == ""
    assert done.stdout == "True failed after 10000 of 30000 bytes\nTrue\n"


def test_too_many_open_files() -> None:
    done = programs.run_program(
        """
        import errno, resource
        import spargio
        from spargio import fs

        async def main():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            files = []
            try:
                while True:
                    files.append(await fs.File.open("/dev/null"))
            except OSError as error:
                print(error.errno == errno.EMFILE, error.filename)
            for file in files:
                await file.close()
            await (await fs.File.open("/dev/null")).close()

        spargio.run(main, shards=2)
        """
    )
    assert (done.stdout, done.stderr) == ("True /dev/null\n", "")


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
