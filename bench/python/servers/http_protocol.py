"""HTTP with an asyncio Protocol, on the event loop that the first argument names."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

from control import BACKLOG, announce, listening
from http_exchange import Exchange

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import loops


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.exchange = Exchange()

    def data_received(self, data: bytes) -> None:
        if answer := self.exchange.feed(data):
            self.transport.write(answer)
        if self.exchange.ended:
            self.transport.close()


async def main() -> None:
    loop = asyncio.get_running_loop()
    listener, port = listening()
    server = await loop.create_server(Connection, sock=listener, backlog=BACKLOG)
    announce(port)
    # Not serve_forever(), as in asyncio_streams.py.
    await loop.create_future()
    server.close()


if __name__ == "__main__":
    loops.run(sys.argv[1], main())
