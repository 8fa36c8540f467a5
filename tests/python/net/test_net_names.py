"""Names: how they are resolved, which of their addresses wins, what a failure says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import support

import spargio
from spargio import net

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


def test_a_name_is_resolved_and_connected_to() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.TcpListener.bind("localhost", 0) as listener:
            port = listener.local_addr[1]
            accepted = handle.spawn_stealable(listener.accept())
            async with await net.TcpStream.connect("localhost", port) as stream:
                await stream.write_all(b"hello")
                peer, address = await accepted
                assert await peer.recv(10) == b"hello"
                assert address[:2] == stream.local_addr[:2]
                await peer.close()

    run(main)


def test_a_name_that_nobody_knows() -> None:
    async def main() -> None:
        for call in (net.TcpStream.connect, net.TcpListener.bind, net.UdpSocket.bind):
            with pytest.raises(socket.gaierror, match="no-such-host.invalid"):
                await call("no-such-host.invalid", 80)
        for wrong in ("", "a\0b"):
            with pytest.raises(ValueError, match="host must"):
                await net.TcpStream.connect(wrong, 80)

    run(main)


def test_a_slow_resolver_blocks_no_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(*arguments: object) -> Any:
        assert gate.wait(support.LIMIT_S)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(spargio.current_shard(), net.resolve("slow.example", 80))
        for _ in range(100):
            await spargio.sleep(0)
        assert not job.done()
        gate.set()
        with pytest.raises(socket.gaierror, match="slow.example"):
            await job

    run(main)


def found(*addresses: tuple[int, Any]) -> Any:
    return lambda *_: [(family, 0, 0, "", address) for family, address in addresses]


def test_addresses_take_turns_by_family(monkeypatch: pytest.MonkeyPatch) -> None:
    v4 = [(socket.AF_INET, (f"10.0.0.{n}", 80)) for n in range(3)]
    v6 = [(socket.AF_INET6, (f"fd00::{n}", 80, 0, 0)) for n in range(2)]
    monkeypatch.setattr(socket, "getaddrinfo", found(*v6, *v4))

    async def main() -> None:
        assert await net.resolve("x.example", 80) == [v6[0], v4[0], v6[1], v4[1], v4[2]]
        assert await net.resolve("10.1.1.1", 80) == [(socket.AF_INET, ("10.1.1.1", 80))]

    run(main)


def test_the_race_goes_on_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        good, bad = server.getsockname(), closed.getsockname()
        monkeypatch.setattr(
            socket, "getaddrinfo", found((socket.AF_INET, bad), (socket.AF_INET, good))
        )

        async def main() -> None:
            async with await net.TcpStream.connect("x.example", 80) as stream:
                assert stream.peer_addr == good

        run(main)


def test_the_race_does_not_wait_for_an_address_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A listener whose queue is full answers nothing; the second address is tried beside it."""
    with socket.socket() as silent, socket.create_server(("127.0.0.1", 0)) as server:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for one in fill:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        silent_addr, good = silent.getsockname(), server.getsockname()
        monkeypatch.setattr(
            socket, "getaddrinfo", found((socket.AF_INET, silent_addr), (socket.AF_INET, good))
        )
        before = len(support.descriptors())

        async def main() -> None:
            with spargio.timeout(support.LIMIT_S):
                async with await net.TcpStream.connect("x.example", 80) as stream:
                    assert stream.peer_addr == good
            with pytest.raises(TimeoutError):
                await net.TcpStream.connect_addr(silent_addr, timeout=0.05)

        run(main)
        assert len(support.descriptors()) == before
        for one in fill:
            one.close()


def test_where_all_addresses_fail_the_first_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
        addresses = [(socket.AF_INET, sock.getsockname()) for sock in (one, other)]
        monkeypatch.setattr(socket, "getaddrinfo", found(*addresses))
        port = one.getsockname()[1]

        async def main() -> None:
            with pytest.raises(ConnectionRefusedError) as caught:
                await net.TcpStream.connect("x.example", 80)
            assert caught.value.filename == f"127.0.0.1:{port}"

        run(main)


def test_accept_has_a_time_limit() -> None:
    async def main() -> None:
        async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
            with pytest.raises(TimeoutError):
                await listener.accept(timeout=0.01)
            async with await net.TcpStream.connect(*listener.local_addr) as stream:
                peer, address = await listener.accept(timeout=support.LIMIT_S)
                assert address == stream.local_addr
                await peer.close()

    run(main)
