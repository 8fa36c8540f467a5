"""Both ends of an echo, as asyncio protocols."""

from __future__ import annotations

import asyncio
from typing import Any


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Ping(asyncio.Protocol):
    """Sends what has come back, so many times."""

    def __init__(self, count: int, ended: asyncio.Future[None]) -> None:
        self.left, self.ended = count, ended

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(b"x" * 1024)

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(data)
        elif not self.ended.done():
            self.ended.set_result(None)
