"""Files: whole ones, parts, many, links, trees, a disk that is full, tasks cancelled in the middle."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import spargio
from spargio import fs, net

from .common import Soak, no_hang


async def whole(soak: Soak) -> None:
    """Atomic writes under readers: a reader sees one of the versions, whole."""
    rng = soak.random("whole")
    path = soak.folder / "whole"

    def version() -> bytes:
        body = rng.randbytes(rng.randrange(0, 100_000))
        return hashlib.sha256(body).digest() + body

    await fs.write(path, version(), atomic=True)
    while not soak.over:
        job = spargio.current_handle().spawn_stealable(_write(path, version()))
        if rng.random() < 0.2:
            job.cancel()
        for _ in range(3):
            data = await fs.read(path)
            assert hashlib.sha256(data[32:]).digest() == data[:32]
        with no_hang("an atomic write"), soak.expecting(spargio.TaskCancelled):
            await job
        soak.done("whole")
    assert [entry.name for entry in soak.folder.glob("whole*")] == ["whole"], (
        "temporary files are left"
    )


async def _write(path: Path, data: bytes) -> None:
    await fs.write(path, data, atomic=True)


async def many(soak: Soak) -> None:
    """A tree is written, read in order, measured, linked, moved and removed."""
    rng = soak.random("many")
    while not soak.over:
        root = soak.folder / "tree"
        await fs.create_dir_all(root / "a" / "b")
        contents = {
            str(root / ("a", "a/b")[n % 2] / f"f{n}"): rng.randbytes(rng.randrange(0, 30_000))
            for n in range(60)
        }
        async for path, error in fs.write_many(contents.items()):
            assert error is None, (path, error)
        missing = str(root / "missing")
        seen = []
        async for path, data in fs.read_many([*contents, missing], concurrency=16):
            seen.append(str(path))
            if str(path) == missing:
                assert isinstance(data, FileNotFoundError)
            else:
                assert data == contents[str(path)]
        assert seen == [*contents, missing]
        one, *_ = contents
        await fs.hard_link(one, root / "link")
        await fs.rename(root / "link", root / "moved")
        assert await fs.read(root / "moved") == contents[one]
        with no_hang("a tree's end"):
            await fs.remove_dir_all(root)
        assert not await fs.exists(root)
        soak.done("many")


async def parts(soak: Soak) -> None:
    """Reads and writes at random places of one file, by tasks that are cancelled: what was not touched is as before."""
    rng = soak.random("parts")
    block = 4096
    count = 64
    kept = [rng.randbytes(block) for _ in range(count)]
    file = await fs.File.open(soak.folder / "parts", "w+")
    async with file:
        for n, data in enumerate(kept):
            await file.write_all_at(n * block, data)

        async def check(n: int, data: bytes) -> None:
            assert await file.read_at(n * block, block) == data

        while not soak.over:
            n = rng.randrange(count)
            kept[n] = rng.randbytes(block)
            await file.write_all_at(n * block, kept[n])
            jobs = [
                spargio.current_handle().spawn_stealable(check(m, kept[m]))
                for m in rng.sample(range(count), 16)
            ]
            for job in jobs:
                if rng.random() < 0.2:
                    job.cancel()
            with no_hang("reads of a file"):
                for job in jobs:
                    with soak.expecting(spargio.TaskCancelled):
                        await job
            soak.done("parts")


async def full_disk(soak: Soak) -> None:
    while not soak.over:
        async with await fs.File.open("/dev/full", "r+") as file:
            try:
                await file.write_all_at(0, b"x" * 1000)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                soak.met("ENOSPC")
            else:
                raise AssertionError("a full disk took data")
        soak.done("full_disk")
        await spargio.sleep(0.005)


async def sent(soak: Soak) -> None:
    """sendfile to a stream whose reader goes away half the time."""
    rng = soak.random("sent")
    path = soak.folder / "sent"
    data = rng.randbytes(1 << 19)
    await fs.write(path, data)
    async with await fs.File.open(path, "r") as file:
        while not soak.over:
            left, right = net.UnixStream.pair()
            leaves = rng.random() < 0.5

            async def receive(
                stream: net.UnixStream = right, count: int = rng.randrange(len(data))
            ) -> bytes:
                async with stream:
                    return await stream.read_exactly(count)

            whole = len(data)
            job = spargio.current_handle().spawn_stealable(
                receive(count=rng.randrange(1, whole) if leaves else whole)
            )
            async with left:
                with soak.expecting(BrokenPipeError, ConnectionResetError):
                    assert await fs.sendfile(file, left, 0, whole) == whole
            with no_hang("the reader of a sent file"):
                got = await job
            assert data.startswith(got) and (leaves or len(got) == whole)
            soak.done("sent")


WORKLOADS = {
    "whole": whole,
    "many": many,
    "parts": parts,
    "full_disk": full_disk,
    "sent": sent,
}
