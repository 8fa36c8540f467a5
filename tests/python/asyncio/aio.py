"""What the tests of the asyncio loop share."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import support

LIMIT_S = float(support.LIMIT_S)


class Recorder(asyncio.Protocol):
    """Keeps what came; `closed` is set with the argument of connection_lost()."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.closed: asyncio.Future[BaseException | None]
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.calls.append("made")
        self.transport = transport
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.calls.append("data")
        self.data += data

    def eof_received(self) -> bool | None:
        self.calls.append("eof")
        return None

    def connection_lost(self, error: BaseException | None) -> None:
        self.calls.append("lost")
        assert not self.closed.done(), "connection_lost() came twice"
        self.closed.set_result(error)


async def connected(
    factory: Callable[[], Any] = Recorder,
) -> tuple[Any, Any, socket.socket]:
    """A transport and its protocol, and the other end as a socket that does not block."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return transport, protocol, theirs


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """For what gives no event to wait for."""

    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), LIMIT_S)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refused_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
