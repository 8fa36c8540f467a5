"""Two writers of one stream, writes that are cut short, and bytes that were read too far."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import RuntimeHandle, fs, io, net, process

LARGE = 8 << 20
"""More than a socket or a pipe takes."""


@pytest.fixture(params=[pytest.param("io_uring", marks=support.needs_io_uring), "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Write = Callable[[Any, bytes], Awaitable[object]]

WRITES: dict[str, Write] = {
    "write_all": lambda stream, data: stream.write_all(data),
    "send": lambda stream, data: stream.send(data),
    "zero copy": lambda stream, data: stream.write_all_zero_copy(data),
    "write_vectored": lambda stream, data: stream.write_vectored([data, data]),
    "send_all_batch": lambda stream, data: stream.send_all_batch([data[:100], data[100:]]),
}


@pytest.mark.parametrize("second", list(WRITES))
@pytest.mark.parametrize("first", ["write_all", "zero copy", "send_all_batch"])
@pytest.mark.parametrize("shard", [0, 1])
def test_a_second_writer_is_refused(backend: str, first: str, second: str, shard: int) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()

        async def late() -> None:
            with pytest.raises(spargio.BusyError, match="another task writes to this stream"):
                await WRITES[second](one, b"B" * 200)

        async with one, other:
            writing = handle.spawn_pinned(0, WRITES[first](one, b"A" * LARGE))
            await support.in_flight(handle, 1)
            await handle.spawn_pinned(shard, late())
            assert await other.read_exactly(LARGE) == b"A" * LARGE
            await writing
            await WRITES[second](one, b"B" * 200)  # Nobody writes any more.
            assert (await other.recv(LARGE)).strip(b"B") == b""

    spargio.run(main, shards=2, backend=backend)


def test_a_file_is_sent_in_one_piece(backend: str, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "data").write_bytes(data)

    async def main(handle: RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        async with one, other, await fs.File.open(tmp_path / "data") as file:
            sending = handle.spawn_pinned(0, fs.sendfile(file, one))
            got = await other.recv(1)
            with pytest.raises(spargio.BusyError):
                await one.write_all(b"between")
            with pytest.raises(spargio.BusyError):
                await fs.sendfile(file, one)
            assert got + await other.read_exactly(len(data) - 1) == data
            assert await sending == len(data)

    spargio.run(main, shards=1, backend=backend)


def test_datagrams_and_files_have_any_number_of_writers(backend: str, tmp_path: Path) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, other = net.UnixDatagram.pair()
        async with one, other, await fs.File.create(tmp_path / "file") as file:
            jobs = [handle.spawn_stealable(one.send(b"%d" % n)) for n in range(5)]
            jobs += [handle.spawn_stealable(file.write_at(n, b"x")) for n in range(5)]
            for job in jobs:
                await job
            assert {await other.recv() for _ in range(5)} == {b"%d" % n for n in range(5)}
        assert (tmp_path / "file").read_bytes() == b"xxxxx"

    spargio.run(main, shards=2, backend=backend)


def test_pipes_duplexes_and_buffers_refuse_as_well(backend: str) -> None:
    async def refuses(handle: RuntimeHandle, writer: io.AsyncWrite) -> None:
        job = handle.spawn_pinned(0, writer.write_all(b"A" * LARGE))
        await support.started(job)
        with pytest.raises(spargio.BusyError):
            await writer.write_all(b"B" * 100_000)
        if isinstance(writer, io.BufWriter):
            assert writer.buffered() == 0  # Nothing of what was refused.
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    async def main(handle: RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        duplex, far = io.duplex(100)
        command = process.Command(sys.executable).args(["-c", "import time; time.sleep(600)"])
        async with one, other:
            await refuses(handle, io.BufWriter(one))
            await refuses(handle, duplex)
            async with await command.stdin(process.PIPE).spawn() as child:
                assert child.stdin is not None
                await refuses(handle, child.stdin)
                child.kill()
                await child.wait()
        await far.close()
        await duplex.close()

    spargio.run(main, shards=1, backend=backend)


# ---- a write that is cut short ----


@pytest.mark.parametrize("write", ["write_all", "zero copy", "send_all_batch", "sendfile", "copy"])
def test_a_cancelled_write_says_how_much_went_out(backend: str, write: str, tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "data").write_bytes(data)
    told: list[int] = []

    async def main(handle: RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        source, feed = io.duplex(2 * LARGE)
        await feed.write_all(data)

        async def work() -> None:
            try:
                if write == "sendfile":
                    async with await fs.File.open(tmp_path / "data") as file:
                        await fs.sendfile(file, one)
                elif write == "copy":
                    await io.copy(source, one)
                else:
                    await WRITES[write](one, data)
            except spargio.CancelledError as error:
                told.append(error.bytes_written)
                raise

        async with other:
            job = handle.spawn_pinned(0, work())
            got = await other.read_exactly(100_000)  # It is in the middle of it.
            job.cancel()
            reading = (
                handle.spawn_pinned(1, io.copy_to_vec(other)) if write == "zero copy" else None
            )
            with pytest.raises(spargio.TaskCancelled):
                await job
            await one.close()
            got += await (reading or io.copy_to_vec(other))
            assert len(got) == told[0]
            assert data.startswith(got)
            if write == "copy":  # What was read and not written is there for the next one.
                assert await source.recv(LARGE) == data[len(got) :][:LARGE]

    spargio.run(main, shards=2, backend=backend)


def test_a_failed_write_says_how_much_went_out(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        async with one:
            job = handle.spawn_pinned(0, one.write_all(bytes(LARGE)))
            got = len(await other.read_exactly(100_000))
            await other.close()
            with pytest.raises(BrokenPipeError) as caught:
                await job
            assert got <= caught.value.bytes_written < LARGE
            with pytest.raises(BrokenPipeError) as caught:
                await one.write_all(b"x")
            assert caught.value.bytes_written == 0

    spargio.run(main, shards=1, backend=backend)


# ---- what was read too far ----


async def cut_read(handle: RuntimeHandle, stream: net.UnixStream, feed: socket.socket) -> None:
    """``b"12345"`` was read from the socket, by a read that did not get what it wanted."""
    job = handle.spawn_pinned(0, stream.read_exactly(10))
    await support.in_flight(handle, 1)
    feed.sendall(b"12345")
    await support.until(lambda: not _unread(feed))
    job.cancel()
    with pytest.raises(spargio.TaskCancelled):
        await job


def _unread(sock: socket.socket) -> int:
    """Bytes that the other end has not read (SIOCOUTQ)."""
    import fcntl

    return int.from_bytes(fcntl.ioctl(sock.fileno(), 0x5411, bytes(4)), sys.byteorder)


def test_unread_bytes_go_along(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        near, far = socket.socketpair()
        with far:
            stream = net.UnixStream.from_socket(near)
            await cut_read(handle, stream, far)
            with pytest.raises(RuntimeError, match="detach.. with bytes that were read"):
                stream.detach()
            unread = stream.take_unread()
            assert unread == b"12345"
            assert stream.take_unread() == b""
            back = socket.socket(fileno=stream.detach())
            taken = net.UnixStream.from_socket(back, unread=unread)
            far.sendall(b"678")
            reading, _ = io.split(taken)
            lines = io.BufReader(reading)
            assert await lines.read_exactly(2) == b"12"
            assert lines.detach() is reading
            assert await taken.read_exactly(6) == b"345678"
            with pytest.raises(RuntimeError, match="detached"):
                await lines.read_line()
            await taken.close()

    spargio.run(main, shards=1, backend=backend)


def test_unread_goes_before_what_was_left_earlier(backend: str) -> None:
    async def main() -> None:
        one, other = net.UnixStream.pair()
        async with one, other:
            one.unread(b"34")
            one.unread(b"12")
            one.unread(b"")
            await other.write_all(b"5")
            async with one.recv_multishot_segments() as segments:
                assert await segments.__anext__() == b"1234"
            assert await one.read_exactly(1) == b"5"

    spargio.run(main, shards=1, backend=backend)


def test_frames_copies_and_pipes_give_back_what_they_read_too_far(backend: str) -> None:
    async def main() -> None:
        near, far = io.duplex()
        await far.write_all(b"\0\0\0\1A\0\0\0\2Bthe rest")
        frames = io.framed.LengthDelimited(near)
        assert await frames.read_frame() == b"A"
        await far.shutdown()
        assert frames.detach() is near
        with pytest.raises(ValueError, match="more than limit = 3"):
            await io.copy_to_vec(near, limit=3)
        assert await io.copy_to_vec(near) == b"\0\0\0\2Bthe rest"
        await near.close()

        command = process.Command("echo").args(["one\ntwo"]).stdout(process.PIPE)
        async with await command.spawn() as child:
            assert child.stdout is not None
            lines = io.BufReader(child.stdout)
            assert await lines.read_line() == b"one\n"
            assert lines.detach() is child.stdout
            assert await io.copy_to_vec(child.stdout) == b"two\n"
            await child.wait()

    spargio.run(main, shards=1, backend=backend)


def test_a_reader_that_takes_nothing_back_is_named() -> None:
    class Reader:
        async def recv(self, max_bytes: int) -> bytes:
            return b"ab"

    async def main() -> None:
        lines = io.BufReader(Reader())
        assert await lines.read_exactly(1) == b"a"
        with pytest.raises(RuntimeError, match="1 bytes that Reader cannot take back"):
            lines.detach()
        assert lines.buffer() == b"b"
        assert await lines.read_exactly(1) == b"b"
        assert isinstance(lines.detach(), Reader)

    spargio.run(main, shards=1)
