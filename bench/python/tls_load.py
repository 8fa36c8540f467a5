"""The load for TLS servers: our own clients, the same for all of them. With "echo" each of so many
connections writes and reads so many bytes; with "handshakes" so many tasks connect, echo 16 bytes
and close, again and again; with "idle" so many connections echo once and wait for a line on stdin.
It prints "ready" when all are connected, begins at a line "go", and prints what it did as JSON."""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import time
from typing import Any

import spargio
from spargio import tls


async def _connect(port: int, context: ssl.SSLContext) -> tls.TlsStream[Any]:
    return await tls.connect("127.0.0.1", port, context=context, server_hostname="localhost")


class Load:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.context = ssl.create_default_context(cafile=f"{arguments.folder}/authority.pem")
        self.payload = bytes(arguments.bytes)
        self.count = 0
        self.until = 0.0

    async def exchange(self, stream: tls.TlsStream[Any]) -> None:
        await stream.write_all(self.payload)
        await stream.read_exactly(len(self.payload))

    async def echo(self, stream: tls.TlsStream[Any]) -> None:
        while time.monotonic() < self.until:
            await self.exchange(stream)
            self.count += 1

    async def handshakes(self) -> None:
        while time.monotonic() < self.until:
            async with await _connect(self.arguments.port, self.context) as stream:
                await self.exchange(stream)
            self.count += 1

    async def main(self) -> None:
        given = self.arguments
        streams = []
        if given.kind != "handshakes":
            streams = [await _connect(given.port, self.context) for _ in range(given.connections)]
            for stream in streams:
                await self.exchange(stream)
        else:
            async with await _connect(given.port, self.context) as stream:
                await self.exchange(stream)
        print("ready", flush=True)
        await spargio.spawn_blocking(sys.stdin.readline)
        began = time.monotonic()
        self.until = began + given.seconds
        async with spargio.TaskGroup() as group:
            for number in range(given.connections):
                if given.kind == "echo":
                    group.spawn(self.echo(streams[number]))
                elif given.kind == "handshakes":
                    group.spawn(self.handshakes())
        found = {"requests": self.count, "seconds": time.monotonic() - began}
        print(json.dumps(found), flush=True)
        for stream in streams:
            await stream.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["echo", "handshakes", "idle"])
    parser.add_argument("folder")
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("bytes", type=int)
    parser.add_argument("seconds", type=float)
    spargio.run(Load(parser.parse_args()).main)


if __name__ == "__main__":
    main()
