"""Descriptors and buffers under operations: nothing is closed twice, read by another, or lost."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
from collections.abc import Iterator
from typing import Any

import aio
import pytest

from spargio.asyncio import EventLoop, new_event_loop, run

# ---- numbers that are used again ----


def test_data_never_reaches_another_connection() -> None:
    """Closed with a receive under way, while the same number is given to the next connection."""

    async def main() -> None:
        for n in range(150):
            transport, protocol, theirs = await aio.connected()
            number = transport.get_extra_info("socket").fileno()
            theirs.send(b"old")
            transport.abort() if n % 2 else transport.close()
            await protocol.closed
            again, other, peer = await aio.connected()
            reused = again.get_extra_info("socket").fileno()
            peer.send(b"new")
            await aio.until(lambda other=other: other.data)
            assert other.data == b"new", (number, reused)
            again.abort()
            await other.closed
            theirs.close()
            peer.close()

    run(main())


def test_a_mutable_buffer_is_the_callers_again_after_write() -> None:
    async def main() -> None:
        transport, protocol, theirs = await aio.connected()
        transport.set_write_buffer_limits(high=1 << 30)
        block = bytearray(b"a" * 300_000)
        expected = bytearray()
        for letter in b"abcdef":
            block[:] = bytes([letter]) * len(block)
            expected += block
            transport.write(block if letter % 2 else memoryview(block))
        block[:] = b"z" * len(block)
        got = bytearray()
        loop = asyncio.get_running_loop()
        while len(got) < len(expected):
            got += await loop.sock_recv(theirs, 1 << 20)
        assert got == expected
        transport.close()
        await protocol.closed
        theirs.close()

    run(main())


def test_a_socket_closed_behind_the_loops_back_breaks_only_its_own_transport() -> None:
    async def main() -> None:
        _, protocol, theirs = await aio.connected()
        other, second, peer = await aio.connected()
        theirs.close()
        await protocol.closed
        peer.send(b"x")
        await aio.until(lambda: second.data)
        other.abort()
        await second.closed
        peer.close()

    run(main())


# ---- connections that are cancelled half-way ----


def test_a_cancelled_connection_closes_its_socket_once() -> None:
    """With a socket handed in, and with one of its own; the number is not closed again later."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = aio.descriptors()
        for n in range(60):
            ours, theirs = socket.socketpair()
            task = asyncio.ensure_future(loop.create_connection(aio.Recorder, sock=ours))
            for _ in range(n % 4):
                await asyncio.sleep(0)
            task.cancel()
            try:
                transport, protocol = await task
            except asyncio.CancelledError:
                pass
            else:
                transport.abort()
                await protocol.closed
            canary = os.open("/dev/null", os.O_RDONLY)  # Likely the number that was just freed.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ours.close()
            os.fstat(canary)
            os.close(canary)
            theirs.close()
        await aio.until(lambda: gc.collect() >= 0 and aio.descriptors() == before)

    run(main())


def test_a_cancelled_connect_closes_its_socket() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            fill = [socket.socket() for _ in range(4)]  # Then a connect has to wait.
            for one in fill:
                one.setblocking(False)
                one.connect_ex(address)
            before = aio.descriptors()
            for n in range(10):
                task = asyncio.ensure_future(loop.create_connection(aio.Recorder, *address))
                await asyncio.sleep(0.001 * n)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert aio.descriptors() == before
            for one in fill:
                one.close()

    run(main())


def test_a_refused_connection_is_an_error_and_leaves_nothing() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = aio.descriptors()
        for _ in range(10):
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(aio.Recorder, "127.0.0.1", aio.refused_port())
        assert aio.descriptors() == before

    run(main())


