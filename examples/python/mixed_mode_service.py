"""An asyncio front end that hands its hot path to spargio: many files are hashed on the shards
while the loop stays free. Prints the hashes of the files it is given."""

import asyncio
import hashlib
import sys

import spargio
from spargio import boundary, fs


async def hash_files(server: boundary.Server) -> None:
    """On a shard: each request is a list of paths."""
    async for request in server:
        hashes = []
        async for path, data in fs.read_many(request.request):
            found = data if isinstance(data, OSError) else hashlib.sha256(data).hexdigest()
            hashes.append((path, found))
        request.respond(hashes)


async def front_end(client: boundary.Client, paths: list[str]) -> None:
    """In asyncio: any framework could stand here."""
    half = len(paths) // 2
    parts = await asyncio.gather(
        client.call_with_timeout(paths[:half], 30),
        client.call_with_timeout(paths[half:], 30),
    )
    for path, found in (pair for part in parts for pair in part):
        print(found, path)


client, server = boundary.channel(capacity=64)
with spargio.Runtime.builder().build() as handle:
    for shard in range(handle.shard_count()):
        handle.spawn_pinned(shard, hash_files(server))
    asyncio.run(front_end(client, sys.argv[1:]))
    client.close()
