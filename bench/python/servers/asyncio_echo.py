"""Echo in one of the ways that asyncio has, on one of its loops: `asyncio_echo.py KIND LOOP`."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from control import BACKLOG, RECV_BYTES, announce, listening

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import asyncio_loops
from asyncio_protocol import Echo
from asyncio_streams import echo


async def protocol(listener: socket.socket) -> object:
    loop = asyncio.get_running_loop()
    return await loop.create_server(Echo, sock=listener, backlog=BACKLOG)


async def streams(listener: socket.socket) -> object:
    return await asyncio.start_server(echo, sock=listener, backlog=BACKLOG)


async def unix(listener: socket.socket) -> object:
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(Echo, sock=listener, backlog=BACKLOG)


async def sock(listener: socket.socket) -> object:
    """A coroutine per connection, and no transport."""
    loop = asyncio.get_running_loop()
    kept = set()
    listener.setblocking(False)

    async def serve(connection: socket.socket) -> None:
        with connection:
            while data := await loop.sock_recv(connection, RECV_BYTES):
                await loop.sock_sendall(connection, data)

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            task = asyncio.create_task(serve(connection))
            kept.add(task)
            task.add_done_callback(kept.discard)

    return asyncio.create_task(accept())


async def aiofastnet(listener: socket.socket) -> object:
    """A Protocol of aiofastnet's transports."""
    import aiofastnet as package

    loop = asyncio.get_running_loop()
    return await package.create_server(loop, Echo, sock=listener, backlog=BACKLOG)


KINDS: Final[dict[str, Callable[[socket.socket], Awaitable[Any]]]] = {
    function.__name__: function for function in (protocol, streams, unix, sock, aiofastnet)
}


async def main(kind: str) -> None:
    if kind == "unix":
        path = f"{tempfile.mkdtemp(prefix='spargio-bench-')}/echo"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        place: str | int = path
    else:
        listener, place = listening()
    server = await KINDS[kind](listener)
    announce(place)
    try:
        # Not serve_forever(), as in asyncio_streams.py.
        await asyncio.get_running_loop().create_future()
    finally:
        del server


if __name__ == "__main__":
    asyncio_loops.run(sys.argv[2], main(sys.argv[1]))
