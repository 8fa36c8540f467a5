"""HTTP with plain coroutines on spargio; the first argument is the number of shards."""

from __future__ import annotations

import sys

from control import BACKLOG, RECV_BYTES, announce
from http_exchange import Exchange

import spargio
from spargio import net


async def serve(stream: net.TcpStream) -> None:
    stream.set_nodelay(True)
    exchange = Exchange()
    try:
        while not exchange.ended and (data := await stream.recv(RECV_BYTES)):
            if answer := exchange.feed(data):
                await stream.write_all(answer)
    finally:
        await stream.close()


async def main(handle: spargio.RuntimeHandle) -> None:
    listener = await net.TcpListener.bind("127.0.0.1", 0, backlog=BACKLOG)
    announce(listener.local_addr[1])
    while True:
        stream, _ = await listener.accept()
        handle.spawn_stealable(serve(stream))


if __name__ == "__main__":
    spargio.run(main, shards=int(sys.argv[1]))
