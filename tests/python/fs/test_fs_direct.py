"""Files past the page cache: reads of any place, and what writes must be."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

import spargio
from spargio import fs

DATA = os.urandom(100_001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(DATA)
    try:
        os.close(os.open(made, os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        pytest.skip(f"no O_DIRECT here: {error}")
    return made


@pytest.mark.parametrize("how", ["options", "from_fd"])
def test_reads_of_any_place_and_size(path: Path, how: str) -> None:
    async def main() -> None:
        if how == "options":
            file = await fs.OpenOptions().read(True).direct(True).open(path)
        else:
            file = fs.File.from_fd(os.open(path, os.O_RDONLY | os.O_DIRECT))
        assert isinstance(file, fs.DirectFile)
        async with file:
            for offset, size in ((0, 4096), (1, 1), (4095, 2), (99_999, 50), (100_001, 5), (0, 0)):
                assert await file.read_at(offset, size) == DATA[offset : offset + size]
                room = bytearray(size)
                count = await file.read_at_into(offset, room)
                assert room[:count] == DATA[offset : offset + size]
                rooms = [bytearray(1), bytearray(), bytearray(size)]
                count = await file.read_vectored_at(offset, rooms)
                assert b"".join(rooms)[:count] == DATA[offset : offset + size + 1]
            assert await file.read_at(1 << 40, 10) == b""
            assert await file.read_many_at([0, 7, 100_000], 5) == [DATA[:5], DATA[7:12], DATA[-1:]]
            assert await file.read_to_end_at(3) == DATA[3:]
            cursor = file.cursor()
            assert await cursor.read(10) + await cursor.readline() + await cursor.read() == DATA
            memory, unit = await file.alignment()
            assert memory & (memory - 1) == unit & (unit - 1) == 0
            with pytest.raises(ValueError, match="offset"):
                await file.read_at(-1, 1)

    spargio.run(main, shards=1)


def test_writes_of_multiples_and_what_others_are_told(path: Path) -> None:
    async def main() -> None:
        options = fs.OpenOptions().read(True).write(True).direct(True)
        async with await options.open(path) as file:
            assert isinstance(file, fs.DirectFile)
            _, unit = await file.alignment()
            await file.write_all_at(unit, b"x" * unit)
            assert await file.write_at(0, bytearray(b"y" * unit)) == unit
            assert await file.read_at(0, 2 * unit) == b"y" * unit + b"x" * unit
            with mmap.mmap(-1, unit) as page:
                page[:] = b"z" * unit
                assert await file.write_at(0, page) == unit
            assert await file.read_at(0, 3) == b"zzz"
            for offset, size in ((1, unit), (0, unit - 1)):
                for call in (file.write_all_at, file.write_at):
                    with pytest.raises(OSError, match=f"multiples of {unit} bytes") as caught:
                        await call(offset, bytes(size))
                    assert caught.value.filename == path
            with pytest.raises(OSError, match="multiples"):
                await file.write_vectored_at(1, [b"x"])

    spargio.run(main, shards=1)
