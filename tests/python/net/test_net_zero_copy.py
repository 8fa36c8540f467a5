"""Zero-copy sends: the same bytes arrive, and the buffer is held until the kernel is done."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import programs
import pytest
import support
from test_net_multishot import pair

import spargio
from spargio import RuntimeHandle, net
from spargio._ffi.types import Buffer

T = TypeVar("T")

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
            await one.close()
            got = await received
            assert DATA.startswith(got)
            await lent(handle, 0)  # What has arrived is nobody's to send.
            buffer.append(0)

    for _ in range(10):
        spargio.run(main, shards=2)


async def all_of(stream: net.TcpStream) -> bytes:
    parts = []
    while data := await stream.recv(1 << 20):
        parts.append(data)
    return b"".join(parts)


async def lent(handle: RuntimeHandle, count: int) -> None:
    """So many buffers of sends that have ended are the kernel's still."""
    await support.until(lambda: handle.stats_snapshot().buffers_lent == count)


async def limited(stream: net.TcpStream, data: Buffer) -> int:
    """Returns what the time limit says of how much was taken."""
    try:
        with spargio.timeout(0.05):
            await stream.write_all_zero_copy(data)
    except TimeoutError as error:
        reason = error.__cause__ or error.__context__
        assert isinstance(reason, spargio.CancelledError)
        return int(reason.bytes_written)
    return -1


async def cancelled(stream: net.TcpStream, data: Buffer) -> int:
    handle = spargio.current_handle()

    async def write() -> int:
        try:
            await stream.write_all_zero_copy(data)
        except spargio.CancelledError as error:
            written.append(error.bytes_written)
            raise

    written: list[int] = []
    job = handle.spawn_pinned(0, write())
    await support.in_flight(handle, 1)
    job.cancel()
    with contextlib.suppress(spargio.TaskCancelled):
        await job
    return written[0]


ENDS: dict[str, Callable[[net.TcpStream, Buffer], Coroutine[Any, Any, int]]] = {
    "limited": limited,
    "cancelled": cancelled,
}


@pytest.mark.parametrize("end", list(ENDS))
@pytest.mark.parametrize("after", ["read", "reset", "aborted"])
@support.needs_io_uring
def test_it_ends_although_nobody_reads(end: str, after: str) -> None:
    """The kernel sends from the memory all the same, as long as there is a connection."""

    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            buffer = bytearray(DATA)
            written = await within_limit(handle, ENDS[end](one, buffer))
            assert 0 < written < len(DATA)
            await lent(handle, 1)
            with pytest.raises(BufferError):
                buffer.append(0)
            if after == "aborted":
                one.set_linger(0)
            await one.close()
            if after == "read":
                assert await all_of(other) == DATA[:written]
            elif after == "reset":
                other.set_linger(0)
                await other.close()
            await lent(handle, 0)
            buffer.append(0)

    spargio.run(main, shards=1)


async def within_limit(handle: RuntimeHandle, coroutine: Coroutine[Any, Any, T]) -> T:
    """What cannot be cancelled is waited for by another task."""
    job = handle.spawn_pinned(0, coroutine)
    with spargio.timeout(support.LIMIT_S):
        return await job


@support.needs_io_uring
def test_the_memory_goes_with_the_last_send_of_it() -> None:
    def references() -> int:
        gc.collect()  # An exception and its frames.
        return sys.getrefcount(DATA)

    before = references()

    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other), pair() as (two, another):
            for stream in (one, two):
                assert await within_limit(handle, limited(stream, DATA)) > 0
            await lent(handle, 2)
            assert references() == before + 2
            await one.close()
            await all_of(other)
            await lent(handle, 1)
            assert references() == before + 1
            await two.close()
            await all_of(another)
            await lent(handle, 0)

    spargio.run(main, shards=1)
    assert references() == before


PROGRAM = """
import os, signal, socket, sys, spargio
from spargio import net

listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
peer, _ = listener.accept()
data = bytearray(os.urandom(8 << 20))

async def main(handle):
    stream = net.TcpStream.from_socket(client)
    job = handle.spawn_pinned(0, stream.write_all_zero_copy(data))
    while handle.stats_snapshot().ops_in_flight < 2:
        await spargio.sleep(0.0005)
    END
    await job

try:
    spargio.run(main, shards=1)
except KeyboardInterrupt:
    print("interrupted")
try:
    data.append(0)
except BufferError:
    print("kept")
client.close()
received = b""
with peer:
    while piece := peer.recv(1 << 20):
        received += piece
print(len(received) > 0, data.startswith(received))
"""


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", "interrupted\n"),
        ("return", ""),
    ],
)
@support.needs_io_uring
def test_the_end_of_the_runtime_does_not_wait_for_a_peer(end: str, says: str) -> None:
    """The memory stays: the connection goes on, and nobody says when it is done."""
    done = programs.run_program(PROGRAM.replace("END", end))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{says}kept\nTrue True\n", "")


def test_the_peer_goes_away() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with pair() as (one, other):
            await one.write_all(b"x")
            await other.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for _ in range(100):
                    await one.write_all_zero_copy(DATA)

    spargio.run(main, shards=1)
