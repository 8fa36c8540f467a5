"""A receive that goes on: every byte once and in order, whoever lags, ends, cancels or closes."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator

import pytest
import support

import spargio
from spargio import RuntimeHandle, net

DATA = os.urandom(6 << 20)


@contextlib.asynccontextmanager
async def pair(tcp: bool = True) -> AsyncIterator[tuple[net.TcpStream, net.TcpStream]]:
    if not tcp:
        one, other = net.UnixStream.pair()
    else:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            one = await net.TcpStream.connect(*listener.local_addr[:2])
            other, _ = await listener.accept()
    async with one, other:
        yield one, other


async def send(stream: net.TcpStream, data: bytes, seed: int = 1) -> None:
    """In pieces of any size."""
    sizes, at = random.Random(seed), 0
    while at < len(data):
        size = sizes.choice([1, 100, 5000, 70_000])
        await stream.write_all(data[at : at + size])
        at += size
    await stream.shutdown()


@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize("options", list(support.BUILDER_OPTIONS.values()), ids=repr)
def test_all_of_a_stream(tcp: bool, options: dict[str, object]) -> None:
    async def main(handle: RuntimeHandle) -> bytes:
        async with pair(tcp) as (one, other):
            job = handle.spawn_stealable(send(one, DATA))
            parts = []
            async with other.recv_multishot_segments() as segments:
                async for data in segments:
                    parts.append(data)
                assert await anext(segments, None) is None  # The end stays the end.
            await job
            return b"".join(parts)

    assert spargio.run(main, **options) == DATA


@support.needs_io_uring
def test_it_asks_once_for_many_pieces() -> None:
    async def main(handle: RuntimeHandle) -> int:
        async with pair() as (one, other):
            async with other.recv_multishot_segments() as segments:
                await one.write_all(b"first")
                assert await anext(segments) == b"first"
                before = handle.stats_snapshot().sqes_submitted
                for n in range(100):
                    await one.write_all(b"%d" % n)
                    assert await anext(segments) == b"%d" % n
                return handle.stats_snapshot().sqes_submitted - before

    submitted = spargio.run(main, shards=1)
    assert 100 <= submitted < 150  # The writes, and hardly a receive.


def test_a_consumer_that_lags_loses_nothing() -> None:
    async def main(handle: RuntimeHandle) -> bytes:
        async with pair() as (one, other):
            job = handle.spawn_pinned(1, send(one, DATA))
            parts = []
            async with other.recv_multishot_segments() as segments:
                async for data in segments:
                    parts.append(data)
                    if len(parts) % 20 == 0:
                        await spargio.sleep(0.002)
            await job
            return b"".join(parts)

    assert spargio.run(main, shards=2) == DATA


def test_more_laggards_than_buffers() -> None:
    """Together they hold all buffers of the shard: the others bring their own."""
    streams, each = 24, 400_000

    async def consume(other: net.TcpStream, n: int) -> None:
        parts = []
        async with other.recv_multishot_segments() as segments:
            await spargio.sleep(0.02)
            async for data in segments:
                parts.append(data)
                if n % 2 and len(parts) % 8 == 0:
                    await spargio.sleep(0.001)
        assert b"".join(parts) == DATA[n : n + each]

    async def main(handle: RuntimeHandle) -> None:
        async with contextlib.AsyncExitStack() as stack, spargio.TaskGroup() as group:
            for n in range(streams):
                one, other = await stack.enter_async_context(pair())
                handle.spawn_pinned(1, send(one, DATA[n : n + each], n))
                group.spawn(consume(other, n))
            async with pair() as (one, other):  # An ordinary one in between.
                await one.write_all(b"hello")
                assert await other.recv(100) == b"hello"

    spargio.run(main, shards=2)


def test_what_was_not_taken_is_for_the_next_read() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            for round_ in range(50):
                await one.write_all(b"a" * 10)
                async with other.recv_multishot_segments() as segments:
                    got = len(await anext(segments))
                    for _ in range(5):
                        await one.write_all(b"b" * 10)
                    await spargio.sleep(0.001 * (round_ % 3))
                rest = await other.read_exactly(60 - got)
                assert rest == (b"a" * 10 + b"b" * 50)[got:]
                await one.write_all(b"0123456789")
                assert await other.read_exactly(4) == b"0123"
                async with other.recv_multishot_segments() as segments:
                    data = await anext(segments)
                    while len(data) < 6:
                        data += await anext(segments)
                    assert data == b"456789"

    spargio.run(main, shards=1)


def test_cancelled_while_it_waits_and_with_data_in_flight() -> None:
    async def consume(other: net.TcpStream, seen: bytearray) -> None:
        async with other.recv_multishot_segments() as segments:
            async for data in segments:
                seen += data

    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            job = handle.spawn_pinned(1, send(one, DATA))
            seen = bytearray()
            while len(seen) < len(DATA) // 2:
                consumer = handle.spawn_pinned(0, consume(other, seen))
                await spargio.sleep(0.0003)
                consumer.cancel()
                with contextlib.suppress(spargio.TaskCancelled):
                    await consumer
            while data := await other.recv(1 << 20):
                seen += data
            await job
            assert bytes(seen) == DATA

    spargio.run(main, shards=2)


def test_a_time_limit_leaves_it_usable() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other), other.recv_multishot_segments() as segments:
            for n in range(20):
                with pytest.raises(TimeoutError), spargio.timeout(0.001):
                    await anext(segments)
                await one.write_all(b"%d" % n)
                assert await anext(segments) == b"%d" % n

    spargio.run(main, shards=1)


def test_closed_under_it() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            waiting = handle.spawn_pinned(1, consume(other))
            await support.in_flight(handle, 1)
            await other.close()
            with pytest.raises(spargio.ClosedError):
                await waiting
            with pytest.raises(spargio.ClosedError):
                await consume(other)
            assert await one.recv(1) == b""

    async def consume(other: net.TcpStream) -> None:
        async with other.recv_multishot_segments() as segments:
            async for _ in segments:
                raise AssertionError

    spargio.run(main, shards=2)


def test_the_peer_resets() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other), other.recv_multishot_segments() as segments:
            await one.write_all(b"last words")
            assert await anext(segments) == b"last words"
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await one.close()
            with pytest.raises(ConnectionResetError):
                await anext(segments)

    spargio.run(main, shards=1)


def test_a_task_that_ends_without_leaving_it() -> None:
    """The operation is cancelled with the task; what came is for the next read."""

    async def careless(other: net.TcpStream, kept: list[object]) -> bytes:
        segments = other.recv_multishot_segments()
        kept.append(segments)
        return await anext(segments)

    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            for _ in range(30):
                kept: list[object] = []
                await one.write_all(b"x" * 100)
                got = await handle.spawn_pinned(0, careless(other, kept))
                await one.write_all(b"y" * 100)
                kept.clear()
                rest = await other.read_exactly(200 - len(got))
                assert got + rest == b"x" * 100 + b"y" * 100

    spargio.run(main, shards=1)


def test_it_belongs_to_one_task() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other), other.recv_multishot_segments() as segments:
            await one.write_all(b"1")
            assert await anext(segments) == b"1"

            async def thief() -> None:
                await anext(segments)

            with pytest.raises(RuntimeError, match="received by the task that began it"):
                await handle.spawn_pinned(0, thief())

    spargio.run(main, shards=1)


def test_entered_and_left_without_a_read() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            async with other.recv_multishot_segments():
                await one.write_all(b"later")
            assert await other.recv(10) == b"later"
            async with other.recv_multishot_segments():
                await other.close()

    spargio.run(main, shards=1)
