"""Binary files under anyio's interface: no thread does them."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest

anyio = pytest.importorskip("anyio", reason="anyio is not installed")
pytest.importorskip("sniffio", reason="sniffio is not installed")

from spargio.anyio._files import RingFile  # noqa: E402


def run(main: Any, *arguments: Any) -> Any:
    threads = threading.active_count()

    async def checked() -> Any:
        result = await main(*arguments)
        assert threading.active_count() == threads
        return result

    return anyio.run(checked, backend="spargio")


LINES = [b"first\n", b"\n", b"x" * 200_000 + b"\n", b"last"]


def test_reads_as_a_file_of_python(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(LINES))

    async def main() -> None:
        async with await anyio.open_file(path, "rb") as file:
            assert type(file.wrapped) is RingFile
            assert [line async for line in file] == LINES
        async with await anyio.open_file(path, "rb") as file:
            assert await file.readline() == LINES[0]
            assert await file.tell() == 6
            assert await file.read(1) == b"\n"
            assert await file.read(100_000) == LINES[2][:100_000]
            assert await file.seek(-4, io.SEEK_END) == path.stat().st_size - 4
            assert await file.read() == b"last"
            assert await file.read() == b""
            await file.seek(0)
            assert await file.readlines() == LINES
            await file.seek(2)
            room = bytearray(4)
            assert (await file.readinto(room), room) == (4, b"rst\n")
            assert await file.read1(3) == b"\nxx"
        assert await anyio.Path(path).read_bytes() == b"".join(LINES)

    run(main)


def test_writes(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        async with await anyio.open_file(path, "wb") as file:
            assert await file.write(b"x" * 3_000_000) == 3_000_000
            await file.writelines([b"a", b"b"])
            await file.truncate(5)
            await file.flush()
        async with await anyio.open_file(path, "ab") as file:
            await file.write(memoryview(b"end"))
        async with await anyio.open_file(path, "r+b") as file:
            assert await file.readline() == b"xxxxxend"
            await file.seek(1)
            assert await file.read1(2) == b"xx"
            await file.write(b"Y")
        with pytest.raises(FileExistsError):
            await anyio.open_file(path, "xb")

    run(main)
    assert path.read_bytes() == b"xxxYxend"


def test_what_a_thread_reads_after_a_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\nthree\n")

    async def main() -> None:
        async with await anyio.open_file(path, "rb") as file:
            assert await file.readline() == b"one\n"
            assert file.wrapped.tell() == 4
            assert file.wrapped.read(4) == b"two\n"
            assert await file.readline() == b"three\n"

    run(main)


def test_errors_are_those_of_python(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError) as missing:
            await anyio.open_file(tmp_path / "none", "rb")
        assert missing.value.filename == str(tmp_path / "none")
        with pytest.raises(IsADirectoryError):
            await anyio.open_file(tmp_path, "rb")
        async with await anyio.open_file(tmp_path / "new", "wb") as file:
            with pytest.raises(io.UnsupportedOperation):
                await file.read()
        async with await anyio.open_file(tmp_path / "new", "rb") as file:
            with pytest.raises(io.UnsupportedOperation):
                await file.write(b"x")

    run(main)


def test_a_stat_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")

    async def main() -> os.stat_result:
        return await anyio.to_thread.run_sync(os.stat, path)

    ours, theirs = run(main), path.stat()
    for name in ("st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in (
        "st_mtime",
        "st_mtime_ns",
        "st_ctime_ns",
        "st_atime_ns",
        "st_blksize",
        "st_blocks",
    ):
        assert getattr(ours, name) == getattr(theirs, name)


def test_a_cancelled_write_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        async with await anyio.open_file(path, "wb") as file:
            async with anyio.create_task_group() as group:
                group.start_soon(file.write, b"x" * 10_000_000)
                await anyio.sleep(0)
                await anyio.sleep(0)
                group.cancel_scope.cancel()

    run(main)
    assert path.stat().st_size in (0, 10_000_000)
