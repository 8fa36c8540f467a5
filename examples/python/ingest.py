"""An ingest service: receives files over TCP, stores each on disk, answers with its SHA-256.

    python examples/python/ingest.py --port 7001 --out ingest-out

A client connects, sends the file, shuts its sending side down, and reads 32 bytes:

    import hashlib, socket
    with socket.create_connection(("127.0.0.1", 7001)) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(32, socket.MSG_WAITALL) == hashlib.sha256(data).digest()
"""

import argparse
import contextlib
import hashlib
import resource
import sys
import time
from pathlib import Path

import spargio
from spargio import fs, net

CHUNK = 256 * 1024
SILENCE_S = 60
FILES_SPARED = 30


class Ingest:
    def __init__(self, out: Path) -> None:
        self.out = out

    async def receive(self, stream: net.TcpStream) -> None:
        """One connection: what it sends is on disk before it is acknowledged."""
        path = self.out / f"{time.time_ns()}-{stream.peer_addr[1]}.bin"
        try:
            size = await self.store(stream, path)
        except OSError as error:  # This connection or this file; the service goes on.
            print(f"{path}: {error}", file=sys.stderr)
        else:
            # In one piece, because the shards are threads.
            print(f"{path}: {size} bytes on shard {spargio.current_shard()}\n", end="", flush=True)

    async def store(self, stream: net.TcpStream, path: Path) -> int:
        digest = hashlib.sha256()
        size = 0
        async with await fs.File.create(path) as file:
            while chunk := await self.chunk(stream):
                digest.update(chunk)
                await file.write_all_at(size, chunk)
                size += len(chunk)
            await file.fsync()
        with spargio.timeout(SILENCE_S):
            await stream.write_all(digest.digest())
        return size

    async def chunk(self, stream: net.TcpStream) -> bytes:
        with spargio.timeout(SILENCE_S):
            return await stream.recv(CHUNK)


async def serve(port: int, out: Path, connections: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    listener = await net.TcpListener.bind("127.0.0.1", port)
    print("listening on {}:{}".format(*listener.local_addr[:2]), flush=True)
    # Each on the shard whose turn it is. Those beyond the limit wait until one has ended: each
    # takes two descriptors, and one that gets no file would have to be refused.
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    await net.serve(
        listener,
        Ingest(out).receive,
        max_connections=max(1, min(connections, (files - FILES_SPARED) // 2)),
        placement=spargio.TaskPlacement.RoundRobin,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive files over TCP and store them.")
    parser.add_argument("--port", type=int, default=7001, help="0: any free one")
    parser.add_argument("--out", type=Path, default=Path("ingest-out"))
    parser.add_argument("--connections", type=int, default=256, help="at a time (default: 256)")
    parser.add_argument("--shards", type=int, help="default: one per usable CPU")
    given = parser.parse_args()
    options = {} if given.shards is None else {"shards": given.shards}
    with contextlib.suppress(KeyboardInterrupt):
        spargio.run(lambda: serve(given.port, given.out, given.connections), **options)


if __name__ == "__main__":
    main()
