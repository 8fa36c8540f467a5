"""Echo with plain coroutines on spargio; the first argument is the number of shards."""

from __future__ import annotations

import sys

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
    spargio.run(main, shards=int(sys.argv[1]))
