"""Sockets that others hold too: our close, wait and accept change nothing for them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import RuntimeHandle, fs, net
from spargio.uring import Opcode, Sqe


@pytest.fixture(params=[pytest.param("io_uring", marks=support.needs_io_uring), "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def consumed(segments: net._stream.Segments) -> bytes:
    async with segments as pieces:
        async for piece in pieces:
            return piece
    return b""


async def first_of(listener: net.TcpListener) -> object:
    async with listener.incoming() as connections:
        return await connections.__anext__()


async def closed_while_it_waits(
    handle: RuntimeHandle, one: Any, operation: Callable[[], Awaitable[object]], closer: int
) -> None:
    async def wait() -> None:
        with pytest.raises(spargio.ClosedError):
            await operation()

    async def close() -> None:
        await one.close()

    job = handle.spawn_pinned(0, wait())
    await support.in_flight(handle, 1)
    await handle.spawn_pinned(closer, close())
    with spargio.timeout(support.LIMIT_S):
        await job


@pytest.mark.parametrize("closer", [0, 1])
@pytest.mark.parametrize("wait", [net.TcpListener.accept, first_of], ids=["accept", "incoming"])
@pytest.mark.parametrize("blocking", [True, False])
def test_a_closed_listener_goes_on_elsewhere(
    backend: str, closer: int, wait: Callable[[net.TcpListener], Awaitable[object]], blocking: bool
) -> None:
    async def main(handle: RuntimeHandle) -> None:
        ours = socket.create_server(("127.0.0.1", 0))
        ours.setblocking(blocking)
        with ours.dup() as theirs:
            listener = net.TcpListener.from_socket(ours)
            await closed_while_it_waits(handle, listener, lambda: wait(listener), closer)
            assert os.get_blocking(theirs.fileno()) is blocking
            theirs.settimeout(support.LIMIT_S)
            with socket.create_connection(theirs.getsockname(), support.LIMIT_S):
                theirs.accept()[0].close()

    spargio.run(main, shards=2, backend=backend)


STREAM_WAITS: dict[str, Callable[[net.UnixStream], Awaitable[object]]] = {
    "recv": lambda stream: stream.recv(10),
    "recv_into": lambda stream: stream.recv_into(bytearray(10)),
    "read_exactly": lambda stream: stream.read_exactly(10),
    "segments": lambda stream: consumed(stream.recv_multishot_segments()),
    "write_all": lambda stream: stream.write_all(bytes(64 << 20)),
    "send_all_batch": lambda stream: stream.send_all_batch([bytes(32 << 20)] * 2),
    "zero copy": lambda stream: stream.write_all_zero_copy(bytes(64 << 20)),
}


@pytest.mark.parametrize("closer", [0, 1])
@pytest.mark.parametrize("wait", list(STREAM_WAITS))
def test_a_closed_stream_goes_on_elsewhere(backend: str, wait: str, closer: int) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, other = socket.socketpair()
        with one, other.dup() as theirs:
            stream = net.UnixStream.from_socket(other)
            await closed_while_it_waits(handle, stream, lambda: STREAM_WAITS[wait](stream), closer)
            one.settimeout(support.LIMIT_S)
            theirs.settimeout(support.LIMIT_S)
            one.sendall(b"there")
            assert support.receive(theirs, 5) == b"there"
            theirs.shutdown(socket.SHUT_WR)
            while one.recv(1 << 20):  # What was written, and then the end: nobody cut it.
                pass

    spargio.run(main, shards=2, backend=backend)


def test_a_closed_datagram_socket_goes_on_elsewhere(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, other.dup() as theirs:
            ours = net.UnixDatagram.from_socket(other)
            await closed_while_it_waits(handle, ours, ours.recv, 1)
            theirs.settimeout(support.LIMIT_S)
            one.send(b"there")
            assert theirs.recv(10) == b"there"

    spargio.run(main, shards=2, backend=backend)


@pytest.fixture(params=[True, False], ids=["blocking", "nonblocking"])
def blocking(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Python's default timeout would make each new object of its socket module nonblocking."""
    socket.setdefaulttimeout(support.LIMIT_S)
    yield bool(request.param)
    socket.setdefaulttimeout(None)


