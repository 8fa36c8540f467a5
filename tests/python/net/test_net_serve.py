"""net.serve: what clients do to one connection, or to the process, ends neither it nor the others."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import support

import spargio
from spargio import RuntimeHandle, io, net


@pytest.fixture(params=[pytest.param("io_uring", marks=support.needs_io_uring), "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def echo(stream: net.TcpStream) -> None:
    while data := await stream.recv(1000):
        if data == b"raise":
            raise ZeroDivisionError("of the handler")
        await stream.write_all(data)


async def listener_of_ours() -> net.TcpListener:
    return await net.TcpListener.bind("127.0.0.1", 0)


async def answered(stream: net.TcpStream, data: bytes = b"x") -> bool:
    await stream.write_all(data)
    return await stream.recv(1000) == data


async def waits(stream: net.TcpStream) -> bool:
    await stream.write_all(b"x")
    try:
        with spargio.timeout(0.02):
            await stream.recv(1000)
    except TimeoutError:
        return True
    return False


async def connect(listener: net.TcpListener, count: int) -> list[net.TcpStream]:
    return [await net.TcpStream.connect_addr(listener.local_addr) for _ in range(count)]


@contextlib.contextmanager
def few_files(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("drain", [support.LIMIT_S, None])
def test_it_stops_when_its_connections_have_ended(backend: str, drain: float | None) -> None:
    async def main(handle: RuntimeHandle) -> None:
        listener, stop = await listener_of_ours(), spargio.CancellationToken()
        serving = handle.spawn_pinned(0, net.serve(listener, echo, stop=stop, drain=drain))
        (client,) = await connect(listener, 1)
        assert await answered(client)
        stop.cancel()
        await support.until(lambda: listener.fileno() == -1)
        assert await answered(client)  # It is still served, and no other one is accepted.
        with pytest.raises(ConnectionRefusedError):
            await connect(listener, 1)
        assert not serving.done()
        await client.close()
        assert await serving is None

    spargio.run(main, shards=2, backend=backend)


def test_what_does_not_end_in_time_is_cancelled(backend: str) -> None:
    ends: list[type[BaseException]] = []

    async def stubborn(stream: net.TcpStream) -> None:
        try:
            await echo(stream)
        except BaseException as error:
            ends.append(type(error))
            raise

    async def main(handle: RuntimeHandle) -> None:
        listener, stop = await listener_of_ours(), spargio.CancellationToken()
        serving = handle.spawn_pinned(0, net.serve(listener, stubborn, stop=stop, drain=0.01))
        clients = await connect(listener, 3)
        for client in clients:
            assert await answered(client)
        stop.cancel()
        assert await serving is None
        assert ends == [spargio.CancelledError] * 3
        for client in clients:
            assert await client.recv(1) == b""
            await client.close()

    spargio.run(main, shards=2, backend=backend)


def test_a_cancellation_ends_all_at_once(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        listener = await listener_of_ours()
        serving = handle.spawn_pinned(0, net.serve(listener, echo))
        clients = await connect(listener, 3)
        for client in clients:
            assert await answered(client)
        serving.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await serving
        assert listener.fileno() == -1
        for client in clients:
            assert await client.recv(1) == b""
            await client.close()

    spargio.run(main, shards=2, backend=backend)


def test_a_listener_that_is_closed_is_a_stop(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        listener = await listener_of_ours()
        serving = handle.spawn_pinned(0, net.serve(listener, echo))
        (client,) = await connect(listener, 1)
        assert await answered(client)
        await listener.close()
        assert await answered(client)
        await client.close()
        assert await serving is None

    spargio.run(main, shards=2, backend=backend)


def test_several_listeners_share_the_room(backend: str, tmp_path: Any) -> None:
    async def main(handle: RuntimeHandle) -> None:
        one, stop = await listener_of_ours(), spargio.CancellationToken()
        other = await net.UnixListener.bind(tmp_path / "socket")
        serving = handle.spawn_pinned(
            0, net.serve([one, other], echo, max_connections=2, stop=stop, drain=0.01)
        )
        (first,) = await connect(one, 1)
        second = await net.UnixStream.connect(tmp_path / "socket")
        assert await answered(first)
        assert await answered(second)
        (third,) = await connect(one, 1)
        fourth = await net.UnixStream.connect(tmp_path / "socket")
        assert await waits(third)
        assert await waits(fourth)
        await first.close()
        await second.close()
        assert await third.recv(1) == b"x"
        assert await fourth.recv(1) == b"x"
        await third.close()
        await fourth.close()
        stop.cancel()
        await serving

    spargio.run(main, shards=2, backend=backend)


def test_what_clients_do_is_silent_and_bugs_are_told(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def lines(stream: net.TcpStream) -> None:
        async with spargio.TaskGroup() as group:
            group.spawn(stream.write_all(bytes(100_000_000)))
            async for line in io.BufReader(stream):
                if line == b"exactly\n":
                    await stream.read_exactly(10)
                if line == b"raise\n":
                    raise ZeroDivisionError("of the handler")

    async def main(handle: RuntimeHandle) -> None:
        listener, stop = await listener_of_ours(), spargio.CancellationToken()
        serving = handle.spawn_pinned(0, net.serve(listener, lines, stop=stop))
        for what in (b"reset", b"x" * 100_000, b"exactly\n123", b"raise\n"):
            with socket.create_connection(listener.local_addr, support.LIMIT_S) as client:
                await spargio.spawn_blocking(client.recv, 1)
                await spargio.spawn_blocking(client.sendall, what)
                with contextlib.suppress(OSError):  # It may be ended by now.
                    client.shutdown(socket.SHUT_WR)
                if what in (b"reset", b"exactly\n123"):
                    support.reset(client)
                    continue
                with contextlib.suppress(ConnectionResetError):
                    while await spargio.spawn_blocking(client.recv, 1 << 20):
                        pass
        stop.cancel()
        await serving

    with caplog.at_level(logging.DEBUG, logger="spargio"):
        spargio.run(main, shards=2, backend=backend)
    assert [record.getMessage() for record in caplog.records if record.name == "spargio.net"] == [
        f"{lines.__qualname__} failed for a connection, which is closed"
    ]
    assert "ZeroDivisionError: of the handler" in caplog.text


def test_a_hook_is_told_and_may_end_it(backend: str) -> None:
    told: list[tuple[type[Exception], bool]] = []

    def on_error(error: Exception, stream: net.Stream | None) -> None:
        told.append((type(error), stream is not None))
        if len(told) == 2:
            raise LookupError("enough")

    async def main(handle: RuntimeHandle) -> None:
        listener = await listener_of_ours()
        serving = handle.spawn_pinned(0, net.serve(listener, echo, on_error=on_error))
        (other,) = await connect(listener, 1)
        assert await answered(other)
        for _ in range(2):
            (client,) = await connect(listener, 1)
            await client.write_all(b"raise")
            assert await client.recv(1) == b""
            await client.close()
        with pytest.raises(Exception, match="unhandled errors") as caught:
            await serving
        assert [str(error) for error in caught.value.exceptions] == ["enough"]  # type: ignore[attr-defined]
        assert await other.recv(1) == b""
        await other.close()

    spargio.run(main, shards=2, backend=backend)
    assert told == [(ZeroDivisionError, True)] * 2


def test_it_waits_while_there_are_no_descriptors(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[OSError] = []
    arrived = threading.Event()

    def on_error(error: Exception, stream: net.Stream | None) -> None:
        assert isinstance(error, OSError)
        assert stream is None
        told.append(error)
        arrived.set()

    async def main(handle: RuntimeHandle) -> None:
        for hook in (on_error, None):
            listener, stop = await listener_of_ours(), spargio.CancellationToken()
            serving = handle.spawn_pinned(0, net.serve(listener, echo, on_error=hook, stop=stop))
            clients = [socket.create_connection(listener.local_addr) for _ in range(2)]
            for client in clients:
                client.settimeout(support.LIMIT_S)
                client.sendall(b"x")
                assert await spargio.spawn_blocking(client.recv, 1) == b"x"
            late = socket.socket()
            late.settimeout(support.LIMIT_S)
            with few_files(late.fileno() + 1):
                await spargio.spawn_blocking(late.connect, listener.local_addr)
                late.sendall(b"x")
                if hook is not None:
                    await spargio.spawn_blocking(arrived.wait, support.LIMIT_S)
                else:
                    await support.until(lambda: "ulimit -n" in caplog.text)
                clients[0].sendall(b"y")  # The others are served meanwhile.
                assert await spargio.spawn_blocking(clients[0].recv, 1) == b"y"
            assert await spargio.spawn_blocking(late.recv, 1) == b"x"
            for client in (*clients, late):
                client.close()
            stop.cancel()
            await serving

    with caplog.at_level(logging.WARNING, logger="spargio.net"):
        spargio.run(main, shards=1, backend=backend)
    assert {error.errno for error in told} == {errno.EMFILE}
    assert caplog.text.count("new connections wait") == 1


def test_more_connections_than_the_queue_of_a_shard_has_places(backend: str) -> None:
    async def main(handle: RuntimeHandle) -> None:
        listener, stop = await listener_of_ours(), spargio.CancellationToken()
        serving = handle.spawn_pinned(0, net.serve(listener, echo, stop=stop))
        clients = await connect(listener, 100)
        for client in clients:
            assert await answered(client)
        for client in clients:
            await client.close()
        stop.cancel()
        await serving

    spargio.run(main, shards=2, stealable_queue_capacity=64, backend=backend)


def test_it_ends_before_its_tasks_have_begun(backend: str) -> None:
    """What was accepted and given to a task that never began is closed, without a word."""

    began: list[net.TcpStream] = []

    async def begin(stream: net.TcpStream) -> None:
        began.append(stream)

    async def some_turns() -> None:
        for _ in range(50):
            await spargio.yield_now()

    with spargio.Runtime.builder().shards(2).backend(backend).build() as handle:
        limit = support.LIMIT_S
        listener = handle.spawn_pinned(0, listener_of_ours()).result(limit)
        place = spargio.TaskPlacement.Pinned(1)
        with support.Blocker(handle, 1):
            serving = handle.spawn_pinned(0, net.serve(listener, begin, placement=place))
            before = handle.stats_snapshot()
            clients = [socket.create_connection(listener.local_addr, limit) for _ in range(3)]

            def given() -> bool:
                return (
                    handle.stats_snapshot().spawn_pinned_submitted
                    >= before.spawn_pinned_submitted + 3
                )

            support.eventually(given)
            serving.cancel()
            support.eventually(lambda: handle.stats_snapshot().ops_in_flight == 0)
            handle.spawn_pinned(0, some_turns()).result(limit)  # It tells its children.
        with pytest.raises(spargio.TaskCancelled):
            serving.result(limit)
        assert began == []
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
            client.close()


def test_wrong_arguments_are_named() -> None:
    async def main() -> None:
        async with await listener_of_ours() as listener:
            for wrong, kind, text in (
                ((7, echo), TypeError, "'int' object is not iterable"),
                (([7], echo), TypeError, "a listener is 7: allowed is a TcpListener"),
                (([], echo), ValueError, "listeners is empty"),
                ((listener, None), TypeError, "handler is None: allowed is an async function"),
            ):
                with pytest.raises(kind, match=text):
                    await net.serve(*wrong)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="max_connections"):
                await net.serve(listener, echo, max_connections=0)

    spargio.run(main, shards=1)
