"""A web server of the ecosystem on an asyncio loop: `asyncio_web.py KIND LOOP`."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from control import BACKLOG, announce, listening

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import asyncio_loops

PLAIN: Final = b"Hello, world!"
LARGE: Final = b"x" * 10_240


async def uvicorn(listener: socket.socket, body: bytes) -> None:
    import uvicorn as package

    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain")],
    }
    end = {"type": "http.response.body", "body": body}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(end)

    config = package.Config(
        application, http="httptools", lifespan="off", access_log=False, backlog=BACKLOG
    )
    server = package.Server(config)
    # Its loop of signal handlers and ticks is left out: the control thread ends the process.
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])


async def aiohttp(listener: socket.socket, body: bytes) -> None:
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()


KINDS: Final[dict[str, tuple[Callable[[socket.socket, bytes], Awaitable[None]], bytes]]] = {
    "uvicorn": (uvicorn, PLAIN),
    "uvicorn_10k": (uvicorn, LARGE),
    "aiohttp": (aiohttp, PLAIN),
}


async def main(kind: str) -> None:
    listener, port = listening()
    start, body = KINDS[kind]
    await start(listener, body)
    announce(port)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio_loops.run(sys.argv[2], main(sys.argv[1]))
