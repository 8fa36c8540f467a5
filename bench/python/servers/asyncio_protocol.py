"""Echo with an asyncio Protocol: callbacks, no coroutine per connection."""

from __future__ import annotations

import asyncio
from typing import cast

from control import BACKLOG, announce, listening


class Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main() -> None:
    loop = asyncio.get_running_loop()
    listener, port = listening()
    server = await loop.create_server(Echo, sock=listener, backlog=BACKLOG)
    announce(port)
    # Not serve_forever(): rloop's starts to serve a second time, and by that closes its listener.
    await asyncio.get_running_loop().create_future()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
