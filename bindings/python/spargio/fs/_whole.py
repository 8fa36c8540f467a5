"""Whole files: read, one or many."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, TypeVar

from .._ffi.core import Future, native
from .._validate import at_least, wrong
from ._names import ENCODING, ERRORS, Path, encode, encode_usual
from ._stream import Chunk, News, feed, stream

_CHUNK_MOST = 64
_NO_LIMIT = (1 << 63) - 1
_CHUNKS_AHEAD = 2
"""So that the shards are busy while the first one is given out."""

K = TypeVar("K")
P = TypeVar("P", bound=Path)
V = TypeVar("V")

Result = bytes | OSError


async def read(path: Path) -> bytes:
    """All of a file. Opened, read to its end and closed in one await: ``IORING_OP_OPENAT``,
    ``READ`` and ``CLOSE``, Linux 5.6."""
    (result,) = await native.read_files([encode(path)], [path], 1, [None], None, _NO_LIMIT, None)
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
        raise TypeError(wrong(name, "an iterable of them, such as a list", given))


def _named(path: Any) -> tuple[Any, bytes]:
    """With its name for the kernel; the usual case without a call."""
    if type(path) is str and b"\0" not in (name := path.encode(ENCODING, ERRORS)):
        return path, name
    return path, encode(path)


def _all_named(paths: list[Any]) -> list[tuple[Any, bytes]] | None:
    """The same for many; None if one of them is not usual."""
    names = encode_usual(paths)
    return None if names is None else list(zip(paths, names, strict=True))


class _Files(Chunk[P, Result]):
    """Files that one task reads: as many at a time as their bytes allow, more when the consumer has
    nothing left that it could take."""

    def __init__(
        self, items: list[tuple[P, bytes]], news: News, depth: int, share: int, ordered: bool
    ) -> None:
        paths, names = zip(*items, strict=True)
        super().__init__(list(paths), news)
        self._names = list(names)
        self._depth = depth
        self._share = share
        self._ordered = ordered
        self._lock = threading.Lock()
        self._room: Future[None] | None = None
        self.start()

    async def work(self) -> None:
        depth, share = self._depth, self._share
        while True:
            await native.read_files(
                self._names, self.keys, depth, self.results, self.news.tell, share, self.done
            )
            if len(self.done) == len(self.keys):
                return
            room: Future[None] = native.future()
            with self._lock:
                if not self._starves():
                    self._room = room
            if self._room is room:
                await room
            # Those behind the one that is wanted may be there already: that one alone then.
            depth, share = (1, 0) if self.given < len(self.done) else (self._depth, self._share)

    def _starves(self) -> bool:
        return len(self.done) < len(self.keys) and not self.has_next(self._ordered)

    def took(self, result: Result) -> None:
        if self._room is None and len(self.done) == len(self.keys):
            return
        with self._lock:
            room = self._room if self._starves() else None
            if room is not None:
                self._room = None
        if room is not None:
            room.set_result(None)


def read_many(
    paths: Iterable[P] | AsyncIterable[P],
    *,
    concurrency: int = 128,
    ordered: bool = True,
    max_bytes: int = 256 << 20,
) -> AsyncGenerator[tuple[P, Result], None]:
    """Read many files: (path, its bytes or the ``OSError``) for each, on all shards. `paths` is an
    ordinary or an asynchronous iterable; one that is slow keeps no result back. With `ordered` in
    the order of `paths`, else as they come: a file that is slow or fails keeps none of the others
    back.

    At most `concurrency` files are open or read ahead of the one that was yielded, and at most
    `max_bytes` of their bytes are held, or one file that is larger (a file whose size is not known
    counts as what was read of it). What `paths` raises, and ``TypeError`` or ``ValueError`` for
    what can be no path, comes in its turn, after the files before it. Close the iterator, or leave
    the task, and the rest is not read."""
    no_path("paths", paths)
    return _read_many(paths, concurrency, ordered, max_bytes)


def _read_many(
    paths: Any, concurrency: int, ordered: bool, max_bytes: int
) -> AsyncGenerator[tuple[P, Result], None]:
    concurrency = at_least("concurrency", concurrency, 1)
    max_bytes = at_least("max_bytes", max_bytes, 1)
    size = max(1, min(_CHUNK_MOST, concurrency // _CHUNKS_AHEAD))
    share = max(1, max_bytes // (concurrency // size))
    return stream(
        lambda news: feed(paths, _named, news, concurrency, _all_named),
        lambda items, news: _Files(items, news, size, share, ordered),
        size,
        concurrency,
        ordered,
    )
