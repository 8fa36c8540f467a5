"""Echo with asyncio streams."""

from __future__ import annotations

import asyncio

from control import BACKLOG, RECV_BYTES, announce, listening


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(RECV_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def main() -> None:
    listener, port = listening()
    server = await asyncio.start_server(echo, sock=listener, backlog=BACKLOG)
    announce(port)
    # Not serve_forever(): rloop's starts to serve a second time, and by that closes its listener.
    await asyncio.get_running_loop().create_future()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
