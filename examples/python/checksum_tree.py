"""The SHA-256 of every regular file below a folder, as `sha256sum` prints it.

    python examples/python/checksum_tree.py DIR [--workers N] [--shards N]

N workers take one path after the other, so that at most N files are open and N reads under way,
however large the tree is. The kernel does the reads of all of them at once.
"""

import argparse
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator

import spargio
from spargio import fs

CHUNK = 256 * 1024


def regular_files(root: str) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


async def checksum(path: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    async with await fs.File.open(path) as file:
        while chunk := await file.read_at(size, CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


async def worker(paths: list[str], results: dict[str, tuple[str, int] | OSError]) -> None:
    """Takes paths until none is left. Popping and storing one item are safe from any shard."""
    while True:
        try:
            path = paths.pop()
        except IndexError:
            return
        try:
            results[path] = await checksum(path)
        except OSError as error:
            results[path] = error


async def checksum_tree(
    handle: spargio.RuntimeHandle, root: str, workers: int
) -> dict[str, tuple[str, int] | OSError]:
    paths = list(regular_files(root))
    results: dict[str, tuple[str, int] | OSError] = {}
    # Each worker starts on the next shard in turn and stays there.
    jobs = [
        handle.spawn_with_placement(spargio.TaskPlacement.RoundRobin, worker(paths, results))
        for _ in range(workers)
    ]
    for job in jobs:
        await job
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the SHA-256 of every file below DIR.")
    parser.add_argument("root", metavar="DIR")
    parser.add_argument("--workers", type=int, default=64, help="files read at once (default: 64)")
    parser.add_argument("--shards", type=int, help="default: one per usable CPU")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error("--workers: at least 1")
    options = {} if arguments.shards is None else {"shards": arguments.shards}
    began = time.monotonic()
    results = spargio.run(
        lambda handle: checksum_tree(handle, arguments.root, arguments.workers), **options
    )
    seconds = time.monotonic() - began
    failed, size = 0, 0
    for path, result in sorted(results.items()):
        if isinstance(result, OSError):
            failed += 1
            print(f"{path}: {result.strerror}", file=sys.stderr)
        else:
            size += result[1]
            print(f"{result[0]}  {path}")
    print(
        f"{len(results) - failed} files, {size} bytes in {seconds:.2f} s"
        + (f", {failed} not readable" if failed else ""),
        file=sys.stderr,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
