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
import itertools
import sys
from pathlib import Path

import spargio
from spargio import fs, net

CHUNK = 256 * 1024


async def ingest(stream: net.TcpStream, path: Path) -> None:
    """One connection: what it sends is on disk before it is acknowledged."""
    digest = hashlib.sha256()
    size = 0
    try:
        async with stream, await fs.File.create(path) as file:
            while chunk := await stream.recv(CHUNK):
                digest.update(chunk)
                await file.write_all_at(size, chunk)
                size += len(chunk)
            await file.fsync()
            await stream.write_all(digest.digest())
    except OSError as error:  # This connection or this file; the service goes on.
        print(f"{path}: {error}", file=sys.stderr)
    else:
        # In one piece, because the shards are threads.
        print(f"{path}: {size} bytes on shard {spargio.current_shard()}\n", end="", flush=True)


async def serve(handle: spargio.RuntimeHandle, port: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    listener = await net.TcpListener.bind("127.0.0.1", port)
    print("listening on {}:{}".format(*listener.local_addr[:2]), flush=True)
    for number in itertools.count():
        stream, _ = await listener.accept_round_robin()
        # Starts on the shard whose turn it is; an idle shard may take it while it is queued.
        handle.spawn_stealable(ingest(stream, out / f"{number}.bin"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive files over TCP and store them.")
    parser.add_argument("--port", type=int, default=7001, help="0: any free one")
    parser.add_argument("--out", type=Path, default=Path("ingest-out"))
    parser.add_argument("--shards", type=int, help="default: one per usable CPU")
    arguments = parser.parse_args()
    options = {} if arguments.shards is None else {"shards": arguments.shards}
    with contextlib.suppress(KeyboardInterrupt):
        spargio.run(lambda handle: serve(handle, arguments.port, arguments.out), **options)


if __name__ == "__main__":
    main()
