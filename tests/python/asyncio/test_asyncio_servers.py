"""Servers of the asyncio loop, and the names that they are found by."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import aio
import pytest

from spargio.asyncio import run

# ---- servers ----


def test_a_server_waits_for_its_connections_and_can_end_them() -> None:
    if sys.version_info < (3, 13):
        pytest.skip("asyncio has close_clients() since 3.13")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for how in ("close_clients", "abort_clients"):
            made: list[aio.Recorder] = []

            def factory(made: list[aio.Recorder] = made) -> aio.Recorder:
                made.append(aio.Recorder())
                return made[-1]

            server = await loop.create_server(factory, "127.0.0.1", 0)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                await aio.until(lambda made=made: made and made[0].calls == ["made"])
                if how == "abort_clients":
                    made[0].transport.write(bytes(1 << 23))
                server.close()
                waiting = asyncio.ensure_future(server.wait_closed())
                await asyncio.sleep(0.005)
                assert not waiting.done()
                getattr(server, how)()
                await asyncio.wait_for(waiting, aio.LIMIT_S)
                assert made[0].calls == ["made", "lost"]
                client.close()

    run(main())


def test_serve_forever_ends_with_its_server() -> None:
    async def main() -> None:
        server = await asyncio.start_server(aio.echo, "127.0.0.1", 0)
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        assert server.is_serving()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(serving, aio.LIMIT_S)
        await asyncio.wait_for(server.wait_closed(), aio.LIMIT_S)
        assert not server.is_serving() and server.sockets == ()

    run(main())


def test_a_server_that_does_not_serve_yet_accepts_later() -> None:
    async def main() -> None:
        server = await asyncio.start_server(aio.echo, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        address = server.sockets[0].getsockname()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        await server.start_serving()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_two_servers_share_a_port() -> None:
    async def main() -> None:
        first = await asyncio.start_server(aio.echo, "127.0.0.1", 0, reuse_port=True)
        port = first.sockets[0].getsockname()[1]
        second = await asyncio.start_server(aio.echo, "127.0.0.1", port, reuse_port=True)
        with pytest.raises(OSError, match="ddress already in use"):
            await asyncio.start_server(aio.echo, "127.0.0.1", port)
        for one in (first, second):
            one.close()
            await one.wait_closed()

    run(main())


def test_a_unix_server_cleans_up_its_own_socket_alone(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        server = await asyncio.start_unix_server(aio.echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"x" * 100_000)
        assert await reader.readexactly(100_000) == b"x" * 100_000
        assert writer.get_extra_info("peername") == str(path)
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        assert path.exists() == (sys.version_info < (3, 13))
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(aio.echo, path)
        path.unlink()
        path.write_text("another's")
        server.close()
        await server.wait_closed()
        assert path.read_text() == "another's"

    run(main())


def test_a_socket_is_handed_in_and_taken_out_again() -> None:
    """The transport's own information; and a duplicate lives on after the transport's end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            server = await asyncio.start_server(aio.echo, sock=listener.dup())
            sock = socket.create_connection(listener.getsockname())
            sock.setblocking(False)
            transport, protocol = await loop.create_connection(aio.Recorder, sock=sock)
            assert transport.get_extra_info("sockname") == sock.getsockname()
            assert transport.get_extra_info("peername") == listener.getsockname()
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
            assert transport.get_extra_info("nothing", 5) == 5
            assert isinstance(transport, asyncio.Transport)
            copy = sock.dup()
            transport.close()
            await protocol.closed
            assert sock.fileno() == -1
            await loop.sock_sendall(copy, b"again")
            assert await loop.sock_recv(copy, 10) == b"again"
            copy.close()
            server.close()
            await server.wait_closed()
            with pytest.raises(RuntimeError, match="is used by transport"):
                transport, protocol, theirs = await aio.connected()
                try:
                    await loop.sock_recv(transport.get_extra_info("socket")._sock, 1)
                finally:
                    transport.close()
                    await protocol.closed
                    theirs.close()

    run(main())


# ---- names ----


def test_a_transport_tells_its_socket_and_names_after_the_end_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[aio.Recorder] = []

        def factory() -> aio.Recorder:
            made.append(aio.Recorder())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        await aio.until(lambda: len(made) == 3)
        names = [one.getsockname() for one in clients]
        numbers = [one.transport.get_extra_info("socket").fileno() for one in made[:2]]
        assert len({*numbers, *(one.fileno() for one in clients)}) == 5
        for one in clients:
            one.close()
        for one in made:
            await one.closed
            transport = one.transport
            assert transport.get_extra_info("sockname") == address
            assert transport.get_extra_info("peername") in names
            assert transport.get_extra_info("socket").fileno() == -1
            assert transport.get_extra_info("socket") is transport.get_extra_info("socket")
            assert sorted(transport._extra) == ["peername", "socket", "sockname"]
        server.close()
        await server.wait_closed()

    run(main())


def test_a_number_is_free_again_after_its_transport() -> None:
    """Closed, dropped unclosed, or closed behind it: `sock_*` may have the number's next socket."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()

        def transports() -> int:
            found: int = loop.stats_snapshot().transports
            return found

        before = transports()
        for how in ("close", "drop", "behind"):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            transport, protocol = await loop.create_connection(aio.Recorder, sock=ours)
            assert transports() == before + 1
            number = ours.fileno()
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(ours, 1)
            if how == "close":
                transport.close()  # A transport that is closing does not count.
                theirs.send(b"x")
                assert await loop.sock_recv(ours, 1) == b"x"
                await protocol.closed
            elif how == "drop":
                transport.pause_reading()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ResourceWarning)
                    del transport, protocol
                    await aio.until(lambda: gc.collect() >= 0 and transports() == before)
            else:
                transport.pause_reading()
                await asyncio.sleep(0)
                transport.abort()
                ours.close()
            again, peer = socket.socketpair()
            assert number in (again.fileno(), peer.fileno())
            if again.fileno() != number:
                again, peer = peer, again
            again.setblocking(False)
            if how == "behind":
                _, other = await loop.create_connection(aio.Recorder, sock=again)
                await protocol.closed  # The older one does not take the newer one's place away.
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.sock_recv(again, 1)
                other.transport.abort()
                await other.closed
            else:
                peer.send(b"y")
                assert await loop.sock_recv(again, 1) == b"y"
            assert transports() == before
            for one in (again, peer, theirs, ours):
                one.close()

    run(main())


@pytest.mark.parametrize("host", ("127.0.0.1", b"127.0.0.1", "", None, "0", "127.1", "localhost"))
@pytest.mark.parametrize("port", (80, "80", b"80", None, 0))
@pytest.mark.parametrize("kind", (0, socket.SOCK_STREAM, socket.SOCK_DGRAM))
def test_names_are_resolved_as_by_the_system(host: Any, port: Any, kind: int) -> None:
    def outcome(function: Any) -> Any:
        try:
            return function()
        except OSError as error:
            return type(error), error.errno

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=kind, family=socket.AF_INET)

    wanted = outcome(lambda: socket.getaddrinfo(host, port, socket.AF_INET, kind))
    assert outcome(lambda: run(main())) == wanted
