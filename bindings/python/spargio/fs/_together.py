"""Many reads whose results are wanted all together, as libraries ask for them: without the streams
that give results out one by one, most of what a small file costs in Python is saved."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from .._ffi.core import native
from ..placement import TaskPlacement
from ..runtime import current_handle
from ._names import Path, encode, encode_usual
from ._stream import end

T = TypeVar("T")

_AT_ONCE_MOST = 64
"""Files, or reads, that one operation has under way."""
_FILES_EACH = 256
"""Files of one task. More of them than shards, so that one that is slow leaves the rest to the
others."""
_RANGES_EACH = 4096
_NO_LIMIT = (1 << 63) - 1
_SIZE_MOST = 8 << 20


async def _all(
    parts: Sequence[T], work: Callable[[T], Coroutine[Any, Any, Any]], most: int
) -> None:
    """The work of each part, on all shards, by `most` tasks."""
    handle = current_handle()
    todo = deque(parts)
    jobs: list[Any] = []

    async def some() -> None:
        try:
            while todo:
                try:
                    part = todo.popleft()
                except IndexError:
                    return  # Another thread was faster.
                await work(part)
        except BaseException:
            todo.clear()
            raise

    try:
        for _ in range(min(most, len(parts))):
            jobs.append(handle.spawn_with_placement(TaskPlacement.RoundRobin, some()))
        for job in jobs:
            await job
    except BaseException:
        await end(jobs)
        raise


async def read_files(paths: Sequence[Path], concurrency: int) -> list[bytes | OSError]:
    """What each file holds, or its error, in order; about `concurrency` files are open at a
    time."""
    depth = min(_AT_ONCE_MOST, concurrency)
    names = encode_usual(paths) or [encode(path) for path in paths]
    size = min(_FILES_EACH, max(1, -(-len(names) // 2)))
    parts = [slice(start, start + size) for start in range(0, len(names), size)]
    found: list[Any] = [None] * len(names)

    async def work(part: slice) -> None:
        some = names[part]
        results: list[Any] = [None] * len(some)
        labels = list(paths[part])
        found[part] = await native.read_files(some, labels, depth, results, None, _NO_LIMIT, None)

    await _all(parts, work, max(1, concurrency // depth))
    return found


class Ranges:
    """Ranges of files, by file: what one operation of the ring is told."""

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.labels: list[Path] = []
        self.files: list[int] = []
        self.offsets: list[int] = []
        self.lengths: list[int] = []
        self.places: list[int] = []

    def add(self, path: Path, ranges: Sequence[tuple[int, int, int]]) -> None:
        """(place of the result, offset, length or -1) of one file."""
        file = len(self.names)
        self.names.append(encode(path))
        self.labels.append(path)
        for place, offset, length in ranges:
            self.files.append(file)
            self.offsets.append(offset)
            self.lengths.append(length)
            self.places.append(place)


async def read_ranges(
    wanted: dict[Any, list[tuple[int, int, int]]], found: list[Any], gap: int, concurrency: int
) -> None:
    """Of each path its ranges: (place, offset, length or -1). Puts bytes, or the error, into
    `found`."""
    depth = min(_AT_ONCE_MOST, concurrency)
    count = sum(map(len, wanted.values()))
    size = min(_RANGES_EACH, max(1, -(-count // 2)))
    parts = [Ranges()]
    for path, ranges in wanted.items():
        for start in range(0, len(ranges), size):
            if len(parts[-1].files) >= size:
                parts.append(Ranges())
            parts[-1].add(path, ranges[start : start + size])

    async def work(part: Ranges) -> None:
        results: list[Any] = [None] * len(part.files)
        given = (part.names, part.labels, part.files, part.offsets, part.lengths)
        limits = (gap, _SIZE_MOST, depth)
        await native.read_ranges(*given, None, *limits, results, None, None)
        for place, result in zip(part.places, results, strict=True):
            found[place] = result

    if count:
        await _all(parts, work, max(1, concurrency // depth))
