"""Many ranges of many files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any

from .._ffi.core import native
from .._ffi.types import Buffer
from .._validate import at_least, integer, within
from ._names import Path, encode
from ._stream import Chunk, Feed, News, feed, stream
from ._whole import no_path

Range = tuple[Path, int, int | None]
"""Path, offset and length in bytes; None for all from the offset on."""

RangeResult = bytes | int | OSError

_TOGETHER_MOST = 1024
"""Ranges in one task."""
_DEPTH_MOST = 64
_GAP_MOST = 16 << 20
_SIZE_MOST = 1 << 30
_UNKNOWN = 1 << 20
"""What a range without a length counts as."""

Item = tuple[int, Path, bytes, int, int, "Buffer | None"]


class _Ranges(Chunk[int, RangeResult]):
    def __init__(self, items: list[Item], news: News, depth: int, gap: int, largest: int) -> None:
        super().__init__([item[0] for item in items], news)
        self._items: list[Item] | None = items
        self._limits = (gap, largest, depth)
        self.start()

    async def work(self) -> None:
        items, self._items = self._items, None
        assert items is not None
        places: dict[bytes, int] = {}
        labels: list[Path] = []
        files = []
        for item in items:
            name = item[2]
            place = places.get(name)
            if place is None:
                place = places[name] = len(labels)
                labels.append(item[1])
            files.append(place)
        into = None if items[0][5] is None else [item[5] for item in items]
        offsets = [item[3] for item in items]
        lengths = [item[4] for item in items]
        names = list(places)
        del items
        await native.read_ranges(
            names,
            labels,
            files,
            offsets,
            lengths,
            into,
            *self._limits,
            self.results,
            self.done,
            self.news.tell,
        )


class _ByBytes(Feed[Item]):
    """Chunks of at most so many bytes."""

    def __init__(self, items: Feed[Item], share: int) -> None:
        self._items = items
        self._share = share
        self._kept: list[Item] = []

    @property
    def slow(self) -> bool:  # type: ignore[override]
        return self._items.slow

    @property
    def over(self) -> bool:  # type: ignore[override]
        return not self._kept and self._items.over

    def take(self, most: int) -> list[Item]:
        found = self._kept
        if len(found) < most and not self._items.over:
            found = found + self._items.take(most - len(found))
        total = 0
        for count, item in enumerate(found):
            total += item[4] if item[4] >= 0 else _UNKNOWN
            if count and (total > self._share or count == most):
                self._kept = found[count:]
                return found[:count]
        self._kept = []
        return found

    def allow(self, count: int) -> None:
        self._items.allow(count)

    def check(self) -> None:
        self._items.check()

    async def close(self) -> None:
        await self._items.close()


def read_ranges(
    ranges: Iterable[Range] | AsyncIterable[Range],
    *,
    into: Buffer | Iterable[Buffer] | None = None,
    ordered: bool = True,
    max_gap: int = 4096,
    max_size: int = 8 << 20,
    concurrency: int = 128,
    max_bytes: int = 256 << 20,
) -> AsyncGenerator[tuple[int, RangeResult], None]:
    """Read many ranges of many files: (place in `ranges`, bytes or the ``OSError``) for each, on
    all shards. A range is (path, offset, length) in bytes; the length None means all from the
    offset on, as the file says its size when it is opened. What is behind the end of a file is
    missing from the result.

    With `ordered` in the order of `ranges`, else as they come: one that is slow or fails keeps none
    of the others back. Ranges of one file with at most `max_gap` bytes between them are one read,
    of at most `max_size` bytes. At most `concurrency` files are open and as many reads under way;
    at most `max_bytes` bytes are read ahead of what was yielded, or one range that is larger (a
    range without a length counts as 1 MiB).

    `into` is memory of the caller's: one writable buffer, which the ranges fill one after the
    other, or a buffer for each range. The results are numbers of bytes then, and nothing is copied.
    The buffers must stay as they are until their results are there.

    What `ranges` raises, and ``TypeError`` or ``ValueError`` for what can be no range, comes in its
    turn, after the results of those before it. Close the iterator, or leave the task, and the rest
    is not read. In a task; each iterator belongs to one."""
    no_path("ranges", ranges)
    limits = (
        within("max_gap", max_gap, 0, _GAP_MOST),
        within("max_size", max_size, 1, _SIZE_MOST),
        at_least("concurrency", concurrency, 1),
        at_least("max_bytes", max_bytes, 1),
    )
    return _read_ranges(ranges, into, ordered, *limits)


def _read_ranges(
    ranges: Any, into: Any, ordered: bool, gap: int, largest: int, concurrency: int, most: int
) -> AsyncGenerator[tuple[int, RangeResult], None]:
    count = 1 if concurrency == 1 else 2
    depth = min(_DEPTH_MOST, max(1, concurrency // count))
    window = _TOGETHER_MOST * max(count, concurrency // _DEPTH_MOST)
    convert = _Convert(None if into is None else _buffers(into))
    share = max(1, most // (window // _TOGETHER_MOST))
    return stream(
        lambda news: _ByBytes(feed(ranges, convert, news, window), share),
        lambda items, news: _Ranges(items, news, depth, gap, largest),
        min(_TOGETHER_MOST, window),
        window,
        ordered,
    )


class _Convert:
    """Ranges as they are passed on, with their places."""

    def __init__(self, buffers: Any) -> None:
        self._buffers = buffers
        self._count = 0
        self._encoded: dict[Any, bytes] = {}

    def __call__(self, given: Any) -> Item:
        try:
            path, offset, length = given
        except (TypeError, ValueError):
            raise TypeError(f"a range must be (path, offset, length), got {given!r}") from None
        name = self._name(path)
        if type(offset) is not int:
            offset = integer("offset", offset)
        if length is None:
            length = -1
        else:
            if type(length) is not int:
                length = integer("length", length)
            if length < 0:
                raise ValueError(f"length must be 0 or more, or None, got {length}")
        if offset < 0 or offset + length > 0x7FFF_FFFF_FFFF_FFFF:
            raise ValueError(f"offset must be 0 or more, and the end below 2**63, got {offset}")
        buffer = None
        if self._buffers is not None:
            buffer = self._buffers.send(length)
            if buffer is None:
                raise ValueError(f"into must have a buffer for each range, got {self._count}")
        item = (self._count, path, name, offset, length, buffer)
        self._count += 1
        return item

    def _name(self, path: Any) -> bytes:
        if type(path) is not str:
            return encode(path)
        name = self._encoded.get(path)
        if name is None:
            if len(self._encoded) >= _TOGETHER_MOST:
                self._encoded.clear()
            name = self._encoded[path] = encode(path)
        return name


def _buffers(into: Any) -> Any:
    """Started: send() the length of a range, and get the buffer for it."""
    try:
        view = memoryview(into)
    except TypeError:
        source = _one_each(into)
    else:
        source = _one_for_all(view.cast("B"))
    next(source)
    return source


def _one_each(into: Any) -> Any:
    yield None
    for buffer in into:  # noqa: UP028  # "yield from" would pass on what is sent.
        yield buffer
    while True:
        yield None


def _one_for_all(view: memoryview) -> Any:
    length = yield None
    at = 0
    while True:
        if length < 0:
            raise ValueError("length must be a number of bytes with one buffer for all, got None")
        if at + length > len(view):
            raise ValueError(
                f"into must have room for all ranges, got {len(view)} bytes, and {at + length} "
                "are needed so far"
            )
        piece = view[at : at + length]
        at += length
        length = yield piece
