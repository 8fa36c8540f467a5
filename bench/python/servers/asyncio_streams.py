"""Echo with asyncio streams."""

from __future__ import annotations

import asyncio
import socket

from control import BACKLOG, RECV_BYTES, announce


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while data := await reader.read(RECV_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=BACKLOG)
    await server.start_serving()  # not every loop listens before it is told to
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