def test_a_protocol_that_cannot_be_made_leaves_nothing() -> None:
    def broken() -> Any:
        raise LookupError("no protocol")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(aio.Recorder, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        before = aio.descriptors()
        for _ in range(10):
            with pytest.raises(LookupError):
                await loop.create_connection(broken, "127.0.0.1", port)
        gc.collect()
        await aio.until(lambda: gc.collect() >= 0 and aio.descriptors() <= before)
        server.close()
        await server.wait_closed()

    run(main())


# ---- listeners ----


@pytest.fixture
def few_descriptors() -> Iterator[int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_listener_survives_a_lack_of_descriptors(few_descriptors: int) -> None:
    """accept() fails with EMFILE; the listener waits and goes on, and the limit is not touched."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        await writer.drain()
        writer.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = socket.socket()
        client.setblocking(False)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        limit = (highest + 2, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        await loop.sock_connect(client, address)
        await aio.until(lambda: told)
        assert "accept" in told[0]["message"]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == limit
        for number in held:
            os.close(number)
        await loop.sock_sendall(client, b"x")
        assert await asyncio.wait_for(loop.sock_recv(client, 1), aio.LIMIT_S) == b"x"
        client.close()
        server.close()
        await server.wait_closed()
        loop.set_exception_handler(None)

    run(main())


def test_a_listener_lives_on_after_idle_times_and_floods() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[aio.Recorder] = []

        def factory() -> aio.Recorder:
            made.append(aio.Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0, backlog=200)
        address = server.sockets[0].getsockname()
        for count in (1, 150, 1, 150):
            made.clear()
            clients = [socket.create_connection(address) for _ in range(count)]
            await aio.until(lambda count=count: len(made) == count)
            for one in clients:
                one.close()
            await aio.until(lambda: all(p.calls[-1:] == ["lost"] for p in made))
            await asyncio.sleep(0.02)
        server.close()
        await server.wait_closed()

    run(main())


# ---- a loop that is closed with all of it under way ----


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_closed_loop_gives_back_every_descriptor() -> None:
    async def main(kept: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            kept.append(await aio.connected())
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        kept += [ours, theirs, loop.create_task(loop.sock_recv(ours, 10))]
        loop.add_writer(theirs, lambda: None)
        await asyncio.sleep(0)

    before = aio.descriptors()
    for _ in range(5):
        loop = new_event_loop()
        loop.set_exception_handler(lambda _, context: None)  # The task that is pending.
        kept: list[Any] = []
        loop.run_until_complete(main(kept))
        loop.close()
        del loop
        kept.clear()
        gc.collect()
    assert aio.descriptors() == before


# ---- add_reader and add_writer ----


def test_a_watch_of_a_closed_socket_can_be_removed(loop: EventLoop) -> None:
    """By the object; the next socket with that number is watched on its own."""
    calls: list[str] = []

    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop.add_reader(ours, calls.append, "old")
        await asyncio.sleep(0)
        number = ours.fileno()
        ours.close()
        again, peer = socket.socketpair()
        if again.fileno() != number:
            again, peer = peer, again
        assert loop.remove_reader(ours)
        with pytest.raises(ValueError, match="Invalid file"):
            loop.remove_reader(ours)
        loop.add_reader(again, calls.append, "new")
        peer.send(b"x")
        await aio.until(lambda: calls)
        assert set(calls) == {"new"}
        assert loop.remove_reader(again)
        assert not loop.remove_reader(again)
        for one in (theirs, again, peer):
            one.close()

    loop.run_until_complete(main())


def test_a_watch_that_replaces_another_is_of_the_new_file(loop: EventLoop) -> None:
    """A program that closes and never removes: the number is another file's by then."""
    calls: list[str] = []

    async def main() -> None:
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        loop.add_reader(number, calls.append, "old")
        await asyncio.sleep(0.001)
        again, peer = socket.socketpair()
        os.dup2(again.fileno(), number)
        loop.add_reader(number, calls.append, "new")
        peer.send(b"x")
        await aio.until(lambda: calls)
        assert set(calls) == {"new"}
        loop.remove_reader(number)
        for one in (ours, theirs, again, peer):
            one.close()

    loop.run_until_complete(main())


def test_readers_and_writers_of_one_descriptor(loop: EventLoop) -> None:
    """With contexts, replaced and removed from within, and level-triggered."""
    calls: list[str] = []

    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop.add_reader(ours, calls.append, "read")
        loop.add_writer(ours, calls.append, "write")
        await aio.until(lambda: calls.count("write") > 3)
        assert loop.remove_writer(ours)
        count = calls.count("write")
        theirs.send(b"x")
        await aio.until(lambda: calls.count("read") > 3)
        assert calls.count("write") == count
        loop.add_reader(ours, lambda: (calls.append("last"), loop.remove_reader(ours)))
        await aio.until(lambda: "last" in calls)
        await asyncio.sleep(0.005)
        assert calls.count("last") == 1
        ours.close()
        theirs.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("wrong", (-1, 1 << 40))
def test_a_number_that_is_no_descriptor(loop: EventLoop, wrong: int) -> None:
    with pytest.raises((ValueError, OverflowError, OSError)):
        loop.add_reader(wrong, print)
    with pytest.raises(ValueError, match="Invalid file object"):
        loop.add_reader(object(), print)
    assert not loop.remove_reader(10**6)


def test_a_descriptor_that_is_not_open_is_told_at_once(loop: EventLoop) -> None:
    """epoll would refuse it: EBADF; and a plain file: EPERM."""
    number = os.open("/dev/null", os.O_RDONLY)
    os.close(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(number, print)
    assert not loop.remove_reader(number)
