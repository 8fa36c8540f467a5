"""UDP sockets against plain sockets of Python."""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import support

import spargio
from spargio import net

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp_with_a_peer_of_pythons(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        peer = socket.socket(family, socket.SOCK_DGRAM)
        peer.bind((host, 0))
    except OSError as error:
        pytest.skip(f"no {host} here: {error}")
    peer.settimeout(support.LIMIT_S)

    async def main() -> None:
        async with await net.UdpSocket.bind(host) as sock:
            assert await sock.send_to(b"question", peer.getsockname()) == 8
            data, address = peer.recvfrom(100)
            assert (data, address) == (b"question", sock.local_addr)
            peer.sendto(b"answer", address)
            assert await sock.recv_from() == (b"answer", peer.getsockname())
            peer.sendto(b"", address)
            assert await sock.recv() == b""
            peer.sendto(b"0123456789", address)
            assert await sock.recv(4) == b"0123"  # The rest of a datagram is gone.
            with pytest.raises(OSError, match="Destination address required"):
                await sock.send(b"x")
            await sock.connect(host, peer.getsockname()[1])
            await sock.send(b"connected")
            assert peer.recvfrom(100)[0] == b"connected"
            assert sock.peer_addr == peer.getsockname()
            with pytest.raises(OSError, match="too long"):
                await sock.send_to(b"x" * 70_000, peer.getsockname())
            with pytest.raises(ValueError, match="port is 65536"):
                await sock.send_to(b"x", (host, 65536))

    with peer:
        run(main)


def test_many_datagrams_at_once() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await net.UdpSocket.bind("127.0.0.1") as server:

            async def serve() -> None:
                while True:
                    data, address = await server.recv_from()
                    await server.send_to(data[::-1], address)

            async def ask(n: int) -> None:
                async with await net.UdpSocket.bind("127.0.0.1") as sock:
                    await sock.connect(*server.local_addr)
                    for k in range(50):
                        await sock.send(f"{n} {k}".encode())
                        assert await sock.recv() == f"{n} {k}".encode()[::-1]

            servers = [handle.spawn_stealable(serve()) for _ in range(4)]
            for job in [handle.spawn_stealable(ask(n)) for n in range(20)]:
                await job
            for job in servers:
                job.cancel()
                with pytest.raises(spargio.TaskCancelled):
                    await job

    spargio.run(main, shards=3)