def test_the_flags_of_a_shared_description_stay(
    backend: str, blocking: bool, tmp_path: Path
) -> None:
    """O_NONBLOCK is of the description, so of all who have it: while something waits, and after."""
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)

    async def main(handle: RuntimeHandle) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        one, other = socket.socketpair()
        shared = [server.dup(), one.dup(), other.dup()]
        for held in (server, one, other):
            held.setblocking(blocking)

        def check() -> None:
            assert [os.get_blocking(held.fileno()) for held in shared] == [blocking] * 3

        listener = net.TcpListener.from_socket(server)
        here, there = net.UnixStream.from_socket(one), net.UnixStream.from_socket(other)
        check()
        async with listener, here, there:
            assert listener.local_addr == shared[0].getsockname()
            assert (here.local_addr, here.peer_addr) == ("", "")
            assert here.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
            here.set_send_buffer_size(20_000)
            accepting = handle.spawn_pinned(0, listener.accept())
            reading = handle.spawn_pinned(1, there.read_exactly(len(data)))
            await support.in_flight(handle, 2)
            check()
            client = await net.TcpStream.connect_addr(listener.local_addr)
            stream, _ = await accepting
            async with await fs.File.open(tmp_path / "data") as file:
                assert await fs.sendfile(file, here) == len(data)
            assert await reading == data
            reading = handle.spawn_pinned(1, there.read_exactly(len(data)))
            await here.write_all(data)
            assert await reading == data
            check()
            await client.close()
            await stream.close()
        check()
        for held in shared:
            held.close()

    spargio.run(main, shards=2, backend=backend)


def test_a_splice_leaves_the_flags_of_a_socket(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, other = socket.socketpair()
        read_end, write_end = os.pipe()
        os.write(write_end, b"x" * 60_000)
        none = (1 << 64) - 1
        places = {"splice_fd_in": read_end, "splice_off_in": none, "off": none}
        with one, other:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            sqe = Sqe(opcode=Opcode.SPLICE, fd=one.fileno(), len=60_000, **places)

            async def splice() -> int:
                return (await handle.uring_native_unbound().submit_unsafe(sqe)).res

            moving = handle.spawn_pinned(1, splice())
            got = 0
            while got < 4_096:
                got += len(await spargio.spawn_blocking(other.recv, 1_024))
                assert os.get_blocking(one.fileno())
                assert os.get_blocking(read_end)
            moving.cancel()  # The peer reads no more.
            with spargio.timeout(support.LIMIT_S):
                with contextlib.suppress(spargio.TaskCancelled):
                    assert await moving > 0
        os.close(read_end)
        os.close(write_end)

    spargio.run(main, shards=2, backend=backend)


def test_a_listener_is_shared_with_a_blocking_holder(backend: str) -> None:
    """As of workers that were forked: each connection is answered by one of them, and the other
    one's blocking accept never fails. Who was too late can still be cancelled."""
    count = 300
    answered = {"ours": 0, "theirs": 0}

    def hold(theirs: socket.socket) -> None:
        while True:
            connection, _ = theirs.accept()
            with connection:
                if connection.recv(1) == b"!":
                    return
                connection.sendall(b"t")
                answered["theirs"] += 1

    async def serve(listener: net.TcpListener) -> None:
        while True:
            stream, _ = await listener.accept()
            async with stream:
                if await stream.recv(1) == b"!":
                    raise AssertionError("the end is for the other holder")
                await stream.write_all(b"o")
                answered["ours"] += 1

    def ask(address: Any, what: bytes) -> bytes:
        with socket.create_connection(address, support.LIMIT_S) as connection:
            connection.sendall(what)
            return connection.recv(1)

    async def main(handle: RuntimeHandle) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
            address = server.getsockname()
            listener = net.TcpListener.from_socket(server.dup())
            with support.in_thread(hold, server) as holder:
                serving = [handle.spawn_pinned(shard, serve(listener)) for shard in (0, 1)]
                for _ in range(count):
                    assert await spargio.spawn_blocking(ask, address, b"x") in (b"o", b"t")
                for job in serving:
                    job.cancel()
                for job in serving:
                    with spargio.timeout(support.LIMIT_S), pytest.raises(spargio.TaskCancelled):
                        await job
                await listener.close()
                assert await spargio.spawn_blocking(ask, address, b"!") == b""
        assert holder.error is None
        assert sum(answered.values()) == count

    spargio.run(main, shards=2, backend=backend)
