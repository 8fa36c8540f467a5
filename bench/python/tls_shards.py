"""How much one more shard does with TLS, on an interpreter with a GIL too: the cipher and the
handshakes run outside of it. Both ends are in this process, on the same shard, so that no load on
another CPU is the limit: pairs that echo, or connections that are made, echo 16 bytes and are
closed."""

from __future__ import annotations

import argparse
import json
import ssl
import time
from typing import Any

import spargio
from spargio import net, tls

PAIRS = 8


class Row:
    def __init__(self, arguments: argparse.Namespace) -> None:
        folder = arguments.folder
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(f"{folder}/chain.pem", f"{folder}/key.pem")
        self.client = ssl.create_default_context(cafile=f"{folder}/authority.pem")
        self.payload = bytes(arguments.bytes)
        self.seconds = arguments.seconds
        self.kind = arguments.kind
        self.counts = [0] * arguments.shards
        self.until = 0.0

    async def connected(self) -> tuple[tls.TlsStream[Any], tls.TlsStream[Any]]:
        one, other = net.UnixStream.pair()
        async with spargio.TaskGroup() as group:
            near = group.spawn(
                tls.wrap(one, self.client, server_hostname="localhost"),
                placement=spargio.TaskPlacement.Pinned(spargio.current_shard()),
            )
            far = await tls.wrap(other, self.server, server_side=True)
        return await near, far

    async def answer(self, far: tls.TlsStream[Any]) -> None:
        while data := await far.recv(len(self.payload)):
            await far.write_all(data)

    async def echo(self, shard: int) -> None:
        near, far = await self.connected()
        answering = spargio.current_handle().spawn_pinned(shard, self.answer(far))
        while time.monotonic() < self.until:
            await near.write_all(self.payload)
            await near.read_exactly(len(self.payload))
            self.counts[shard] += 1
        await near.close()
        await answering
        await far.close()

    async def handshakes(self, shard: int) -> None:
        while time.monotonic() < self.until:
            near, far = await self.connected()
            await near.write_all(self.payload)
            await far.read_exactly(len(self.payload))
            await near.close()
            await far.close()
            self.counts[shard] += 1

    async def main(self) -> None:
        self.until = time.monotonic() + self.seconds
        work = self.echo if self.kind == "echo" else self.handshakes
        async with spargio.TaskGroup() as group:
            for shard in range(len(self.counts)):
                for _ in range(PAIRS):
                    group.spawn(work(shard), placement=spargio.TaskPlacement.Pinned(shard))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["echo", "handshakes"])
    parser.add_argument("folder")
    parser.add_argument("shards", type=int)
    parser.add_argument("bytes", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    row = Row(given)
    began, cpu = time.monotonic(), time.process_time()
    spargio.run(row.main, shards=given.shards)
    count = sum(row.counts)
    found = {
        "requests_per_second": count / (time.monotonic() - began),
        "cpu_us": (time.process_time() - cpu) * 1e6 / max(1, count),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
