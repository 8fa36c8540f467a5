"""spargio.io: buffers, frames and copies, in pieces of any size, cancelled at any moment."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import support

import spargio
from spargio import io, net


async def trickle(stream: io.AsyncWrite, data: bytes, chosen: random.Random, most: int) -> None:
    at = 0
    while at < len(data):
        size = chosen.randrange(1, most + 1)
        await stream.write_all(data[at : at + size])
        at += size
        if chosen.random() < 0.3:
            await spargio.yield_now()


def test_a_duplex_is_a_bounded_stream(options: dict[str, Any]) -> None:
    data = os.urandom(200_000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = io.duplex(1_000)
        assert isinstance(one, io.AsyncRead)
        assert isinstance(one, io.AsyncWrite)
        last = handle.shard_count() - 1

        async def write() -> None:
            await one.write_all(data)
            await one.shutdown()

        job = handle.spawn_pinned(last, write())
        await support.until(lambda: len(other._in.data) == 1_000)
        assert not job.done()  # It waits for room.
        assert await io.copy_to_vec(other) == data
        await job
        assert await other.recv(10) == b""
        await other.write_all(b"back")
        assert await one.recv(2) == b"ba"
        await one.close()
        await one.close()
        with pytest.raises(BrokenPipeError):
            await other.write_all(b"x")
        with pytest.raises(ValueError, match="capacity is 0"):
            io.duplex(0)

    spargio.run(main, **options)


def test_a_close_wakes_who_waits() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = io.duplex(4)
        reader = handle.spawn_stealable(other.recv(10))
        await support.until(lambda: other._in.readers)
        await one.close()
        assert await reader == b""
        one, other = io.duplex(4)
        writer = handle.spawn_stealable(one.write_all(b"too long"))
        await support.until(lambda: one._out.writers)
        await other.close()
        with pytest.raises(BrokenPipeError):
            await writer

    spargio.run(main, shards=2)


def test_copy_and_split_over_sockets() -> None:
    data = os.urandom(1_000_000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        left, right = net.UnixStream.pair()
        reader, writer = io.split(one)

        async def echo() -> int:
            count = await io.copy(other, right, chunk=5_000)
            await right.shutdown()
            return count

        async def send() -> None:
            await writer.write_all(data)
            await writer.shutdown()

        jobs = [handle.spawn_pinned(1, echo()), handle.spawn_pinned(0, send())]
        assert await io.copy_to_vec(left) == data
        assert await jobs[0] == len(data)
        await jobs[1]
        with pytest.raises(ValueError, match="limit = 3"):
            await right.shutdown()
            await left.write_all(b"12345")
            await io.copy_to_vec(right, limit=3)
        await other.write_all(b"x")
        assert await reader.recv(5) == b"x"
        for stream in (one, other, left, right):
            await stream.close()

    spargio.run(main, shards=2)


@pytest.mark.parametrize("most", [1, 7, 5_000])
def test_lines_and_pieces(options: dict[str, Any], most: int) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)
    lines = [chosen.randbytes(chosen.randrange(100)).replace(b"\n", b"") for _ in range(200)]
    data = b"".join(line + b"\n" for line in lines) + b"no newline"

    async def main(handle: spargio.RuntimeHandle) -> None:
        for way in range(3):
            one, other = io.duplex(777)

            async def write(stream: io.DuplexStream = one) -> None:
                await trickle(stream, data, chosen, most)
                await stream.shutdown()

            job = handle.spawn_pinned(handle.shard_count() - 1, write())
            reader = io.BufReader(other)
            if way == 0:
                found = [line async for line in reader]
                assert found == [line + b"\n" for line in lines] + [b"no newline"]
                assert await reader.read_line() == b""
            elif way == 1:
                for line in lines:
                    assert await reader.read_until(b"\n") == line + b"\n"
                with pytest.raises(spargio.IncompleteReadError) as caught:
                    await reader.read_until(b"\n")
                assert caught.value.partial == b"no newline"
            else:
                assert (await reader.peek()).startswith(data[:1])
                assert data.startswith(reader.buffer())
                at = 0
                while at < len(data):
                    size = min(chosen.randrange(50), len(data) - at)
                    assert await reader.read_exactly(size) == data[at : at + size]
                    at += size
                with pytest.raises(spargio.IncompleteReadError):
                    await reader.read_exactly(1)
                assert await reader.recv(1) == b""
            await job

    spargio.run(main, **options)


def test_a_line_that_is_too_long_stays() -> None:
    async def main() -> None:
        one, other = io.duplex()
        await one.write_all(b"x" * 50 + b"\nrest\n")
        reader = io.BufReader(other, limit=20)
        with pytest.raises(io.LimitExceeded, match="limit = 20"):
            await reader.read_line()
        assert await reader.read_line(limit=100) == b"x" * 50 + b"\n"
        assert await reader.read_until(b"s") == b"res"
        for wrong in (lambda: reader.read_until(b""), lambda: reader.read_exactly(-1)):
            with pytest.raises(ValueError, match="allowed"):
                await wrong()
        with pytest.raises(ValueError, match="limit is 0"):
            io.BufReader(other, limit=0)

    spargio.run(main, shards=1)


@pytest.mark.parametrize("size", [0, -1])
def test_pieces_of_nothing_are_refused(size: int) -> None:
    """``b""`` would look like the end of the stream."""

    async def main() -> None:
        one, other = io.duplex()
        await one.write_all(b"abc")
        reader = io.BufReader(other)
        for _ in range(2):  # With an empty buffer, and with bytes in it.
            with pytest.raises(ValueError, match=f"max_bytes is {size}: allowed is 1 or more"):
                await reader.recv(size)
            assert await reader.peek() == b"abc"
        with pytest.raises(ValueError, match=f"chunk is {size}: allowed is 1 or more"):
            await io.copy(reader, one, chunk=size)
        assert await reader.recv(5) == b"abc"

    spargio.run(main, shards=1)


def test_cancelled_reads_lose_nothing() -> None:
    data = os.urandom(20_000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = io.duplex(100)
        job = handle.spawn_pinned(1, trickle(one, data, random.Random(1), 300))
        reader = io.BufReader(other)
        found = b""
        while len(found) < len(data):
            size = min(997, len(data) - len(found))
            try:
                with spargio.timeout(0.0002):
                    found += await reader.read_exactly(size)
            except TimeoutError:
                continue
        assert found == data
        await job

    spargio.run(main, shards=2)


def test_a_writer_collects_and_keeps_its_error() -> None:
    async def main() -> None:
        one, other = io.duplex()
        writer = io.BufWriter(one, capacity=10)
        await writer.write_all(b"12345")
        assert (writer.buffered(), bytes(other._in.data)) == (5, b"")
        await writer.write_all(b"67890")
        assert (writer.buffered(), await other.recv(20)) == (0, b"1234567890")
        await writer.write_all(b"x")
        await writer.flush()
        await writer.flush()
        assert await other.recv(20) == b"x"
        await other.close()
        await writer.write_all(b"y")
        with pytest.raises(BrokenPipeError):
            await writer.flush()
        with pytest.raises(OSError, match="earlier write failed"):
            await writer.write_all(b"z")
        with pytest.raises(ValueError, match="capacity is 0"):
            io.BufWriter(one, capacity=0)

    spargio.run(main, shards=1)


@pytest.mark.parametrize("length_bytes", [1, 2, 4, 8])
@pytest.mark.parametrize("byteorder", ["big", "little"])
def test_frames(length_bytes: int, byteorder: Any) -> None:
    chosen = random.Random(length_bytes)
    most = min(255, (1 << 8 * length_bytes) - 1)
    frames = [chosen.randbytes(chosen.randrange(most + 1)) for _ in range(100)] + [b""]

    async def main(handle: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        shape: Any = {"length_bytes": length_bytes, "byteorder": byteorder, "max_frame": most}

        async def send() -> None:
            writer = io.framed.LengthDelimited(one, **shape)
            for frame in frames:
                await writer.write_frame(frame)
            with pytest.raises(io.framed.FrameTooLong):
                await writer.write_frame(bytes(most + 1))
            await one.shutdown()

        job = handle.spawn_pinned(1, send())
        reader = io.framed.LengthDelimited(other, **shape)
        assert [frame async for frame in reader] == frames
        assert await reader.read_frame() is None
        await job
        await one.close()
        await other.close()

    spargio.run(main, shards=2)


def test_wrong_frames() -> None:
    async def main() -> None:
        one, other = io.duplex()
        await one.write_all((1 << 62).to_bytes(8, "big"))
        with pytest.raises(io.framed.FrameTooLong, match=f"{1 << 62} bytes came: allowed is 100"):
            await io.framed.LengthDelimited(other, length_bytes=8, max_frame=100).read_frame()
        for part in (b"\0", b"\0\0\0\5abc"):
            one, other = io.duplex()
            await one.write_all(part)
            await one.shutdown()
            with pytest.raises(spargio.IncompleteReadError):
                await io.framed.LengthDelimited(other).read_frame()
        for wrong in ({"length_bytes": 3}, {"max_frame": -1}, {"byteorder": "middle"}):
            with pytest.raises(ValueError, match="allowed"):
                io.framed.LengthDelimited(other, **wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="allowed is 0 to 255"):
            io.framed.LengthDelimited(other, length_bytes=1, max_frame=256)

    spargio.run(main, shards=1)


def test_a_cancelled_frame_is_read_on() -> None:
    async def main() -> None:
        one, other = io.duplex()
        reader = io.framed.LengthDelimited(other)
        for part in (b"\0\0", b"\0\5a", b"bcd"):
            await one.write_all(part)
            with pytest.raises(TimeoutError), spargio.timeout(0.002):
                await reader.read_frame()
        await one.write_all(b"e")
        assert await reader.read_frame() == b"abcde"

    spargio.run(main, shards=1)
