"""Whole files: read, one or many."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator
from typing import Any, Generic, TypeVar

from .._blocking import to_its_end
from .._ffi.core import Future, JoinHandle, native
from .._validate import at_least
from ..placement import TaskPlacement
from ..runtime import current_handle
from ._names import Path, encode

_CHUNK_MOST = 64
_CHUNKS_AHEAD = 2
"""So that the shards are busy while the first one is given out."""

K = TypeVar("K")
P = TypeVar("P", bound=Path)
V = TypeVar("V")

Result = bytes | OSError


async def read(path: Path) -> bytes:
    """All of a file. Opened, read to its end and closed in one await: ``IORING_OP_OPENAT``,
    ``READ`` and ``CLOSE``, Linux 5.6."""
    (result,) = await native.read_files([encode(path)], [path], 1, [None], None)
    try:
        if isinstance(result, OSError):
            raise result
        return result
    finally:
        del result  # Its traceback holds this frame.


async def read_to_string(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The same, decoded."""
    return (await read(path)).decode(encoding, errors)


def no_path(name: str, given: object) -> None:
    """What takes many paths takes no single one for the paths of its characters."""
    if isinstance(given, (str, bytes, bytearray, os.PathLike)):
        raise TypeError(f"{name} is {given!r}: allowed is an iterable of them, such as a list")


class Source(Iterator[V]):
    """An iterator whose error waits until what came before it is done with."""

    def __init__(self, items: Iterable[V]) -> None:
        self.items = iter(items)
        self._error: BaseException | None = None

    def __next__(self) -> V:
        try:
            return next(self.items)
        except StopIteration:
            raise
        except BaseException as error:
            self.fail(error)
            raise StopIteration from None

    def fail(self, error: BaseException) -> None:
        """Nothing comes after it."""
        self._error = error
        self.items = iter(())

    def check(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error


async def _in_order(
    work: Iterator[tuple[K, Coroutine[Any, Any, V]]], window: int
) -> AsyncGenerator[tuple[K, V], None]:
    """Run coroutines on all shards, `window` at a time; (key, result) of each, in order. What runs
    is cancelled, and has ended, when the iterator is closed or raises."""
    handle = current_handle()
    running: deque[tuple[K, JoinHandle[V]]] = deque()
    source = Source(work)

    def fill() -> None:
        for key, coroutine in itertools.islice(source, window - len(running)):
            job = handle.spawn_with_placement(TaskPlacement.RoundRobin, coroutine)
            running.append((key, job))

    try:
        fill()
        while running:
            key, job = running[0]
            result = await job
            running.popleft()
            fill()
            yield key, result
        source.check()
    finally:
        await _end([job for _, job in running])


async def _end(jobs: list[JoinHandle[Any]]) -> None:
    """However they end: the first error is told already, or nobody asks any more."""
    for job in jobs:
        job.cancel()
    for job in jobs:
        with contextlib.suppress(Exception):
            await to_its_end(lambda job=job: job)  # type: ignore[misc]


class _Chunk(Generic[P]):
    """Files that one task reads; each result can be had when it is there."""

    def __init__(self, paths: list[P], names: list[bytes]) -> None:
        self.paths = paths
        self.results: list[Result | None] = [None] * len(paths)
        self._lock = threading.Lock()
        self._wanted: tuple[int, Future[None]] | None = None
        self._over = False
        handle = current_handle()
        self.job = handle.spawn_with_placement(TaskPlacement.RoundRobin, self._read(names))

    async def _read(self, names: list[bytes]) -> None:
        try:
            await native.read_files(names, self.paths, len(names), self.results, self._told)
        finally:
            self._over = True
            self._told()

    def _told(self) -> None:
        """On the shard that reads: there is news."""
        with self._lock:
            wanted = self._wanted
            if wanted is None or not (self._over or self.results[wanted[0]] is not None):
                return  # Nobody waits, or for another file.
            self._wanted = None
        wanted[1].set_result(None)

    async def wait(self, place: int) -> Result:
        while (result := self.results[place]) is None:
            future: Future[None] = native.future()
            with self._lock:
                self._wanted = place, future
            if self.results[place] is None:
                # Over without a result: it raises what it failed with.
                await (self.job if self._over else future)
        return result


def read_many(
    paths: Iterable[P], *, concurrency: int = 128
) -> AsyncGenerator[tuple[P, Result], None]:
    """Read many files: (path, its bytes or the ``OSError``) for each, in the order of `paths`, on
    all shards. At most `concurrency` files are open or read ahead of the one that was given out.
    What `paths` raises, and ``TypeError`` or ``ValueError`` for what can be no path, comes in its
    turn, after the files before it. Close the iterator, or leave the task, and the rest is not
    read."""
    no_path("paths", paths)
    return _read_many(paths, concurrency)


async def _read_many(
    paths: Iterable[P], concurrency: int
) -> AsyncGenerator[tuple[P, Result], None]:
    concurrency = at_least("concurrency", concurrency, 1)
    size = max(1, min(_CHUNK_MOST, concurrency // _CHUNKS_AHEAD))
    source = Source(paths)
    running: deque[_Chunk[P]] = deque()

    def fill(room: int) -> int:
        while room >= size and (chunk := _take(source, size)):
            room -= len(chunk.paths)
            running.append(chunk)
        return room

    try:
        room = fill(concurrency)
        while running:
            chunk = running[0]
            results = chunk.results
            given = 0
            for place, path in enumerate(chunk.paths):
                if not (result := results[place]):
                    result = await chunk.wait(place)
                results[place] = None
                if place - given + room >= size - 1:
                    room = fill(room + place + 1 - given)
                    given = place + 1
                yield path, result
            room += len(chunk.paths) - given
            result = None
            await chunk.job
            running.popleft()
        source.check()
    finally:
        await _end([chunk.job for chunk in running])


def _take(source: Source[P], size: int) -> _Chunk[P] | None:
    """The next `size` files, or fewer before the end or an error."""
    paths: list[P] = []
    names: list[bytes] = []
    try:
        for path in itertools.islice(source.items, size):
            names.append(encode(path))
            paths.append(path)
    except BaseException as error:
        source.fail(error)
    return _Chunk(paths, names) if paths else None
