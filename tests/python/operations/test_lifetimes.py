"""What becomes of operations when their descriptor is closed or replaced, or their task cancelled."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs, net, process
from spargio._ffi import opcodes
from spargio._ffi.core import native
from spargio.uring import Opcode

ATTEMPTS = int(os.environ.get("SPARGIO_CANCELS", "3000"))

Waiting = tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[None]]]
"""What waits, and what closes what it waits on."""


@asynccontextmanager
async def pipe_read() -> AsyncIterator[Waiting]:
    out, into = os.pipe()
    reader = process.PipeReader(native.adopt(out, 0))
    yield lambda: reader.recv(10), reader.close
    os.close(into)


@asynccontextmanager
async def pipe_write() -> AsyncIterator[Waiting]:
    out, into = os.pipe()
    writer = process.PipeWriter(native.adopt(into, 0))
    yield lambda: writer.write_all(bytes(1 << 20)), writer.close
    os.close(out)


@asynccontextmanager
async def stream(wait: Callable[[net.TcpStream], Awaitable[Any]]) -> AsyncIterator[Waiting]:
    with support.peer() as (host, port, accept):
        one, _ = await support.connected(host, port, accept)
        yield lambda: wait(one), one.close


@asynccontextmanager
async def accept() -> AsyncIterator[Waiting]:
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    yield listener.accept, listener.close


@asynccontextmanager
async def unix_accept() -> AsyncIterator[Waiting]:
    listener = await net.UnixListener.bind(f"\0spargio-{secrets.token_hex(8)}")
    yield listener.accept, listener.close


@asynccontextmanager
async def datagram() -> AsyncIterator[Waiting]:
    one = await net.UdpSocket.bind("127.0.0.1", 0)
    yield lambda: one.recv_from(10), one.close


@asynccontextmanager
async def signals() -> AsyncIterator[Waiting]:
    one = spargio.signal.stream(10)
    yield one.recv, one.close


CASES: dict[str, Callable[[], Any]] = {
    "pipe, read": pipe_read,
    "pipe, write": pipe_write,
    "recv": lambda: stream(lambda one: one.recv(10)),
    "recv, large": lambda: stream(lambda one: one.recv(1 << 20)),
    "read_exactly": lambda: stream(lambda one: one.read_exactly(10)),
    "recv_into": lambda: stream(lambda one: one.recv_into(bytearray(10))),
    "write_all": lambda: stream(lambda one: one.write_all(bytes(1 << 24))),
    "accept": accept,
    "accept of a Unix socket": unix_accept,
    "datagram": datagram,
    "signals": signals,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_close_wakes_what_waits_on_any_shard(case: Callable[[], Any]) -> None:
    async def seen(wait: Callable[[], Awaitable[Any]]) -> BaseException | None:
        try:
            await wait()
        except spargio.ClosedError as error:
            return error
        return None

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with case() as (wait, close):
            # Of two writers the second one is refused.
            shards = (1,) if case is CASES["write_all"] else (0, 1)
            jobs = [handle.spawn_pinned(shard, seen(wait)) for shard in shards]
            await support.in_flight(handle, len(jobs))
            await close()
            with spargio.timeout(support.LIMIT_S):
                for job in jobs:
                    assert "closed" in str(await job)

    spargio.run(main, shards=2)


def test_a_close_does_not_cut_short_what_is_done_in_a_file(tmp_path: Path) -> None:
    data = os.urandom(1 << 22)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for n in range(20):
            file = await fs.File.create(tmp_path / str(n))
            job = handle.spawn_pinned(n % 2, file.write_all_at(0, data))
            await support.started(job)
            await file.close()
            try:
                await job
            except spargio.ClosedError:
                assert n % 2 == 1  # The other shard had not begun.
            else:
                assert (tmp_path / str(n)).read_bytes() == data

    spargio.run(main, shards=2)


def test_a_number_used_anew_gets_no_bytes_of_an_old_operation() -> None:
    """A receive waits on a descriptor; its number then becomes another socket's."""
    old, old_peer = socket.socketpair()
    new, new_peer = socket.socketpair()

    async def recv(number: int) -> bytes:
        buffer = bytearray(10)
        count: int = await native.submit(
            Opcode.RECV, number, 0, buffer, 10, 0, 0, None, opcodes.NUMBER
        )
        return bytes(buffer[:count])

    async def main(handle: spargio.RuntimeHandle) -> None:
        first = handle.spawn_pinned(0, recv(old.fileno()))
        await support.in_flight(handle, 1)
        os.dup2(new.fileno(), old.fileno(), inheritable=False)
        second = handle.spawn_pinned(0, recv(old.fileno()))
        await support.started(second)
        new_peer.send(b"for second")
        with spargio.timeout(support.LIMIT_S):
            assert await second == b"for second"
        first.cancel()
        with contextlib.suppress(spargio.TaskCancelled, OSError):
            assert await first == b""  # The end of the old one: nothing else holds it.

    with old, old_peer, new, new_peer:
        spargio.run(main, shards=1)


