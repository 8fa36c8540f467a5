"""Datagram transports: UDP on IPv4 and IPv6, and Unix sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aio
import pytest

from spargio.asyncio import run


class Datagrams(asyncio.DatagramProtocol):
    """Keeps what came; `changed` wakes the one that waits for more."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data: list[bytes] = []
        self.addresses: list[Any] = []
        self.errors: list[Exception] = []
        self.changed = asyncio.Event()
        self.closed: asyncio.Future[BaseException | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.calls.append("made")
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.data.append(data)
        self.addresses.append(addr)
        self.changed.set()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.changed.set()

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")
        self.changed.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("lost")
        self.closed.set_result(exc)

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(aio.LIMIT_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def bound(factory: Callable[[], Any] = Datagrams, host: str = "127.0.0.1") -> Any:
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        factory, local_addr=(host, 0)
    )
    return protocol


async def connected_to(server: Any) -> Any:
    address = server.transport.get_extra_info("sockname")[:2]
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, remote_addr=address
    )
    return protocol


async def end(*protocols: Any) -> None:
    for protocol in protocols:
        protocol.transport.close()
        await protocol.closed


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_go_to_and_fro(host: str) -> None:
    async def main() -> None:
        server = await bound(host=host)
        client = await connected_to(server)
        assert isinstance(client.transport, asyncio.DatagramTransport)
        for n in range(100):
            client.transport.sendto(b"%d" % n)
            await server.until(lambda n=n: len(server.data) > n)
            server.transport.sendto(b"=" + server.data[n], server.addresses[n])
            await client.until(lambda n=n: len(client.data) > n)
        assert client.data == [b"=%d" % n for n in range(100)]
        ours = client.transport.get_extra_info("sockname")
        assert set(server.addresses) == {ours}
        assert client.transport.get_extra_info("peername") == server.transport.get_extra_info(
            "sockname"
        )
        await end(client, server)
        assert client.calls == ["made", "lost"]

    run(main())


def test_sizes_from_nothing_to_the_largest() -> None:
    sizes = [0, 1, 1472, 16 * 1024, 16 * 1024 + 1, 65507, 0]

    async def main() -> None:
        server = await bound()
        client = await connected_to(server)
        for n, size in enumerate(sizes):
            client.transport.sendto(bytes([n]) * size)
            await server.until(lambda n=n: len(server.data) > n)
        assert server.data == [bytes([n]) * size for n, size in enumerate(sizes)]
        client.transport.sendto(bytes(70_000))
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]
        await end(client, server)

    run(main())


def test_many_at_once_arrive_in_their_order() -> None:
    async def main() -> None:
        server = await bound()
        client = await connected_to(server)
        for n in range(100):
            client.transport.sendto(b"%d" % n)
        await server.until(lambda: len(server.data) == 100)
        assert server.data == [b"%d" % n for n in range(100)]
        await end(client, server)

    run(main())


