"""An ASGI application under anycorn on each shard, asked over HTTP/1.1 by connections with both
ends on that shard: the third program of parallel.py."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import anycorn
import anyio
from anyio.abc import SocketAttribute
from harness import Sample
from processes import MeasurementFailed

import spargio
import spargio.anyio

CONNECTIONS: Final = 32
REQUEST: Final = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
BODY: Final = b"x" * 1024


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def ask(port: int, until: float) -> int:
    count = 0
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        stream.extra(SocketAttribute.raw_socket).setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        while perf_counter() < until:
            await stream.send(REQUEST)
            found = await stream.receive()
            while not found.endswith(BODY):
                found += await stream.receive()
            if not found.startswith(b"HTTP/1.1 200"):
                raise MeasurementFailed(f"the answer was {found[:40]!r}")
            count += 1
    return count


async def on_this_shard(pairs: int, seconds: float, ready: spargio.sync.Barrier) -> float:
    """Requests per second, once the servers of all shards are up."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    config = anycorn.Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.errorlog = None
    stop = anyio.Event()
    counts: list[int] = []

    async def client(until: float) -> None:
        counts.append(await ask(port, until))

    async def serve(*, task_status: Any) -> None:
        await anycorn.serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as servers:
        await servers.start(serve)
        await ready.wait()
        start = perf_counter()
        async with anyio.create_task_group() as clients:
            for _ in range(pairs):
                clients.start_soon(client, start + seconds)
        took = perf_counter() - start
        stop.set()
    return sum(counts) / took


async def asgi(handle: spargio.RuntimeHandle, seconds: float) -> Sample:
    shards = handle.shard_count()
    ready = spargio.sync.Barrier(shards)
    rates = await spargio.anyio.on_each_shard(on_this_shard, CONNECTIONS // shards, seconds, ready)
    return {"per_second": sum(rates)}
