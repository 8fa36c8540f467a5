"""HTTP with plain coroutines on trio's streams."""

from __future__ import annotations

import trio
from control import BACKLOG, RECV_BYTES, announce
from http_exchange import Exchange


async def serve(stream: trio.SocketStream) -> None:
    exchange = Exchange()
    async with stream:
        while not exchange.ended and (data := await stream.receive_some(RECV_BYTES)):
            if answer := exchange.feed(data):
                await stream.send_all(answer)


async def main() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
    announce(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


if __name__ == "__main__":
    trio.run(main)
