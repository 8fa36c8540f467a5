"""An accept that goes on: each connection once, the rest waits, nothing is lost and nothing leaks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import support

import spargio
from spargio import RuntimeHandle, net

AHEAD = 0 if support.ON_EPOLL else 16
"""So many connections are taken in before the consumer asks for them."""


def clients(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), support.LIMIT_S) for _ in range(count)]


@pytest.mark.parametrize("options", list(support.BUILDER_OPTIONS.values()), ids=repr)
def test_each_connection_once(options: dict[str, object]) -> None:
    count = 200

    async def serve(stream: net.TcpStream) -> None:
        async with stream:
            while data := await stream.recv(100):
                await stream.write_all(data)

    async def main(handle: RuntimeHandle) -> None:
        async with (
            await net.TcpListener.bind("127.0.0.1", 0) as listener,
            spargio.TaskGroup() as group,
        ):
            port = listener.local_addr[1]
            made = spargio.spawn_blocking(clients, port, count)
            peers = []
            async with listener.incoming() as connections:
                async for stream, address in connections:
                    peers.append(address)
                    group.spawn(serve(stream))
                    if len(peers) == count:
                        break
            for n, sock in enumerate(await made):
                assert sock.getsockname() in peers
                sock.sendall(b"%d" % n)
                assert await spargio.spawn_blocking(sock.recv, 100) == b"%d" % n
                sock.close()
            assert len(set(peers)) == count

    spargio.run(main, **options)


def test_unix(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            await net.UnixListener.bind(tmp_path / "s") as listener,
            listener.incoming() as connections,
            await net.UnixStream.connect(tmp_path / "s") as ours,
        ):
            stream, _ = await anext(connections)
            async with stream:
                await ours.write_all(b"hello")
                assert await stream.recv(10) == b"hello"

    spargio.run(main)


def test_a_consumer_that_lags_and_what_it_leaves() -> None:
    """The ordinary accept takes over where it stopped: what it had taken in comes first."""

    async def main(handle: RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            async with listener.incoming() as connections:
                first = await spargio.spawn_blocking(clients, listener.local_addr[1], 1)
                before = len(support.descriptors())
                stream, _ = await anext(connections)
                await stream.close()
                socks = first + await spargio.spawn_blocking(clients, listener.local_addr[1], 100)
                await support.until(lambda: len(support.descriptors()) >= before + 100 + AHEAD)
                for _ in range(30):
                    stream, _ = await anext(connections)
                    await stream.close()
            peers = []
            for _ in range(101 - 1 - 30):
                stream, peer = await listener.accept(timeout=support.LIMIT_S)
                peers.append(peer)
                await stream.close()
            assert len(set(peers)) == 70
            for sock in socks:
                assert await spargio.spawn_blocking(sock.recv, 1) == b""
                sock.close()

    for _ in range(5):
        spargio.run(main, shards=2)


def test_time_limits_cancellation_and_close() -> None:
    async def wait_for_one(listener: net.TcpListener) -> None:
        async with listener.incoming() as connections:
            await anext(connections)

    async def main(handle: RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            async with listener.incoming() as connections:
                for _ in range(3):
                    with pytest.raises(TimeoutError), spargio.timeout(0.001):
                        await anext(connections)
                (sock,) = await spargio.spawn_blocking(clients, listener.local_addr[1], 1)
                stream, _ = await anext(connections)
                await stream.close()
                sock.close()
            job = handle.spawn_pinned(0, wait_for_one(listener))
            await support.in_flight(handle, 1)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            job = handle.spawn_pinned(1, wait_for_one(listener))
            await support.in_flight(handle, 1)
            await listener.close()
            with pytest.raises(spargio.ClosedError):
                await job

    spargio.run(main, shards=2)


def test_a_task_that_ends_without_leaving_it() -> None:
    async def careless(listener: net.TcpListener, kept: list[object]) -> None:
        connections = listener.incoming()
        kept.append(connections)
        stream, _ = await anext(connections)
        await stream.close()

    async def main(handle: RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            for _ in range(10):
                kept: list[object] = []
                job = handle.spawn_pinned(0, careless(listener, kept))
                socks = await spargio.spawn_blocking(clients, listener.local_addr[1], 5)
                await job
                for sock in socks:
                    sock.close()
                kept.clear()

    spargio.run(main, shards=1)
