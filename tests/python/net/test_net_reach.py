"""Where listeners are reached, where connections come from, and what is no connection."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import RuntimeHandle, net


@pytest.fixture(params=[pytest.param("io_uring", marks=support.needs_io_uring), "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ---- listeners ----

BOTH = ("::1", "127.0.0.1", "192.0.2.1", "127.0.0.1")
"""The third is no address of this machine."""


def resolver(*hosts: str) -> Any:
    def getaddrinfo(_host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0))
            if ":" in host
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in hosts
        ]

    return getaddrinfo


async def reaches(host: str, port: int, listeners: list[net.TcpListener]) -> None:
    stream = await net.TcpStream.connect(host, port)
    for listener in listeners:
        if listener.local_addr[0] in (stream.peer_addr[0], "::", "0.0.0.0") and (
            (":" in listener.local_addr[0]) == (":" in host)
        ):
            await (await listener.accept(timeout=support.LIMIT_S))[0].close()
    await stream.close()


@pytest.mark.parametrize("host", ["both.test", None, ""])
def test_all_addresses_with_one_port(host: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(*BOTH))

    async def main() -> None:
        listeners = await net.TcpListener.bind_all(host, 0)
        ports = {listener.local_addr[1] for listener in listeners}
        assert len(listeners) == 2
        assert len(ports) == 1
        for address in ("127.0.0.1", "::1"):
            await reaches(address, *ports, listeners)
        with pytest.raises(OSError, match="in use"):
            await net.TcpListener.bind_all(host, *ports)
        for listener in listeners:
            await listener.close()

    spargio.run(main, shards=1)


def test_no_address_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver("192.0.2.1"))

    async def main() -> None:
        with pytest.raises(OSError, match="assign requested address"):
            await net.TcpListener.bind_all("missing.test", 0)

    spargio.run(main, shards=1)


# ---- connections ----


def test_a_chosen_local_address(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            host, port = listener.local_addr
            local = ("127.0.0.2", 0)
            streams = [
                await net.TcpStream.connect(host, port, local_addr=local),
                await net.TcpStream.connect_addr((host, port), local_addr=local),
            ]
            given = socket.socket()
            given.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
            given.bind(local)
            streams.append(await net.TcpStream.connect_socket(given, (host, port)))
            assert given.fileno() == -1
            for stream in streams:
                accepted, address = await listener.accept()
                assert stream.local_addr[0] == "127.0.0.2"
                assert address == stream.local_addr
                assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                await accepted.close()
                await stream.close()
            with pytest.raises(OSError, match="family of local_addr"):
                await net.TcpStream.connect(host, port, local_addr=("::1", 0))
            with pytest.raises(OSError, match="192.0.2.1:0"):
                await net.TcpStream.connect(host, port, local_addr=("192.0.2.1", 0))
            with pytest.raises(TypeError, match="allowed is a socket.socket"):
                await net.TcpStream.connect_socket(7, (host, port))  # type: ignore[arg-type]

        path = tmp_path / "socket"
        async with await net.UnixListener.bind(path) as listener:
            name = b"\0spargio-%d" % os.getpid()
            stream = await net.UnixStream.connect(path, local_addr=name)
            bound = socket.socket(socket.AF_UNIX)
            bound.bind(name + b"2")
            other = await net.UnixStream.connect_socket(bound, path)
            for one, wanted in ((stream, name), (other, name + b"2")):
                accepted, address = await listener.accept()
                assert address == wanted
                await accepted.close()
                await one.close()

    spargio.run(main, shards=1, backend=backend)


def test_a_connect_to_itself_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's choice of a port, made here."""
    from spargio.net import _connect

    chosen: list[int] = []

    def bound(family: int, kind: int, local: object) -> socket.socket:
        made = socket.socket(family, kind)
        made.bind(("127.0.0.1", chosen[0]))
        return made

    async def main() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            chosen.append(free.getsockname()[1])
        itself = socket.socket()
        itself.bind(("127.0.0.1", chosen[0]))
        stream = await net.TcpStream.connect_socket(itself, itself.getsockname())
        assert stream.local_addr == stream.peer_addr  # It was asked for.
        stream.set_linger(0)
        await stream.close()
        monkeypatch.setattr(_connect, "bound", bound)
        with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{chosen[0]}"):
            await net.TcpStream.connect_addr(("127.0.0.1", chosen[0]))
        with socket.socket() as service:  # No TIME_WAIT keeps the port.
            service.bind(("127.0.0.1", chosen[0]))

    spargio.run(main, shards=1, backend=backend)


