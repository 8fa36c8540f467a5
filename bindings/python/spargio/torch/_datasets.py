"""The data sets. They can be pickled, and live through fork: each process has a runtime of its own
in the background."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .._records import dataclass
from .._validate import at_least
from ..fs import _together, sync
from ..fs._names import Path

Transform = Callable[[Path, Any], Any]
"""(path, data) -> sample. In the process, and the thread, that asks for the sample."""

KINDS = ("bytes", "numpy", "torch")


def _check_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return kind


def _wrap(kind: str, memory: bytearray, start: int, size: int) -> Any:
    """Bytes of `memory` as an array or a tensor, without a copy."""
    if kind == "numpy":
        import numpy

        return numpy.frombuffer(memory, numpy.uint8, size, start)
    import torch

    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(memory, dtype=torch.uint8, offset=start, count=size)


def _read(paths: Sequence[Path], kind: str, concurrency: int) -> list[Any]:
    """One submission. An error of one file is raised."""
    if kind == "bytes":
        whole = sync.run(_together.read_files(paths, concurrency))
        for data in whole:
            if isinstance(data, OSError):
                raise data
        return whole
    lengths = [os.stat(path).st_size for path in paths]
    memory = bytearray(sum(lengths))
    ranges = [(path, 0, size) for path, size in zip(paths, lengths, strict=True)]
    found: list[Any] = []
    start = 0
    for place, got in sync.read_ranges(ranges, into=memory, concurrency=concurrency):
        if isinstance(got, OSError):
            raise got
        assert isinstance(got, int)
        found.append(_wrap(kind, memory, start, got))
        start += lengths[place]
    return found


class Files:
    """A map-style data set: sample `n` is what `transform` makes of the file ``paths[n]``, or its
    content if there is none. A ``DataLoader`` asks for a batch at once (``__getitems__``), which
    is one submission.

    `kind` is what the content is: "bytes"; "numpy", arrays of uint8, or "torch", tensors of uint8,
    which lie in memory of the batch that the kernel has read into, without a copy. A file that
    cannot be read raises its ``OSError``. At most `concurrency` files are open."""

    def __init__(
        self,
        paths: Iterable[Path],
        transform: Transform | None = None,
        *,
        kind: str = "bytes",
        concurrency: int = 128,
    ) -> None:
        self.paths = list(paths)
        self.transform = transform
        self.kind = _check_kind(kind)
        self.concurrency = at_least("concurrency", concurrency, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of a batch, in the order of `indices`."""
        paths = [self.paths[index] for index in indices]
        found = _read(paths, self.kind, self.concurrency)
        if self.transform is None:
            return found
        return [self.transform(path, data) for path, data in zip(paths, found, strict=True)]


@dataclass()
class Progress:
    """How far an iteration is."""

    files: int
    """Samples that were yielded."""
    total: int
    """Files of this process's part."""
    bytes: int
    """Of those samples."""
    seconds: float


class ShuffledFiles:
    """An iterable data set: samples as of :class:`Files`, in an order that `seed` and the epoch
    settle, read ahead by up to `ahead` files. Of several workers of a ``DataLoader`` each gives its
    part of that one order, so all files come once. `progress` is called with a :class:`Progress`
    after every `every` samples, and at the end. Call :meth:`set_epoch` before each epoch for
    another order."""

    def __init__(
        self,
        paths: Iterable[Path],
        transform: Transform | None = None,
        *,
        seed: int | None = 0,
        kind: str = "bytes",
        ahead: int = 256,
        progress: Callable[[Progress], object] | None = None,
        every: int = 1000,
    ) -> None:
        self.paths = list(paths)
        self.transform = transform
        self.seed = seed
        self.kind = _check_kind(kind)
        self.ahead = at_least("ahead", ahead, 1)
        self.progress = progress
        self.every = at_least("every", every, 1)
        self.epoch = 0
        _tell_torch()

    def set_epoch(self, epoch: int) -> None:
        """The next iteration has the order of this epoch. With workers: before they are made."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.paths)

    def order(self) -> list[Path]:
        """The paths as the next iteration gives them, of all workers together. `seed` None leaves
        them as they are."""
        paths = list(self.paths)
        if self.seed is not None:
            random.Random(f"{self.seed}:{self.epoch}").shuffle(paths)
        return paths

    def __iter__(self) -> Iterator[Any]:
        worker, workers = _worker()
        paths = self.order()[worker::workers]
        began = time.monotonic()
        total = 0
        for count, (path, data) in enumerate(self._read(paths), 1):
            total += len(data)
            yield data if self.transform is None else self.transform(path, data)
            if self.progress and (count % self.every == 0 or count == len(paths)):
                self.progress(Progress(count, len(paths), total, time.monotonic() - began))

    def _read(self, paths: list[Path]) -> Iterator[tuple[Path, Any]]:
        if self.kind == "bytes":
            for path, data in sync.read_many(paths, concurrency=self.ahead):
                if isinstance(data, OSError):
                    raise data
                yield path, data
            return
        for at in range(0, len(paths), self.ahead):
            part = paths[at : at + self.ahead]
            yield from zip(part, _read(part, self.kind, self.ahead), strict=True)


def _tell_torch() -> None:
    """A DataLoader takes for iterable what is an ``IterableDataset``; it is none by birth, so that
    it can be used without torch."""
    with contextlib.suppress(ImportError):
        import torch

        torch.utils.data.IterableDataset.register(ShuffledFiles)


def _worker() -> tuple[int, int]:
    """Number of this worker of a DataLoader, and how many there are."""
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data is not None else None
    return (0, 1) if info is None else (info.id, info.num_workers)
