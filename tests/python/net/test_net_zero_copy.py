"""Zero-copy sends: the same bytes arrive, and the buffer is held until the kernel is done."""

from __future__ import annotations

import contextlib
import os

import pytest
import support
from test_net_multishot import pair

import spargio
from spargio import RuntimeHandle, net

DATA = os.urandom(8 << 20)


@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize("size", [0, 1, 4096, 1_000_003, len(DATA)])
def test_what_is_sent_arrives(tcp: bool, size: int) -> None:
    async def main(handle: RuntimeHandle) -> bytes:
        async with pair(tcp) as (one, other):
            job = handle.spawn_stealable(other.read_exactly(size))
            await one.write_all_zero_copy(memoryview(DATA)[:size])
            return await job

    assert spargio.run(main, shards=2) == DATA[:size]


def test_the_buffer_may_be_used_again_at_once() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            job = handle.spawn_pinned(1, other.read_exactly(200 * 65536))
            buffer = bytearray(65536)
            for n in range(200):
                buffer[:] = bytes([n]) * len(buffer)
                await one.write_all_zero_copy(buffer)
            buffer.append(0)  # Nobody holds it: it may change its size.
            assert await job == b"".join(bytes([n]) * 65536 for n in range(200))

    spargio.run(main, shards=2)


def test_cancelled_with_a_peer_that_does_not_read() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            buffer = bytearray(DATA)
            job = handle.spawn_pinned(0, one.write_all_zero_copy(buffer))
            await support.started(job)
            with pytest.raises(BufferError):
                buffer.append(0)
            job.cancel()
            received = handle.spawn_pinned(1, all_of(other))
            with contextlib.suppress(spargio.TaskCancelled):
                await job
            buffer.append(0)
            await one.close()
            got = await received
            assert DATA.startswith(got)

    async def all_of(stream: net.TcpStream) -> bytes:
        parts = []
        while data := await stream.recv(1 << 20):
            parts.append(data)
        return b"".join(parts)

    for _ in range(10):
        spargio.run(main, shards=2)


def test_the_peer_goes_away() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            await one.write_all(b"x")
            await other.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for _ in range(100):
                    await one.write_all_zero_copy(DATA)

    spargio.run(main, shards=1)
