"""Echo with plain coroutines on trio's streams, which set TCP_NODELAY themselves."""

from __future__ import annotations

import trio
from control import BACKLOG, RECV_BYTES, announce


async def echo(stream: trio.SocketStream) -> None:
    async with stream:
        while data := await stream.receive_some(RECV_BYTES):
            await stream.send_all(data)


async def main() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
    announce(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(echo, listeners)


if __name__ == "__main__":
    trio.run(main)
