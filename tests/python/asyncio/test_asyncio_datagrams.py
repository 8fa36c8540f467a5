"""Datagrams on the asyncio loop: empty ones, refusals, Unix addresses."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aio
import pytest

from spargio.asyncio import run


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[BaseException] = []
        self.calls: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.received.append((data, address))

    def error_received(self, error: BaseException) -> None:
        self.errors.append(error)

    def connection_lost(self, error: BaseException | None) -> None:
        self.closed.set_result(error)


def test_datagrams_empty_ones_and_refusals() -> None:
    """An empty datagram is no end; a refusal goes to error_received() and the transport lives."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, inbox = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, answers = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", address)  # asyncio's sendto() itself sends none before 3.13.
        await aio.until(lambda: inbox.received)
        for data in (b"x", b"y" * 1400, b"z"):
            client.sendto(data)
        await aio.until(lambda: len(inbox.received) == 4)
        assert [data for data, _ in inbox.received] == [b"", b"x", b"y" * 1400, b"z"]
        back = inbox.received[1][1]
        server.sendto(b"answer", back)
        await aio.until(lambda: answers.received)
        assert answers.received == [(b"answer", address)]
        with pytest.raises(ValueError, match="Invalid address"):
            client.sendto(b"x", ("127.0.0.1", 1))
        server.close()
        assert await inbox.closed is None
        client.sendto(b"x")
        await aio.until(lambda: answers.errors)
        assert isinstance(answers.errors[0], ConnectionRefusedError)
        assert not client.is_closing()
        again, inbox = await loop.create_datagram_endpoint(Datagrams, local_addr=address)
        client.sendto(b"alive")
        await aio.until(lambda: inbox.received)
        client.abort()
        again.close()
        await asyncio.gather(answers.closed, inbox.closed)

    run(main())


@pytest.mark.parametrize("abstract", (False, True), ids=("path", "abstract"))
def test_unix_datagrams(abstract: bool, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        prefix = "\0" + str(tmp_path) if abstract else str(tmp_path)
        names = [f"{prefix}/{n}" for n in range(2)]
        ends = []
        for name in names:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(name)
            ends.append(await loop.create_datagram_endpoint(Datagrams, sock=sock))
        ends[0][0].sendto(b"hello", names[1])
        await aio.until(lambda: ends[1][1].received)
        data, sender = ends[1][1].received[0]
        assert data == b"hello"
        assert (sender.encode() if isinstance(sender, str) else sender) == names[0].encode()
        for transport, protocol in ends:
            transport.close()
            await protocol.closed

    run(main())
