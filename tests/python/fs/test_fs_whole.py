"""spargio.fs: whole files, positions and text."""

from __future__ import annotations

import array
import os
import random
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


# ---- one file ----


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 70_000, 5_000_000])
def test_read_and_write_whole_files(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "file"

    async def main() -> None:
        await fs.write(path, b"something longer before" * 10)
        await fs.write(path, data)
        assert path.read_bytes() == data
        assert await fs.read(path) == data
        async with await fs.File.open(path) as file:
            assert await file.read_to_end_at(0) == data
            assert await file.read_to_end_at(max(0, size - 10)) == data[max(0, size - 10) :]
            assert await file.read_to_end_at(size + 5) == b""

    run(main)


def test_read_files_whose_size_nobody_knows() -> None:
    async def main() -> None:
        assert (await fs.read("/proc/self/stat")).startswith(str(os.getpid()).encode())
        maps = await fs.read("/proc/self/maps")  # Comes in pieces of at most a page.
        assert maps.endswith(b"\n")
        assert maps.count(b"\n") > 100
        assert await fs.read("/dev/null") == b""
        assert await fs.read("/sys/kernel/mm/transparent_hugepage/enabled")

    run(main)


def test_read_says_what_is_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        for path, kind in ((tmp_path / "none", FileNotFoundError), (tmp_path, IsADirectoryError)):
            with pytest.raises(kind) as info:
                await fs.read(path)
            assert info.value.filename == path
        (tmp_path / "latin").write_bytes(b"\xe4")
        with pytest.raises(UnicodeDecodeError):
            await fs.read_to_string(tmp_path / "latin")
        assert await fs.read_to_string(tmp_path / "latin", "latin-1") == "\u00e4"

    run(main)


def test_open_options(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        for wrong in (
            fs.OpenOptions(),
            fs.OpenOptions().write(True).append(True).truncate(True),
            fs.OpenOptions().read(True).truncate(True),
            fs.OpenOptions().read(True).create(True),
        ):
            with pytest.raises(ValueError, match="OpenOptions"):
                await wrong.open(path)
        new = fs.OpenOptions().write(True).create_new(True).mode(0o600)
        async with await new.open(path) as file:
            await file.write_all_at(0, b"0123456789")
        with pytest.raises(FileExistsError):
            await new.open(path)
        async with await fs.OpenOptions().read(True).append(True).open(path) as file:
            await file.write_all_at(0, b"abc")
            assert await file.read_at(0, 100) == b"0123456789abc"
        async with await fs.OpenOptions().write(True).truncate(True).open(path) as file:
            assert (await file.metadata()).size == 0
        with pytest.raises(ValueError, match="mode must be between"):
            fs.OpenOptions().mode(-1)

    run(main)


def test_vectors_sizes_and_room(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path / "file", "w+") as file:
            parts = [b"abc", bytearray(b"defg"), memoryview(b"hi"), array.array("B", b"jkl"), b""]
            assert await file.write_vectored_at(2, parts) == 12
            first, second = bytearray(4), array.array("H", [0] * 3)
            assert await file.read_vectored_at(1, [first, second]) == 10
            assert bytes(first) + second.tobytes() == b"\0abcdefghi"
            with pytest.raises(TypeError, match="writable"):
                file.read_vectored_at(0, [b"const"])
            await file.truncate(5)
            assert await file.read_at(0, 100) == b"\0\0abc"
            await file.truncate(8)
            assert await file.read_at(0, 100) == b"\0\0abc\0\0\0"
            await file.allocate(0, 100_000, keep_size=True)
            info = await file.metadata()
            assert (info.size, info.blocks * 512 >= 100_000) == (8, True)
            await file.allocate(0, 1_000)
            assert (await file.metadata()).size == 1_000
            await file.fdatasync()
            for wrong in (lambda: file.truncate(-1), lambda: file.allocate(0, 0)):
                with pytest.raises(ValueError, match="must be between"):
                    await wrong()

    run(main)


def test_descriptors_are_taken_over_and_given_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    before = len(support.descriptors())

    async def main() -> None:
        file = fs.File.from_fd(os.open(tmp_path / "file", os.O_RDONLY))
        assert await file.read_at(0, 10) == b"data"
        number = file.detach()
        assert os.pread(number, 10, 0) == b"data"
        with pytest.raises(spargio.ClosedError):
            await file.read_at(0, 10)
        os.close(number)
        with pytest.raises(OSError, match="Bad file descriptor"):
            fs.File.from_fd(number)

    run(main)
    assert len(support.descriptors()) == before


# ---- positions and text ----


def test_a_cursor_reads_writes_and_seeks(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path / "file", "w+") as file:
            cursor = file.cursor()
            assert await cursor.write(b"one\ntwo\n\nfour") == 13
            assert cursor.tell() == 13
            assert await cursor.seek(0) == 0
            assert await cursor.read(2) == b"on"
            assert await cursor.readline() == b"e\n"
            assert [line async for line in cursor] == [b"two\n", b"\n", b"four"]
            assert await cursor.readline() == b""
            assert await cursor.seek(-4, os.SEEK_END) == 9
            assert await cursor.read() == b"four"
            assert await cursor.seek(-3, os.SEEK_CUR) == 10
            assert await cursor.read(1) == b"o"
            await cursor.write(b"X")
            assert await file.read_to_end_at(9) == b"foXr"
            with pytest.raises(ValueError, match="must be 0 or more"):
                await cursor.seek(-1)

    run(main)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_of_text_are_those_of_open(tmp_path: Path, ending: str) -> None:
    seed = 7
    chosen = random.Random(seed)
    lines = [
        "".join(chosen.choice("ab\u00e4\u20ac\U0001f600") for _ in range(chosen.randrange(0, 3000)))
        for _ in range(200)
    ]
    path = tmp_path / "text"
    path.write_bytes(ending.join(lines).encode())

    async def main() -> None:
        async with await fs.File.open(path) as file:
            with open(path, encoding="utf-8") as builtin:
                assert [line async for line in file.text()] == list(builtin)
            assert await file.text().read() == "\n".join(lines)

    run(main)


def test_long_lines_are_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(b"x" * 300_000 + b"\n" + b"y" * 200_000)

    async def main() -> None:
        async with await fs.File.open(path) as file:
            assert [len(line) async for line in file.cursor()] == [300_001, 200_000]

    run(main)


def test_a_long_line_costs_as_much_as_a_read_of_it(tmp_path: Path) -> None:
    """CPU time: each of the 512 pieces must not copy all before it."""
    path = tmp_path / "long"
    path.write_bytes(b"x" * (32 << 20))

    async def cpu_s(call: Callable[[], Coroutine[Any, Any, Any]]) -> float:
        before = time.process_time()
        assert len(await call()) == 32 << 20
        return time.process_time() - before

    async def main() -> None:
        async with await fs.File.open(path) as file:
            plain = await cpu_s(lambda: file.read_to_end_at(0))
            assert await cpu_s(lambda: file.cursor().readline()) < 0.3 + 10 * plain
            assert await cpu_s(lambda: file.text().readline()) < 0.3 + 10 * plain

    run(main)


def test_a_cancelled_line_is_read_on() -> None:
    class Growing:
        """A file whose end is waited for."""

        data = b""

        async def read_at(self, offset: int, size: int) -> bytes:
            if offset == len(self.data):
                await spargio.sleep(1_000)
            return self.data[offset : offset + size]

    async def main() -> None:
        for kind in (fs.Cursor, fs.TextCursor):
            file = Growing()
            cursor = kind(file)  # type: ignore[arg-type]
            for part in (b"ab", b"c"):
                file.data += part
                with pytest.raises(TimeoutError), spargio.timeout(0.001):
                    await cursor.readline()
            file.data += b"d\nnext\n"
            wanted = ["abcd\n", "next\n"]
            found = [await cursor.readline() for _ in wanted]
            assert [x if isinstance(x, str) else x.decode() for x in found] == wanted

    run(main)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_text_in_pieces_is_written_as_by_open(tmp_path: Path, encoding: str) -> None:
    """One byte order mark, at the start of the file; none where something was there before."""
    ours, builtin = tmp_path / "ours", tmp_path / "builtin"
    pieces = ["a\u00e4", "", "\u20ac\n", "\U0001f600"]

    async def main() -> None:
        for mode in ("w", "a"):
            with open(builtin, mode, encoding=encoding, newline="") as wanted:
                for piece in pieces:
                    wanted.write(piece)
            async with await fs.File.open(ours, mode) as file:
                text = file.text(encoding)
                for piece in pieces:
                    await text.write(piece)
            assert ours.read_bytes() == builtin.read_bytes()
        async with await fs.File.open(ours, "r+") as file:
            text = file.text(encoding)
            assert await text.read() == "".join(pieces * 2)
            await text.write("more")  # At the end, where it stands now.
        assert ours.read_bytes().decode(encoding) == "".join(pieces * 2) + "more"

    run(main)


def test_text_that_cannot_be_encoded_takes_no_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"

    async def main() -> None:
        async with await fs.File.create(path) as file:
            text = file.text("utf-16")
            with pytest.raises(UnicodeEncodeError):
                await text.write("\ud800")
            await text.write("a")
        assert path.read_bytes() == "a".encode("utf-16")
        async with await fs.File.create(path) as file:
            text = file.text("iso2022_jp")
            for piece in ("\u3042", "\u3044"):
                await text.write(piece)
        assert path.read_bytes().decode("iso2022_jp") == "\u3042\u3044"
        assert path.read_bytes().endswith(b"\x1b(B")  # Back in ASCII for what follows.

    run(main)
