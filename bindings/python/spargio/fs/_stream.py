"""Many items in one stream: they are taken from an ordinary or asynchronous source, read by tasks
on all shards in chunks, and yielded in the order of the source or as they come."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Any, Generic, TypeVar

from .._blocking import to_its_end
from .._ffi.core import Future, JoinHandle, native
from ..placement import TaskPlacement
from ..runtime import current_handle, current_shard

K = TypeVar("K")
V = TypeVar("V")

Quickly = Callable[[list[Any]], "list[V] | None"]
"""Converts many items at once, or says by None that they are to be converted one by one."""

TAKEN: Any = ...
"""In the place of a result that was yielded."""


class News:
    """What the consumer of a stream sleeps on. Any thread tells."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._future: Future[None] | None = None
        self._count = 0

    def tell(self) -> None:
        with self._lock:
            self._count += 1
            future, self._future = self._future, None
        if future is not None:
            future.set_result(None)

    def seen(self) -> int:
        """Take it before looking for results."""
        return self._count

    async def wait(self, seen: int) -> None:
        """Until there is more than what was seen."""
        future: Future[None] = native.future()
        with self._lock:
            if self._count != seen:
                return
            self._future = future
        await future


class Feed(Generic[V]):
    """The items of an ordinary iterable, converted. Its error waits until what came before it is
    done with."""

    slow = False
    """Whether it wants to be allowed each item."""

    def __init__(
        self, items: Iterable[Any], convert: Callable[[Any], V], quickly: Quickly[V] | None = None
    ) -> None:
        self._left = iter(items)
        self._convert = convert
        self._quickly = quickly
        self._failed: BaseException | None = None
        self.over = False

    def take(self, most: int) -> list[V]:
        """At most so many, now; ``over`` if there are no more."""
        items: list[Any] = []
        try:
            items.extend(itertools.islice(self._left, most))  # Those before an error stay.
        except BaseException as error:
            self._fail(error)
        found = self._quickly(items) if self._quickly is not None else None
        if found is None:
            found = []
            try:
                for item in items:
                    found.append(self._convert(item))
            except BaseException as error:
                self._fail(error)
        self.over = len(found) < most
        return found

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        self._left = iter(())

    def allow(self, count: int) -> None:
        """So many more may be taken from an asynchronous source ahead of the consumer."""

    def check(self) -> None:
        """Raises what the source raised."""
        error, self._failed = self._failed, None
        if error is not None:
            raise error

    async def close(self) -> None:
        """What it has begun has ended."""