def test_one_that_is_busy_leaves_turns_to_others() -> None:
    class Endless(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    async def main() -> None:
        one, two = await bound(Endless), await bound(Endless)
        one.transport.sendto(b"ball", two.transport.get_extra_info("sockname"))
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        server = await bound()
        other = await connected_to(server)
        await end(one, two, other, server)

    run(main())


def test_the_kernel_reports_that_nobody_listens() -> None:
    async def main() -> None:
        gone = await bound()
        client = await connected_to(gone)
        await end(gone)
        client.transport.sendto(b"anybody?")
        await client.until(lambda: client.errors)
        assert isinstance(client.errors[0], ConnectionRefusedError)
        assert not client.transport.is_closing()
        # The socket is of use as before.
        again = await asyncio.get_running_loop().create_datagram_endpoint(
            Datagrams, local_addr=client.transport.get_extra_info("peername")
        )
        client.transport.sendto(b"now")
        await again[1].until(lambda: again[1].data)
        await end(client, again[1])

    run(main())


@pytest.mark.skipif(
    os.environ.get("SPARGIO_BACKEND") == "epoll", reason="epoll forgets a socket that was closed"
)
def test_a_socket_closed_under_its_transport_ends_it() -> None:
    async def main() -> None:
        server = await bound()
        client = await connected_to(server)
        client.transport._sock.close()
        client.transport.sendto(b"x")
        assert [error.errno for error in client.errors] == [errno.EBADF]
        server.transport.sendto(b"wake up", client.transport.get_extra_info("sockname"))
        error = await client.closed
        assert isinstance(error, OSError) and error.errno == errno.EBADF
        await end(server)

    run(main())


def test_names_are_looked_up_and_wrong_addresses_are_errors() -> None:
    async def main() -> None:
        server, client = await bound(), await bound()
        port = server.transport.get_extra_info("sockname")[1]
        client.transport.sendto(b"by name", ("localhost", port))
        client.transport.sendto(data=b"by keyword", addr=("127.0.0.1", port))
        await server.until(lambda: len(server.data) == 2)
        assert server.data == [b"by name", b"by keyword"]
        with pytest.raises(TypeError, match="bytes-like object, not 'str'"):
            client.transport.sendto("text", ("127.0.0.1", port))
        with pytest.raises(TypeError, match="arguments data and addr"):
            client.transport.sendto(b"", ("127.0.0.1", port), 3)
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, it: reported.append(it))
        client.transport.sendto(b"", ("127.0.0.1", 1 << 16))  # As in asyncio, it ends.
        assert isinstance(await client.closed, OverflowError)
        assert reported[0]["message"] == "Fatal write error on datagram transport"
        await end(server)

    run(main())


def test_one_with_a_remote_address_sends_nowhere_else() -> None:
    async def main() -> None:
        server = await bound()
        address = server.transport.get_extra_info("sockname")
        client = await connected_to(server)
        client.transport.sendto(b"the same", (address[0], address[1]))
        with pytest.raises(ValueError, match="must be None or"):
            client.transport.sendto(b"x", ("127.0.0.1", 9))
        await server.until(lambda: server.data)
        await end(client, server)

    run(main())


def test_broadcast() -> None:
    """With allow_broadcast the socket is not connected: each datagram is addressed."""

    async def main() -> None:
        server = await bound(host="0.0.0.0")
        port = server.transport.get_extra_info("sockname")[1]
        _, client = await asyncio.get_running_loop().create_datagram_endpoint(
            Datagrams, remote_addr=("127.255.255.255", port), allow_broadcast=True
        )
        assert client.transport.get_extra_info("peername") is None
        client.transport.sendto(b"all")
        await server.until(lambda: server.data)
        await end(client, server)

    run(main())


# ---- Unix sockets ----


def test_unix_datagrams(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("one", "two")]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, one = await loop.create_datagram_endpoint(
            Datagrams, local_addr=paths[0], family=socket.AF_UNIX
        )
        _, two = await loop.create_datagram_endpoint(
            Datagrams, local_addr=paths[1], family=socket.AF_UNIX
        )
        one.transport.sendto(bytes(100_000), paths[1])
        await two.until(lambda: two.data)
        assert (len(two.data[0]), two.addresses) == (100_000, [paths[0]])
        two.transport.sendto(b"back", two.addresses[0])
        await one.until(lambda: one.data)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            nameless.sendto(b"who?", paths[0])
        await one.until(lambda: len(one.data) == 2)
        assert one.addresses == [paths[1], None]
        await end(one, two)

    run(main())


