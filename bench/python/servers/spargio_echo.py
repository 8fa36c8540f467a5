"""Echo with plain coroutines on one shard of spargio."""

from __future__ import annotations

from control import BACKLOG, RECV_BYTES, announce

import spargio
from spargio import net


async def echo(stream: net.TcpStream) -> None:
    stream.set_nodelay(True)
    try:
        while data := await stream.recv(RECV_BYTES):
            await stream.write_all(data)
    finally:
        await stream.close()


async def main(handle: spargio.RuntimeHandle) -> None:
    listener = await net.TcpListener.bind("127.0.0.1", 0, backlog=BACKLOG)
    announce(listener.local_addr[1])
    while True:
        stream, _ = await listener.accept()
        handle.spawn_stealable(echo(stream))


if __name__ == "__main__":
    spargio.run(main, shards=1)