class AsyncFeed(Feed[V]):
    """Those of an asynchronous one, which a task of its own awaits: a source that is slow keeps no
    result back."""

    slow = True

    def __init__(
        self, items: AsyncIterable[Any], convert: Callable[[Any], V], news: News, ahead: int
    ) -> None:
        self._convert = convert
        self._news = news
        self._ready: deque[V] = deque()
        self._allowed = ahead
        self._wanted: Future[None] | None = None
        self._ended = False
        self._error: BaseException | None = None
        self.over = False
        self._job = current_handle().spawn_pinned(current_shard(), self._pull(items))

    async def _pull(self, items: AsyncIterable[Any]) -> None:
        try:
            async for item in items:
                self._ready.append(self._convert(item))
                self._news.tell()
                self._allowed -= 1
                while self._allowed <= 0:  # On the consumer's shard, so nobody comes between.
                    self._wanted = native.future()
                    await self._wanted
        except Exception as error:
            self._error = error
        finally:
            self._ended = True
            self._news.tell()

    def take(self, most: int) -> list[V]:
        ended = self._ended
        found = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        self.over = ended and not self._ready
        return found

    def allow(self, count: int) -> None:
        self._allowed += count
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.set_result(None)

    def check(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    async def close(self) -> None:
        await end([self._job])


def feed(
    items: Any,
    convert: Callable[[Any], V],
    news: News,
    ahead: int,
    quickly: Quickly[V] | None = None,
) -> Feed[V]:
    """Of what a caller gave."""
    if isinstance(items, AsyncIterable):
        return AsyncFeed(items, convert, news, ahead)
    return Feed(items, convert, quickly)


async def end(jobs: list[JoinHandle[Any]]) -> None:
    """However they end: the first error is told already, or nobody asks any more."""
    for job in jobs:
        job.cancel()
    for job in jobs:
        with contextlib.suppress(Exception):
            await to_its_end(lambda job=job: job)  # type: ignore[misc]


class Chunk(Generic[K, V]):
    """Items that one task works on; each result can be taken when it is there. A subclass starts
    the task, which puts results into `results`, and their places into `done`, and tells."""

    job: JoinHandle[Any]

    def __init__(self, keys: list[K], news: News) -> None:
        self.keys = keys
        self.news = news
        self.results: list[V | None] = [None] * len(keys)
        self.done: list[int] = []
        self.given = 0
        self.over = False

    def start(self) -> None:
        """Begins the task, on one of the shards."""
        self.job = current_handle().spawn_with_placement(TaskPlacement.RoundRobin, self._run())

    async def _run(self) -> None:
        try:
            await self.work()
        finally:
            self.over = True
            self.news.tell()

    async def work(self) -> None:
        """What the task does."""
        raise NotImplementedError

    def took(self, result: V) -> None:
        """A result was given out."""

    def next_done(self) -> int | None:
        """The place of the next result in the order in which they come."""
        return self.done[self.given] if self.given < len(self.done) else None

    def has_next(self, ordered: bool) -> bool:
        """Whether the next result is there."""
        if ordered:
            return self.results[self.given] is not None
        return self.given < len(self.done)


async def stream(
    begin: Callable[[News], Feed[Any]],
    start: Callable[[list[Any], News], Chunk[K, V]],
    size: int,
    window: int,
    ordered: bool,
) -> AsyncGenerator[tuple[K, V], None]:
    """(key, result) of each item of what `begin` makes; chunks have at most `size`, and at most
    `window` items are ahead of what was yielded. What runs is cancelled, and has ended, when the
    iterator is closed or raises."""
    news = News()
    source = begin(news)
    slow = source.slow
    running: list[Chunk[K, V]] = []
    room = window
    taken = TAKEN

    def fill(room: int) -> int:
        while room >= size and not source.over and (items := source.take(size)):
            room -= len(items)
            running.append(start(items, news))
        return room

    try:
        while True:
            seen = news.seen()
            room = fill(room)
            if not running and source.over:
                break
            moved = False
            for chunk in running[:1] if ordered else list(running):
                keys, results = chunk.keys, chunk.results
                result: Any
                # The steps here are what a small file costs. Mostly all of a chunk is there: it is
                # in pairs, from the last to the first, and no pair is kept longer than it waits.
                if ordered and not slow and len(chunk.done) == len(keys):
                    given, chunk.given = chunk.given, len(keys)
                    pairs: list[Any] = list(zip(keys[given:], results[given:], strict=True))
                    results[given:] = [taken] * len(pairs)
                    pairs.reverse()
                    while pairs:
                        count = len(pairs) if source.over else min(len(pairs), max(1, size - room))
                        for _ in range(count - 1):
                            yield pairs.pop()
                        room += count
                        if room >= size:
                            room = fill(room)
                        yield pairs.pop()
                    moved = True
                while (given := chunk.given) < len(keys):
                    place = given if ordered else chunk.next_done()
                    if place is None or (result := results[place]) is None:
                        break
                    results[place] = taken
                    chunk.given = given + 1
                    if not chunk.over:
                        chunk.took(result)
                    room += 1
                    if slow:
                        source.allow(1)
                    if room >= size:
                        room = fill(room)
                    moved = True
                    yield keys[place], result
                result = None
                if chunk.given == len(keys):
                    await chunk.job
                    running.remove(chunk)
                    moved = True
                elif chunk.over and not chunk.has_next(ordered):
                    await chunk.job  # Over without a result: it raises what it failed with.
                    raise RuntimeError(f"a read ended without its result: {chunk!r}")
            if not moved:
                await news.wait(seen)
        source.check()
    finally:
        await end([chunk.job for chunk in running])
        await source.close()
