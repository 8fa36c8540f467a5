"""Two epochs over the files of a tree, as a training loop reads them: in another order each time,
in batches, with progress. Without PyTorch here; with it, give ``ShuffledFiles`` to a
``DataLoader``.

    python examples/python/epoch.py TREE [--seed 0]"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

from spargio.fs import sync
from spargio.torch import Progress, ShuffledFiles

BATCH = 32


def batches(samples: Any) -> Iterator[list[Any]]:
    """What a DataLoader with ``batch_size=32`` does of an iterable data set."""
    samples = iter(samples)
    while batch := list(itertools.islice(samples, BATCH)):
        yield batch


def told(progress: Progress) -> None:
    print(f"  {progress.files} of {progress.total} files, {progress.bytes} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tree")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    paths = sorted(entry.path for entry in sync.read_tree(given.tree) if entry.is_file())
    data = ShuffledFiles(paths, seed=given.seed, progress=told)
    for epoch in range(2):
        data.set_epoch(epoch)
        count = sum(1 for _ in batches(data))
        print(f"epoch {epoch}: {count} batches")


if __name__ == "__main__":
    main()
