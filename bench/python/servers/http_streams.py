"""HTTP with asyncio streams, on the event loop that the first argument names."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from control import BACKLOG, RECV_BYTES, announce, listening
from http_exchange import Exchange

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import loops


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    exchange = Exchange()
    try:
        while not exchange.ended and (data := await reader.read(RECV_BYTES)):
            if answer := exchange.feed(data):
                writer.write(answer)
                await writer.drain()
    finally:
        writer.close()


async def main() -> None:
    listener, port = listening()
    server = await asyncio.start_server(serve, sock=listener, backlog=BACKLOG)
    announce(port)
    # Not serve_forever(), as in asyncio_streams.py.
    await asyncio.get_running_loop().create_future()
    server.close()


if __name__ == "__main__":
    loops.run(sys.argv[1], main())
