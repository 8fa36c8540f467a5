"""Files on the disk's file system and in memory, and what the system's own programs say of them."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest

import spargio
from spargio import fs

SHARED_MEMORY = Path("/dev/shm")


def kind_of(folder: Path) -> str:
    """The file system's name, from the longest mount point above."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if Path(mount[1]) in (folder, *folder.parents)]
    return max(above, key=lambda mount: len(mount[1]))[2]


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "disk":
        print(f"{tmp_path} is on {kind_of(tmp_path)}")
        yield tmp_path
        return
    if not SHARED_MEMORY.is_dir():
        pytest.skip(f"{SHARED_MEMORY} is not there")
    made = Path(tempfile.mkdtemp(dir=SHARED_MEMORY, prefix="spargio-"))
    yield made
    shutil.rmtree(made)


def test_what_is_written_is_what_sha256sum_reads(folder: Path) -> None:
    path = folder / "file"

    async def main() -> None:
        async with await fs.File.create(path) as file:
            step = 100_001  # No multiple of any page.
            for start in range(0, len(peers.DATA), step):
                await file.write_all_at(start, peers.DATA[start : start + step])
            await file.fsync()
        program = peers.program("sha256sum")
        said = await peers.output(program, path)
        assert said.split()[0].decode() == hashlib.sha256(peers.DATA).hexdigest()
        assert await fs.read(path) == peers.DATA

    spargio.run(main)


def test_a_copy_is_what_cmp_calls_equal(folder: Path) -> None:
    async def main() -> None:
        await fs.write(folder / "a", peers.DATA)
        assert await fs.copy(folder / "a", folder / "b") == len(peers.DATA)
        await peers.output(peers.program("cmp"), folder / "a", folder / "b")

    spargio.run(main)


def test_holes_and_sizes_are_what_du_counts(folder: Path) -> None:
    async def main() -> None:
        async with await fs.File.create(folder / "sparse") as file:
            await file.write_all_at(8 << 20, b"end")
        await fs.write(folder / "full", peers.DATA)
        await fs.hard_link(folder / "full", folder / "again")
        summary = await fs.du(folder)
        blocks = await peers.output(peers.program("du"), "-s", "-B1", folder)
        apparent = await peers.output(peers.program("du"), "-s", "-b", folder)
        assert summary.disk_bytes == int(blocks.split()[0])
        assert summary.apparent_bytes == int(apparent.split()[0])

    spargio.run(main)


def test_a_walk_finds_what_find_finds(folder: Path) -> None:
    async def main() -> None:
        for n in range(5):
            await fs.create_dir_all(folder / f"{n}" / "deep" / "deeper")
            await fs.write(folder / f"{n}" / "deep" / "file", b"x" * n)
        await fs.symlink("0", folder / "link")
        found = set()
        async for _, directories, others in fs.walk(folder):
            found |= {Path(entry.path) for entry in [*directories, *others]}
        said = await peers.output(peers.program("find"), folder, "-mindepth", "1", "-print0")
        assert found == {Path(os.fsdecode(name)) for name in said.split(b"\0") if name}

    spargio.run(main)


def test_append_truncate_allocate_and_vectors(folder: Path) -> None:
    path = folder / "file"

    async def main() -> None:
        await fs.write(path, b"one ")
        async with await fs.OpenOptions().append(True).open(path) as file:
            await file.write_all_at(0, b"two ")
        async with await fs.OpenOptions().read(True).write(True).open(path) as file:
            assert await file.write_vectored_at(8, [b"three ", b"four"]) == 10
            parts = [bytearray(4), bytearray(4), bytearray(10)]
            assert await file.read_vectored_at(0, parts) == 18
            assert b"".join(parts) == path.read_bytes() == b"one two three four"
            await file.truncate(7)
            assert path.read_bytes() == b"one two"
            await file.allocate(0, 100_000)
            assert os.stat(path).st_size == 100_000
            assert os.stat(path).st_blocks * 512 >= 100_000

    spargio.run(main)


def test_an_atomic_write_leaves_the_old_or_the_new(folder: Path) -> None:
    async def main() -> None:
        await fs.write(folder / "file", b"old")
        before = os.stat(folder / "file").st_ino
        await fs.write(folder / "file", b"new", atomic=True)
        assert (folder / "file").read_bytes() == b"new"
        assert os.stat(folder / "file").st_ino != before
        assert os.listdir(folder) == ["file"]

    spargio.run(main)


def test_direct(folder: Path) -> None:
    """O_DIRECT, past the page cache: aligned reads give what was written."""

    async def main() -> None:
        await fs.write(folder / "file", peers.DATA)
        try:
            file = await fs.OpenOptions().read(True).direct(True).open(folder / "file")
        except OSError as error:
            if error.errno == errno.EINVAL:
                pytest.skip(f"{kind_of(folder)} has no O_DIRECT")
            raise
        async with file:
            with mmap.mmap(-1, 65536) as pages:
                assert await file.read_at_into(65536, pages) == 65536
                assert pages[:] == peers.DATA[65536 : 2 * 65536]

    spargio.run(main)
