"""sock_recv and its kin: results, waits, cancellations, sockets that are closed meanwhile."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aio
import pytest

from spargio.asyncio import run


@contextmanager
def pair(kind: int = socket.SOCK_STREAM) -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def started(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


async def waiting(coroutine: Any) -> asyncio.Task[Any]:
    """A task that waits in the kernel by now."""
    task = started(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def test_receive_what_is_there_what_comes_and_the_end() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            theirs.send(b"there")
            assert await loop.sock_recv(ours, 3) == b"the"
            assert await loop.sock_recv(ours, 100) == b"re"
            task = await waiting(loop.sock_recv(ours, 100))
            theirs.send(b"comes")
            assert await task == b"comes"
            buffer = bytearray(b"........")
            task = await waiting(loop.sock_recv_into(ours, memoryview(buffer)[2:6]))
            theirs.send(b"into it")
            assert await task == 4
            assert buffer == b"..into.."
            assert await loop.sock_recv(ours, 1 << 20) == b" it"  # More than the loop's own buffer.
            task = await waiting(loop.sock_recv(ours, 1 << 20))
            theirs.shutdown(socket.SHUT_WR)
            assert await task == b""
            assert await loop.sock_recv_into(ours, buffer) == 0

    run(main())


def test_send_all_waits_for_room() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        data = bytes(range(256)) * 40_000
        with pair() as (ours, theirs):
            task = await waiting(loop.sock_sendall(ours, memoryview(data)))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(theirs, 1 << 18)
            assert await task is None
            assert received == data
            await loop.sock_sendall(ours, b"")
            await loop.sock_sendall(ours, bytearray(b"last"))
            assert await loop.sock_recv(theirs, 10) == b"last"

    run(main())


def test_errors_are_those_of_the_socket() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            theirs.close()
            with pytest.raises(BrokenPipeError):
                await loop.sock_sendall(ours, b"x")
            with pytest.raises(ValueError, match="negative"):
                await loop.sock_recv(ours, -1)
            with pytest.raises(ValueError, match="nbytes is greater"):
                await loop.sock_recvfrom_into(ours, bytearray(3), 4)
            with pytest.raises(TypeError):
                await loop.sock_sendall(ours, "text")  # type: ignore[arg-type]
            with pytest.raises((TypeError, BufferError)):
                await loop.sock_recv_into(ours, b"constant")  # type: ignore[arg-type]
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            with client, server:
                server.setblocking(False)
                task = await waiting(loop.sock_recv(server, 10))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
                with pytest.raises(ConnectionResetError):
                    await task
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await loop.sock_recv(client, 10)

    run(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_accept_and_connect(family: int) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(family) as listener, socket.socket(family) as client:
            listener.bind((host, 0))
            listener.listen()
            listener.setblocking(False)
            client.setblocking(False)
            task = await waiting(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname()[:2])
            server, address = await task
            with server:
                assert not server.getblocking()
                assert address == client.getsockname()
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(server, 10) == b"hello"
        with socket.socket(family) as client:
            client.setblocking(False)
            port = aio.refused_port()
            with pytest.raises(ConnectionRefusedError, match="Connect call failed|refused"):
                await loop.sock_connect(client, (host, port))

    run(main())


def test_datagrams_and_their_addresses(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with one, two:
            for sock in (one, two):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            task = await waiting(loop.sock_recvfrom(two, 100))
            assert await loop.sock_sendto(one, b"ping", two.getsockname()) == 4
            assert await task == (b"ping", one.getsockname())
            buffer = bytearray(10)
            task = await waiting(loop.sock_recvfrom_into(one, buffer))
            await loop.sock_sendto(two, b"pong", one.getsockname())
            assert await task == (4, two.getsockname())
            assert buffer[:4] == b"pong"
        with pair(socket.SOCK_DGRAM) as (ours, theirs):
            theirs.send(b"")
            assert await loop.sock_recvfrom(ours, 10) == (b"", None)
            data = bytes(1000)
            count = 0
            while True:
                task = started(loop.sock_sendall(ours, data))
                for _ in range(3):
                    await asyncio.sleep(0)
                if not task.done():
                    break
                count += 1
            for _ in range(count):
                assert await loop.sock_recv(theirs, 2000) == data
            await task
            assert await loop.sock_recv(theirs, 2000) == data

    run(main())


def test_a_cancelled_transfer_has_moved_nothing() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            for _ in range(3):
                task = await waiting(loop.sock_recv(ours, 100))
                task.cancel()
                theirs.send(b"kept")  # In the same turn: before the task knows.
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await loop.sock_recv(ours, 100) == b"kept"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await loop.sock_recv(ours, 100)
            task = await waiting(loop.sock_recv(ours, 100))
            theirs.send(b"after")
            assert await task == b"after"

    run(main())


def test_a_cancelled_transfer_lets_the_socket_close() -> None:
    """The ring's poll would hold the file: the other end would wait for its end in vain."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            task = await waiting(loop.sock_recv(ours, 100))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ours.close()
            assert await loop.sock_recv(theirs, 10) == b""

    run(main())


def test_a_socket_closed_meanwhile_is_not_read_under_its_number() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs), pair() as (other, peer):
            number = ours.fileno()
            task = await waiting(loop.sock_recv(ours, 100))
            ours.close()
            moved = socket.socket(fileno=other.detach())
            with moved:
                again = socket.fromfd(moved.fileno(), moved.family, moved.type)
                with again:
                    assert again.fileno() == number  # The least that is free.
                    peer.send(b"for another one")
                    theirs.close()  # Which the ring's poll still sees.
                    if os.environ.get("SPARGIO_BACKEND") == "epoll":
                        await asyncio.sleep(0.01)  # In which it might be read.
                        task.cancel()  # epoll forgets a socket that was closed, as asyncio's does.
                    with pytest.raises((OSError, asyncio.CancelledError)) as caught:
                        await task
                    if caught.type is not asyncio.CancelledError:
                        assert "Bad file descriptor" in str(caught.value)
                    assert again.recv(100) == b"for another one"

    run(main())


def test_two_receive_from_one_socket() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            tasks = [await waiting(loop.sock_recv(ours, 1)) for _ in range(3)]
            theirs.send(b"abc")
            assert sorted([await task for task in tasks]) == [b"a", b"b", b"c"]

    run(main())


def test_what_a_transport_uses_is_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected()
        sock = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(sock, 10)
        transport.abort()
        await protocol.closed
        theirs.close()
        with pair() as (ours, _):
            context = ssl.create_default_context()
            wrapped = context.wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
            with wrapped, pytest.raises(TypeError, match="SSLSocket"):
                await loop.sock_recv(wrapped, 10)
        with pair() as (ours, _):
            loop.set_debug(True)
            ours.setblocking(True)
            with pytest.raises(ValueError, match="must be non-blocking"):
                await loop.sock_recv(ours, 10)

    run(main())


def test_a_loop_that_stops_goes_on_with_its_transfers() -> None:
    from spargio.asyncio import new_event_loop

    loop = new_event_loop()
    with pair() as (ours, theirs):
        task = loop.create_task(loop.sock_recv(ours, 100))
        loop.run_until_complete(asyncio.sleep(0))
        theirs.send(b"between two runs")
        assert loop.run_until_complete(task) == b"between two runs"
        task = loop.create_task(loop.sock_recv(ours, 100))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()