async def pair(high: int | None = None) -> tuple[Any, socket.socket]:
    """A transport on one end of a pair of Unix sockets, and the other one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    theirs.setblocking(False)
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, sock=ours)
    if high is not None:
        protocol.transport.set_write_buffer_limits(high=high, low=high // 2)
    return protocol, theirs


def fill(protocol: Any, data: bytes = bytes(1000)) -> int:
    """Sends until the socket takes no more; how many went out."""
    count = 0
    while protocol.transport.get_write_buffer_size() == 0:
        protocol.transport.sendto(data)
        count += 1
    return count - 1


def test_flow_control_at_the_marks() -> None:
    async def main() -> None:
        protocol, theirs = await pair(high=1 << 20)
        transport = protocol.transport
        assert transport.get_write_buffer_limits() == (1 << 19, 1 << 20)
        count = fill(protocol)
        size = transport.get_write_buffer_size()
        assert size == 1008  # Eight bytes for each datagram, as in asyncio.
        transport.set_write_buffer_limits(high=size + 18, low=size)
        transport.sendto(bytearray(10))
        assert protocol.calls == ["made"]  # At the mark: not above it.
        transport.sendto(b"")
        assert protocol.calls == ["made", "pause"]
        received = []
        while "resume" not in protocol.calls:
            received.append(await asyncio.get_running_loop().sock_recv(theirs, 4096))
            await asyncio.sleep(0)
        while len(received) < count + 3:
            received.append(await asyncio.get_running_loop().sock_recv(theirs, 4096))
        assert received == [bytes(1000)] * (count + 1) + [bytes(10), b""]
        assert transport.get_write_buffer_size() == 0
        assert protocol.calls == ["made", "pause", "resume"]
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)
        theirs.close()
        await end(protocol)

    run(main())


def test_close_sends_what_waits_and_abort_drops_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol, theirs = await pair()
        count = fill(protocol)
        buffer = bytearray(b"last")
        protocol.transport.sendto(buffer)
        buffer[:] = b"late"  # A copy was kept.
        protocol.transport.close()
        assert protocol.transport.is_closing()
        await asyncio.sleep(0)
        assert not protocol.closed.done()
        received = [await loop.sock_recv(theirs, 4096) for _ in range(count + 2)]
        assert received[-1] == b"last"
        assert await protocol.closed is None
        theirs.close()

        protocol, theirs = await pair()
        count = fill(protocol)
        protocol.transport.abort()
        assert await protocol.closed is None
        assert protocol.transport.get_write_buffer_size() == 0
        for _ in range(count):
            theirs.recv(4096)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)  # Nothing of what waited.
        theirs.close()

    run(main())


def test_sends_after_the_end_are_told_once_they_are_many(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        protocol, theirs = await pair()
        protocol.transport.close()
        protocol.transport.close()
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(10):
                protocol.transport.sendto(b"x")
        await protocol.closed
        protocol.transport.sendto(b"x")
        protocol.transport.abort()
        theirs.close()
        assert "closed" in repr(protocol.transport)

    run(main())
    assert "socket.send() raised exception." in caplog.text


# ---- protocols that fail, and loops that stop ----


def test_what_a_protocol_raises_goes_to_the_handler_and_the_transport_stays() -> None:
    class Failing(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"bad":
                raise LookupError("not today")

    async def main() -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, it: reported.append(it))
        server = await bound(Failing)
        client = await connected_to(server)
        for data in (b"bad", b"good"):
            client.transport.sendto(data)
        await server.until(lambda: len(server.data) == 2)
        assert isinstance(reported[0]["exception"], LookupError)
        await end(client, server)

    run(main())


def test_a_protocol_ends_the_run_by_system_exit() -> None:
    class Leaving(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            raise SystemExit(5)

    async def main() -> None:
        server = await bound(Leaving)
        client = await connected_to(server)
        client.transport.sendto(b"go")
        try:
            await server.closed
        finally:
            client.transport.abort()
            server.transport.abort()

    with pytest.raises(SystemExit, match="5"):
        run(main())


def test_another_protocol_takes_over() -> None:
    async def main() -> None:
        server = await bound()
        client = await connected_to(server)
        second = Datagrams()
        server.transport.set_protocol(second)
        assert server.transport.get_protocol() is second
        client.transport.sendto(b"to the second")
        await second.until(lambda: second.data)
        assert server.data == []
        server.transport.close()
        await second.closed
        await end(client)

    run(main())


def test_a_loop_that_stops_goes_on_with_its_transports() -> None:
    from spargio.asyncio import new_event_loop

    loop = new_event_loop()
    server = loop.run_until_complete(bound())
    client = loop.run_until_complete(connected_to(server))
    client.transport.sendto(b"between two runs")
    loop.run_until_complete(server.until(lambda: server.data))
    loop.run_until_complete(end(client, server))
    loop.close()
