"""A disk that is full, and a limit of the size of files: what was there stays as it was. The disk
is a tmpfs of 4 MiB in a mount namespace of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode
    != 0,
    reason="a file system cannot be mounted here: no unshare(1), or not root",
)

BEFORE = """
import asyncio, errno, os, sys
from pathlib import Path
import spargio
from spargio import fs

disk, aside = Path(sys.argv[1]), Path(sys.argv[2])
BIG = bytes(range(256)) * (8 << 12)  # 8 MiB
OLD = b"what was there " * 1000
(aside / "big").write_bytes(BIG)

def everything():
    return {str(p.relative_to(disk)): p.read_bytes() for p in disk.rglob("*") if p.is_file()}

def refused(error, path, number=errno.ENOSPC):
    assert type(error) is OSError and error.errno == number, repr(error)
    assert os.fspath(error.filename) == str(path), error.filename
    assert everything() == before, {n: len(d) for n, d in everything().items()}

(disk / "old").write_bytes(OLD)
before = everything()
"""


def run_on_disk(tmp_path: Path, program: str) -> None:
    """`program` finds the disk as `disk`, and a folder beside it as `aside`."""
    disk, aside = tmp_path / "disk", tmp_path / "aside"
    disk.mkdir()
    aside.mkdir()
    script = tmp_path / "program.py"
    script.write_text(BEFORE + textwrap.dedent(program))
    mount = 'mount -t tmpfs -o size=4m none "$1" && exec "$3" "$4" "$1" "$2"'
    words = ["unshare", "-m", "sh", "-c", mount, "sh", disk, aside, sys.executable, script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_writes(tmp_path: Path) -> None:
    run_on_disk(
        tmp_path,
        """
        async def main():
            for options in ({}, {"atomic": True}):
                try:
                    await fs.write(disk / "old", BIG, **options)
                except OSError as error:
                    refused(error, disk / "old")
                else:
                    raise AssertionError(options)
            given = [(disk / "old", BIG), (disk / "small", b"new")]
            found = [pair async for pair in fs.write_many(given)]
            assert found[1] == (disk / "small", None)
            assert (disk / "small").read_bytes() == b"new"
            (disk / "small").unlink()
            refused(found[0][1], disk / "old")
            # What it has itself is free for it: 3 MiB in place of 2 go on a disk of 4.
            await fs.write(disk / "old", BIG[: 2 << 20])
            await fs.write(disk / "old", BIG[: 3 << 20])
            assert (disk / "old").read_bytes() == BIG[: 3 << 20]

        spargio.run(main)
        """,
    )


def test_copies(tmp_path: Path) -> None:
    run_on_disk(
        tmp_path,
        """
        async def main():
            try:
                await fs.copy(aside / "big", disk / "old")
            except OSError as error:
                refused(error, disk / "old")
            else:
                raise AssertionError
            (aside / "tree" / "in").mkdir(parents=True)
            os.rename(aside / "big", aside / "tree" / "old")
            (aside / "tree" / "in" / "small").write_bytes(b"small")
            told = []
            done = await fs.copy_tree(aside / "tree", disk, exist_ok=True, on_error=told.append)
            assert (done.files, done.errors) == (1, 1), done
            before["in/small"] = b"small"
            refused(told[0], disk / "old")
            # Only its data needs room, not its holes.
            with open(aside / "holes", "wb") as file:
                file.truncate(1 << 30)
                file.seek(1 << 29)
                file.write(b"x" * 100_000)
            assert await fs.copy(aside / "holes", disk / "old") == 1 << 30
            assert (disk / "old").stat().st_blocks < 4096

        spargio.run(main)
        """,
    )


def test_fsspec(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed: spargio[fsspec]")
    run_on_disk(
        tmp_path,
        """
        import tempfile
        from spargio.fs import sync
        from spargio.fsspec import SpargioFileSystem

        tempfile.tempdir = str(aside)
        ours = SpargioFileSystem()
        (aside / "small").write_bytes(b"small")
        names = [str(aside / name) for name in ("big", "small")]
        try:
            ours.put(names, [str(disk / "old"), str(disk / "new")])
        except OSError as error:
            before["new"] = b"small"
            refused(error, disk / "old")
        else:
            raise AssertionError
        try:
            with ours.transaction:
                with ours.open(str(disk / "new"), "wb") as file:
                    file.write(b"newer")
                with ours.open(str(disk / "old"), "wb") as file:
                    file.write(BIG)
        except OSError as error:
            assert error.errno == errno.ENOSPC
        else:
            raise AssertionError
        assert everything() == before
        with ours.transaction, ours.open(str(disk / "old"), "wb") as file:
            file.write(BIG[: 3 << 20])  # Beside the old one.
        assert (disk / "old").read_bytes() == BIG[: 3 << 20]
        assert sorted(os.listdir(disk)) == ["new", "old"]
        assert sorted(os.listdir(aside)) == ["big", "small"]
        sync.shutdown()
        """,
    )


def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    run_on_disk(
        tmp_path,
        """
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        async def main():
            for work in (
                fs.write(disk / "old", BIG),
                fs.write(disk / "old", BIG, atomic=True),
                fs.copy(aside / "big", disk / "old"),
            ):
                try:
                    await work
                except OSError as error:
                    refused(error, disk / "old", errno.EFBIG)
                else:
                    raise AssertionError

        spargio.run(main)
        """,
    )