@pytest.mark.parametrize("given", [False, True], ids=["connect", "a nonblocking socket"])
def test_a_full_backlog_ends_by_a_limit_and_goes_on(
    backend: str, given: bool, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")

    def connect(timeout: float | None = None) -> Any:
        if not given:
            return net.UnixStream.connect(path, timeout=timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        return net.UnixStream.connect_socket(sock, path, timeout=timeout)

    async def main(handle: RuntimeHandle) -> None:
        async with await net.UnixListener.bind(path, backlog=0) as listener:
            held = [await net.UnixStream.connect(path)]
            with pytest.raises(TimeoutError):
                await connect(0.05)
            waiting = handle.spawn_pinned(0, connect())
            await support.started(waiting)
            waiting.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await waiting
            waiting = handle.spawn_pinned(0, connect())
            await support.started(waiting)
            for _ in range(2):
                held.append((await listener.accept(timeout=support.LIMIT_S))[0])
            with spargio.timeout(support.LIMIT_S):
                held.append(await waiting)
            for stream in held:
                await stream.close()

    spargio.run(main, shards=1, backend=backend)


def test_ctrl_c_ends_a_connect_that_waits(backend: str) -> None:
    program = programs.start_program(
        f"""
        import tempfile, spargio
        from spargio import net

        async def main():
            path = tempfile.mkdtemp() + "/socket"
            async with await net.UnixListener.bind(path, backlog=0):
                async with await net.UnixStream.connect(path):
                    print("ready", flush=True)
                    await net.UnixStream.connect(path)

        try:
            spargio.run(main, shards=1, backend={backend!r})
        except KeyboardInterrupt:
            print("ended")
        """
    )
    with program as process:
        programs.interrupt(process)
        assert process.stdout is not None
        assert process.stdout.read() == "ended\n"


# ---- sockets that are not what they seem ----


def test_only_a_plain_socket_is_taken_over() -> None:
    class Logged(socket.socket):
        def send(self, *arguments: Any) -> int:
            raise AssertionError

    class Named(socket.socket):
        name = "a subclass that transfers as its parent does"

    one, other = socket.socketpair()
    with one, other:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        wrapped = context.wrap_socket(
            socket.socket(fileno=os.dup(one.fileno())), do_handshake_on_connect=False
        )
        with wrapped, Logged(fileno=os.dup(one.fileno())) as logged:
            for sock in (wrapped, logged):
                for kind in (net.UnixStream, net.TcpStream, net.UnixDatagram, net.UdpSocket):
                    with pytest.raises(TypeError, match="allowed is a plain socket.socket"):
                        kind.from_socket(sock)
                assert sock.fileno() >= 0
        with one.makefile("rb") as file:
            with pytest.raises(TypeError, match="allowed is a socket.socket"):
                net.UnixStream.from_socket(file)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="makefile"):
                net.UnixStream.from_socket(one)
        closed = socket.socket(socket.AF_UNIX)
        closed.close()
        with pytest.raises(ValueError, match="allowed is an open socket"):
            net.UnixStream.from_socket(closed)
        with socket.socket() as unused, pytest.raises(ValueError, match="does not listen"):
            net.TcpListener.from_socket(unused)

        async def main() -> None:
            named = Named(fileno=os.dup(one.fileno()))
            await net.UnixStream.from_socket(named).close()

        spargio.run(main, shards=1)


# ---- messages ----


def test_an_empty_message_is_a_message(backend: str) -> None:
    async def main() -> None:
        one = await net.UdpSocket.bind("127.0.0.1")
        other = await net.UdpSocket.bind("127.0.0.1")
        await one.connect(*other.local_addr)
        left, right = net.UnixDatagram.pair()
        async with one, other, left, right:
            with spargio.timeout(support.LIMIT_S):
                for sender, receiver in ((one, other), (left, right)):
                    for data in (b"", bytearray(), memoryview(b"")):
                        assert await sender.send(data) == 0
                        assert await receiver.recv() == b""
                    await sender.send(b"cut")
                    assert await receiver.recv(0) == b""  # Taken, and cut to nothing.
                    await sender.send(b"")
                    assert (await receiver.recv_from())[0] == b""
                assert await one.send_to(b"", other.local_addr) == 0
                assert await other.recv_from() == (b"", one.local_addr)
            stream, peer = net.UnixStream.pair()
            async with stream, peer:
                assert await stream.send(b"") == 0  # Of a stream it is nothing.
                await stream.write_all(b"")
                assert await peer.recv(0) == b""

    spargio.run(main, shards=1, backend=backend)


# ---- accepted and not taken ----


@pytest.mark.parametrize("count", [1, 40, 600])
def test_what_incoming_left_is_accepted_next(backend: str, count: int) -> None:
    """However many come in one pass, and however often the consumer is cut short."""

    async def main(handle: RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0, backlog=1024) as listener:
            served: list[Any] = []

            async def some() -> None:
                async with listener.incoming() as connections:
                    with spargio.timeout(0.001):
                        async for stream, address in connections:
                            served.append(address)
                            await stream.close()
                            await spargio.sleep(0.0001)

            waiting = handle.spawn_pinned(0, some())
            await support.started(waiting)
            clients = [socket.create_connection(listener.local_addr) for _ in range(count)]
            while len(served) < count:
                job = handle.spawn_pinned(len(served) % 2, some())
                for one in (waiting, job):
                    with contextlib.suppress(TimeoutError, RuntimeError):
                        await one
            for client in clients:
                assert client.getsockname() in served
                client.close()

    spargio.run(main, shards=2, backend=backend)


@support.needs_io_uring
def test_an_accept_that_waits_gets_what_another_shard_left() -> None:
    async def main(handle: RuntimeHandle) -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            taken: list[Any] = []

            async def first() -> None:
                async with listener.incoming() as connections:
                    stream, _ = await connections.__anext__()
                    taken.append(await stream.close())
                    # As many as there are, and more than is asked for.
                    await support.until(lambda: len(clients) == 8)
                    await spargio.yield_now()

            clients: list[socket.socket] = []
            job = handle.spawn_pinned(1, first())
            await support.in_flight(handle, 1)
            clients += [socket.create_connection(listener.local_addr) for _ in range(8)]
            await job
            for _ in range(7):
                stream, _ = await listener.accept(timeout=support.LIMIT_S)
                await stream.close()
            for client in clients:
                client.close()

    spargio.run(main, shards=2)
