"""Hash all files of a tree on a cluster of processes, each with a runtime of its own: every file
once, also where a worker is killed meanwhile.

    python examples/python/hash_cluster.py TREE [--workers 2] [--kill]

Needs the extra ``spargio[dask]``. With --kill one of the workers is killed when the first batch is
done; its batches are done again by the others."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Iterator

from spargio import fs
from spargio.dask import submit
from spargio.fs import sync

BATCH = 64


async def hash_files(paths: list[str]) -> tuple[int, dict[str, str]]:
    """On the shards of a worker: its process, and a digest for each file."""
    found = {}
    async for path, data in fs.read_many(paths, ordered=False):
        found[path] = (
            f"{type(data).__name__}"
            if isinstance(data, OSError)
            else hashlib.blake2b(data, digest_size=16).hexdigest()
        )
    return os.getpid(), found


def batches(top: str) -> Iterator[list[str]]:
    batch: list[str] = []
    for entry in sync.read_tree(top):
        if entry.is_file():
            batch.append(entry.path)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    given = parser.parse_args()
    try:
        from distributed import Client, LocalCluster, as_completed
    except ImportError:
        print("this example needs dask: pip install spargio[dask]", file=sys.stderr)
        return 2

    kill = given.kill
    found: dict[str, str] = {}
    processes = set()
    cluster = LocalCluster(
        n_workers=given.workers, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        futures = [submit(client, hash_files, batch, pure=False) for batch in batches(given.tree)]
        for future in as_completed(futures):
            process, digests = future.result()
            processes.add(process)
            again = found.keys() & digests.keys()
            assert not again, f"hashed twice: {again}"
            found.update(digests)
            if kill:
                os.kill(process, signal.SIGKILL)
                kill = False
    whole = hashlib.blake2b("".join(f"{n}{found[n]}" for n in sorted(found)).encode()).hexdigest()
    print(f"{len(found)} files by {len(processes)} processes: {whole[:32]}")
    sync.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