# ---- a cancellation has three outcomes ----


def test_cancelled() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            job = handle.spawn_pinned(0, listener.accept())
            await support.in_flight(handle, 1)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job

    spargio.run(main, shards=1)


def test_done_already() -> None:
    """The success is the awaiter's, the cancellation comes at its next await."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        taken: list[net.TcpStream] = []

        async def accept(listener: net.TcpListener) -> None:
            one, _ = await listener.accept()
            taken.append(one)
            await spargio.sleep(1000)

        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            with support.dial(listener.local_addr[1]):
                job = handle.spawn_pinned(0, accept(listener))
                await support.until(lambda: taken or job.cancel())
                with pytest.raises(spargio.TaskCancelled):
                    await job
            for one in taken:
                await one.close()

    for _ in range(50):
        spargio.run(main, shards=1)


@support.needs_io_uring
def test_running_already() -> None:
    """A thread of the kernel waits in splice(2): the cancellation gets it out."""
    first, second = os.pipe(), os.pipe()
    nowhere = (1 << 64) - 1

    async def splice() -> None:
        await native.submit(
            opcodes.SPLICE, second[1], nowhere, nowhere, 10, 0, first[0], None, opcodes.NUMBER
        )

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, splice())
        await support.in_flight(handle, 1)
        await spargio.sleep(0.01)  # Not for order: to find it in the thread.
        job.cancel()
        with pytest.raises(spargio.TaskCancelled), spargio.timeout(support.LIMIT_S):
            await job

    spargio.run(main, shards=1)
    for number in (*first, *second):
        os.close(number)


# ---- all at random ----


class Playground:
    def __init__(self, folder: Path, listener: net.TcpListener) -> None:
        self.folder, self.listener = folder, listener

    async def accept(self) -> None:
        one, _ = await self.listener.accept()
        await one.close()

    async def incoming(self) -> None:
        async with self.listener.incoming() as connections:
            async for one, _ in connections:
                await one.close()

    async def dial(self) -> None:
        async with await net.TcpStream.connect(*self.listener.local_addr[:2]) as one:
            await one.write_all_zero_copy(bytes(40_000))

    async def recv(self) -> None:
        near, far = net.UnixStream.pair()
        async with near, far:
            await far.write_all(b"x" * 100)
            await near.recv(10)
            await near.read_exactly(1000)

    async def segments(self) -> None:
        near, far = net.UnixStream.pair()
        async with near, far:
            await far.write_all(b"x" * 100)
            async with near.recv_multishot_segments() as pieces:
                async for _ in pieces:
                    pass

    async def files(self) -> None:
        async for _ in fs.read_many([self.folder / str(n) for n in range(40)]):
            pass

    async def sleep(self) -> None:
        await spargio.sleep(0.001)


def test_random_cancels(tmp_path: Path) -> None:
    """Multishot operations, zero copy and whole files, which C programs do not have; the leak checks
    of every test look at what is left, the shard's buffers are looked at here."""
    seed = int(os.environ.get("SPARGIO_SEED") or secrets.randbits(32))
    print(f"seed {seed}")
    choose = random.Random(seed)
    for n in range(40):
        (tmp_path / str(n)).write_bytes(b"y" * n * 100)

    async def ended(job: spargio.JoinHandle[None]) -> None:
        job.cancel()
        with contextlib.suppress(spargio.TaskCancelled, ConnectionError):
            await job

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            ground = Playground(tmp_path, listener)
            kinds = (
                *(ground.accept, ground.incoming, ground.dial, ground.recv),
                *(ground.segments, ground.files, ground.sleep),
            )
            jobs: list[spargio.JoinHandle[None]] = []
            for _ in range(ATTEMPTS):
                jobs.append(handle.spawn_pinned(choose.randrange(2), choose.choice(kinds)()))
                if len(jobs) < 20:
                    continue
                for _ in range(choose.randrange(4)):
                    await spargio.yield_now()
                await ended(jobs.pop(choose.randrange(len(jobs))))
            for job in jobs:
                await ended(job)
        await support.until(lambda: handle.stats_snapshot().ops_in_flight <= 1)
        stats = handle.stats_snapshot()
        assert stats.stale_completions == 0
        assert stats.buffers_in_hands == 0

    spargio.run(main, shards=2)


@support.needs_io_uring
def test_registered_memory_is_given_up_while_a_read_is_queued() -> None:
    """The read was begun before: it must not find the place empty, or another's memory there."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        text = await fs.read(__file__)
        async with await fs.File.open(__file__) as file:
            memory = bytearray(4096)
            place = native.register_buffer(memory)
            job = handle.spawn_pinned(0, file.read_at_into(0, memory))
            await spargio.yield_now()  # It has begun; the kernel has not seen it.
            native.unregister_buffer(place)
            assert await job == 4096
            assert bytes(memory) == text[:4096]

    spargio.run(main, shards=1)
