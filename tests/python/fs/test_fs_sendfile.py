"""fs.sendfile: every byte once, whatever the sizes, and how many where it ends early."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import support

import spargio
from spargio import RuntimeHandle, fs, net

DATA = os.urandom(5 << 20)


async def all_of(stream: net.UnixStream | net.TcpStream) -> bytes:
    parts = []
    while piece := await stream.recv(1 << 20):
        parts.append(piece)
    return b"".join(parts)


async def transfer(path: Path, *arguments: int | None, tcp: bool = False) -> tuple[int, bytes]:
    if tcp:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            ours = await net.TcpStream.connect(*listener.local_addr[:2])
            theirs, _ = await listener.accept()
    else:
        ours, theirs = net.UnixStream.pair()
    async with ours, theirs, await fs.File.open(path) as file, spargio.TaskGroup() as group:
        reading = group.spawn(all_of(theirs))
        sent = await fs.sendfile(file, ours, *arguments)
        await ours.shutdown()
        return sent, await reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, None), (1, None), (12345, 3_000_000), (0, 0), (7, 1), (len(DATA) - 5, 100)],
)
def test_what_is_sent(path: Path, tcp: bool, offset: int, length: int | None) -> None:
    async def main() -> tuple[int, bytes]:
        return await transfer(path, offset, length, tcp=tcp)

    wanted = DATA[offset:] if length is None else DATA[offset : offset + length]
    assert spargio.run(main, shards=2) == (len(wanted), wanted)


def test_beyond_the_end_and_an_empty_file(path: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    async def main() -> None:
        assert await transfer(path, len(DATA) + 10) == (0, b"")
        assert await transfer(tmp_path / "empty") == (0, b"")

    spargio.run(main)


def test_a_file_that_cannot_be_spliced_is_read() -> None:
    """What procfs makes has no pages: splice says EINVAL (or gives it by other means)."""

    async def main() -> tuple[int, bytes]:
        return await transfer(Path("/proc/self/mounts"))

    wanted = Path("/proc/self/mounts").read_bytes()
    assert spargio.run(main) == (len(wanted), wanted)


def test_a_cancelled_one_says_how_much_the_stream_took(path: Path) -> None:
    async def main(handle: RuntimeHandle) -> None:
        ours, theirs = net.UnixStream.pair()
        async with ours, theirs, await fs.File.open(path) as file:
            with pytest.raises(TimeoutError), spargio.timeout(0.05):
                try:
                    await fs.sendfile(file, ours)  # Nobody reads: the socket is full soon.
                except spargio.CancelledError as error:
                    sent = error.sent
                    raise
            assert 0 < sent < len(DATA)
            await ours.shutdown()
            assert await all_of(theirs) == DATA[:sent]
            # The descriptors still work.
            assert await file.read_at(10, 10) == DATA[10:20]

    spargio.run(main, shards=2)


def test_the_peer_goes_away(path: Path) -> None:
    async def main(handle: RuntimeHandle) -> None:
        ours, theirs = net.UnixStream.pair()
        async with ours, theirs, await fs.File.open(path) as file:
            job = handle.spawn_pinned(0, fs.sendfile(file, ours))
            await support.started(job)
            await theirs.recv(1000)
            await theirs.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)) as caught:
                await job
            assert 0 < caught.value.sent < len(DATA)

    spargio.run(main, shards=2)


def test_several_at_once_and_the_file_closed_under_them(path: Path) -> None:
    async def main(handle: RuntimeHandle) -> None:
        file = await fs.File.open(path)
        pairs = [net.UnixStream.pair() for _ in range(8)]
        jobs = [handle.spawn_stealable(fs.sendfile(file, ours)) for ours, _ in pairs]
        readers = [handle.spawn_stealable(theirs.read_exactly(len(DATA))) for _, theirs in pairs]
        await support.started(*jobs)
        await file.close()
        assert [await job for job in jobs] == [len(DATA)] * 8
        for reader in readers:
            assert await reader == DATA
        for pair in pairs:
            for stream in pair:
                await stream.close()

    spargio.run(main, shards=2)


def test_what_is_wrong_is_named(path: Path) -> None:
    async def main() -> None:
        ours, theirs = net.UnixStream.pair()
        async with ours, theirs, await fs.File.open(path) as file:
            with pytest.raises(ValueError, match="offset is -1: allowed is 0 or more"):
                await fs.sendfile(file, ours, -1)
            with pytest.raises(ValueError, match="length is -2"):
                await fs.sendfile(file, ours, 0, -2)
        with pytest.raises(OSError):
            await fs.sendfile(file, ours)

    spargio.run(main)
