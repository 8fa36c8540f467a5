"""Streams and listeners that are closed, by whom and when."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from typing import Any

import pytest
import support

import spargio
from spargio import net


@pytest.mark.parametrize("closer", [0, 1])
def test_a_close_ends_the_waits_of_other_tasks(options: dict[str, Any], closer: int) -> None:
    """On the closing task's own shard and on another one."""
    found: dict[str, type[BaseException]] = {}

    async def wait(name: str, operation: Callable[[], Any]) -> None:
        try:
            result = await operation()
        except BaseException as error:
            found[name] = type(error)
        else:
            raise AssertionError(f"{name} gave {result!r}")

    async def close(one: net.TcpStream | net.TcpListener) -> None:
        await one.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        last = handle.shard_count() - 1
        with support.peer() as (host, port, accept):
            waits: list[tuple[str, Any, Callable[[], Any]]] = []
            listener = await net.TcpListener.bind("127.0.0.1", 0)
            waits.append(("accept", listener, listener.accept))
            for name in ("recv", "recv_into", "read_exactly", "write_all"):
                stream, _remote = await support.connected(host, port, accept)
                arguments: dict[str, Any] = {
                    "recv": 10,
                    "recv_into": bytearray(10),
                    "read_exactly": 10,
                    "write_all": bytes(64 << 20),
                }
                waits.append(
                    (name, stream, lambda s=stream, n=name, a=arguments: getattr(s, n)(a[n]))
                )
            for name, one, operation in waits:
                job = handle.spawn_pinned(0, wait(name, operation))
                await support.in_flight(handle, 1)
                with spargio.timeout(support.LIMIT_S):
                    await handle.spawn_pinned(min(closer, last), close(one))
                    await job
                with pytest.raises(spargio.ClosedError):
                    await operation()

    spargio.run(main, **options)
    assert found == dict.fromkeys(
        ("accept", "recv", "recv_into", "read_exactly", "write_all"), spargio.ClosedError
    )


def test_a_closed_stream_and_listener() -> None:
    async def main() -> None:
        with support.peer() as (host, port, accept):
            stream, remote = await support.connected(host, port, accept)
            await stream.close()
            assert remote.recv(1) == b""
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        address = listener.local_addr
        await listener.close()
        for one in (stream, listener):
            await one.close()
            async with one:
                pass
        assert stream.fileno() == -1
        for call in (
            lambda: stream.recv(1),
            lambda: stream.recv(0),
            lambda: stream.recv_into(bytearray(1)),
            lambda: stream.read_exactly(1),
            lambda: stream.send(b"x"),
            lambda: stream.write_all(b"x"),
            stream.shutdown,
            listener.accept,
            listener.accept_round_robin,
        ):
            with pytest.raises(spargio.ClosedError):
                await call()
        for ask in (
            lambda: stream.set_nodelay(True),
            lambda: stream.local_addr,
            lambda: stream.peer_addr,
        ):
            with pytest.raises(spargio.ClosedError):
                ask()
        assert listener.local_addr == address

    spargio.run(main, shards=1)


def test_many_tasks_close_one_stream() -> None:
    async def close(stream: net.TcpStream) -> None:
        await stream.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        with support.peer() as (host, port, accept):
            for _ in range(20):
                stream, _remote = await support.connected(host, port, accept)
                for job in [handle.spawn_stealable(close(stream)) for _ in range(8)]:
                    await job
                assert stream.fileno() == -1

    spargio.run(main, shards=4)


def test_an_unclosed_socket_is_closed_with_a_warning() -> None:
    async def dropped(make: Callable[[], Any]) -> None:
        made = [await make()]
        await spargio.sleep(0)  # The task lets go of its last operation.
        with pytest.warns(ResourceWarning, match="unclosed spargio socket, descriptor") as caught:
            made.clear()
            gc.collect()
        assert len(caught) == 1

    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            port = listener.local_addr[1]
            await dropped(lambda: net.TcpStream.connect("127.0.0.1", port))
            await dropped(listener.accept)
        await dropped(lambda: net.TcpListener.bind("127.0.0.1", port))
        with pytest.raises(ConnectionRefusedError):
            await net.TcpStream.connect("127.0.0.1", port)

    spargio.run(main, shards=1)


def test_connections_come_and_go_without_a_leak() -> None:
    """With the leak check of every test: closed by us, by the peer, by a reset, by a cancellation."""

    async def session(stream: net.TcpStream) -> None:
        async with stream:
            try:
                while await stream.recv(100):
                    pass
            except ConnectionResetError:
                pass

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            for n in range(200):
                client = socket.create_connection(listener.local_addr)
                stream, _ = await listener.accept()
                job = handle.spawn_stealable(session(stream))
                if n % 4 == 0:
                    client.close()
                elif n % 4 == 1:
                    support.reset(client)
                elif n % 4 == 2:
                    await stream.close()
                    client.close()
                else:
                    job.cancel()
                    client.close()
                try:
                    with spargio.timeout(support.LIMIT_S):
                        await job
                except (spargio.TaskCancelled, spargio.ClosedError):
                    pass
                await stream.close()

    spargio.run(main, shards=2)
