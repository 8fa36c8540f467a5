"""TLS echo: what the first argument names. "spargio" and "spargio-memory" take the number of shards
after it, "streams", "protocol" and "aiofastnet" an event loop. Then the folder with the server's
chain.pem and key.pem."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import loops
from asyncio_protocol import Echo
from asyncio_streams import echo as echo_streams
from control import BACKLOG, RECV_BYTES, announce, listening


def context(folder: str) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(f"{folder}/chain.pem", f"{folder}/key.pem")
    return made


async def on_asyncio(kind: str, folder: str) -> None:
    loop = asyncio.get_running_loop()
    listener, port = listening()
    server: Any
    if kind == "streams":
        server = await asyncio.start_server(
            echo_streams, sock=listener, backlog=BACKLOG, ssl=context(folder)
        )
    elif kind == "protocol":
        server = await loop.create_server(Echo, sock=listener, backlog=BACKLOG, ssl=context(folder))
    else:
        import aiofastnet

        server = await aiofastnet.create_server(
            loop, Echo, sock=listener, backlog=BACKLOG, ssl=context(folder)
        )
    announce(port)
    await loop.create_future()
    server.close()


def on_spargio(shards: int, folder: str) -> None:
    import spargio
    from spargio import tls

    async def echo(stream: tls.TlsStream[Any]) -> None:
        try:
            while data := await stream.recv(RECV_BYTES):
                await stream.write_all(data)
        except (OSError, spargio.SpargioError):
            pass
        finally:
            await stream.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        listener = await tls.TlsListener.bind(
            "127.0.0.1", 0, context(folder), backlog=BACKLOG, standard_compatible=False
        )
        announce(listener.local_addr[1])
        turn = 0
        while True:
            stream, _ = await listener.accept()
            # In turn, so that a second shard is measured and not who steals what.
            handle.spawn_pinned(turn % shards, echo(stream))
            turn += 1

    spargio.run(main, shards=shards)


if __name__ == "__main__":
    kind, argument, folder = sys.argv[1:4]
    if kind in ("spargio", "spargio-memory"):
        os.environ["SPARGIO_TLS_ENGINE"] = "native" if kind == "spargio" else "memory"
        on_spargio(int(argument), folder)
    else:
        loops.run(argument, on_asyncio(kind, folder))
