"""Whole files: written, one or many."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, TypeVar

from .._ffi.core import native
from .._ffi.types import Buffer
from .._validate import at_least
from ..sync import Semaphore
from ._atomic import write_atomic
from ._file import File
from ._names import Path, check_mode, encode, label
from ._room import check_room
from ._stream import Chunk, News, feed, stream
from ._whole import no_path

P = TypeVar("P", bound=Path)

Identity = tuple[int, int]
"""Device and inode: what two names of one file have in common."""


async def write(
    path: Path, data: Buffer, *, atomic: bool = False, permissions: int | None = None
) -> None:
    """Make `path` hold exactly `data`. A new file has `permissions` less the umask, by default
    0o666; an existing one keeps its own. ``TypeError`` and ``BufferError`` for `data` that cannot
    be written come before `path` is touched, and so does the ``OSError`` of a disk that has no room
    for it, where the file system can tell (fallocate(2)). Of two writes to one file at a time, by
    whatever names, one follows the other.

    With `atomic` others see the old file or the new one and nothing between, also after a power
    failure: a temporary file beside it is written, fsynced and renamed over it. A symbolic link is
    followed. What is there and no regular file is not replaced: ``IsADirectoryError``, or
    ``OSError`` EINVAL. The new file has the permissions of the old one, less setuid and setgid, and
    its owner, group and extended attributes as far as this process may give them (a group that it
    may not give gets what others have); `permissions` goes before them. A cancellation or an error
    is raised if the old file is still there; if the new one is, a cancellation comes at the
    next await, and an error says that it is there."""
    _check_data(data)
    if permissions is not None:
        permissions = check_mode("permissions", permissions)
    if atomic:
        await write_atomic(path, data, permissions)
    else:
        await _write_in_place(path, data, 0o666 if permissions is None else permissions, None)


def _check_data(data: object) -> None:
    """Opening the file empties it: what cannot be written is refused before."""
    try:
        view = memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        kind = type(data).__name__
        raise TypeError(
            f"data must be bytes, bytearray, memoryview or another buffer, got {kind}"
        ) from None
    with view:
        if not view.c_contiguous:
            raise BufferError("data must be a contiguous buffer, got one in pieces")


# ---- one file, several writers ----

_Entry = dict[str, Any]
"""The write under way to one file: its "identity", and as "turn" what the next write waits for,
made by the first that does, or None when the write has ended without one."""


class _Writers:
    """The files that this process is writing. One write to a file follows the other.

    Without a lock, because a write that is dropped ends wherever the collector finds it: each step
    is one step of a dict. ``begin`` is for the usual case, in which nobody else writes the file."""

    def __init__(self) -> None:
        self._entries: dict[Identity, _Entry] = {}

    def begin(self, identity: Identity) -> _Entry | None:
        """The file is the caller's until ``end``. None: another write is under way."""
        fresh: _Entry = {"identity": identity}
        return fresh if self._entries.setdefault(identity, fresh) is fresh else None

    async def wait(self, identity: Identity) -> _Entry:
        """The same after the writes under way."""
        while True:
            fresh: _Entry = {"identity": identity}
            entry = self._entries.setdefault(identity, fresh)
            if entry is fresh:
                return entry
            turn = entry.setdefault("turn", Semaphore(0, most=1))
            if turn is None:
                continue  # That write has just ended.
            await turn.acquire()
            # The task that has the turn may put the entry back, with all tasks that wait there.
            if self._entries.setdefault(identity, entry) is entry:
                return entry
            turn.release()  # Another write has begun: all of them wait for that one.

    def end(self, entry: _Entry) -> None:
        del self._entries[entry["identity"]]
        turn = entry.setdefault("turn", None)
        if turn is not None:
            turn.release()


writers = _Writers()


def _in_child() -> None:
    """The files that a forked child's parent writes are written by nobody there."""
    writers.__init__()  # type: ignore[misc]


os.register_at_fork(after_in_child=_in_child)


class _Turn:
    """A place in the order of one write_many(): of two writes to one file the later is to stay."""

    def __init__(self, place: int, last: dict[Identity, int]) -> None:
        self._place = place
        self._last = last

    def take(self, identity: Identity) -> bool:
        """False if a later one has written it. Only the task that has the file calls it."""
        if self._last.get(identity, -1) > self._place:
            return False
        self._last[identity] = self._place
        return True


async def _write_in_place(path: Path, data: Buffer, mode: int, turn: _Turn | None) -> None:
    descriptor = await native.open(encode(path), label(path), os.O_WRONLY | os.O_CREAT, mode)
    try:
        number = descriptor.fileno()
        info = os.fstat(number)
        if not stat.S_ISREG(info.st_mode):
            await descriptor.write_all_at(0, data)
            return
        identity = (info.st_dev, info.st_ino)
        entry = writers.begin(identity) or await writers.wait(identity)
        try:
            if turn is not None and not turn.take(identity):
                return
            # The size of now: another write may have ended since. Cheaper than another fstat.
            if os.lseek(number, 0, os.SEEK_END):
                file = File(descriptor, path)
                count = memoryview(data).nbytes
                await check_room(file, count, count)
                await file.truncate(0)
            await descriptor.write_all_at(0, data)
        finally:
            writers.end(entry)
    finally:
        await descriptor.close()


# ---- many ----


class _Writing(Chunk[P, OSError | bool]):
    """One file that a task writes; the result is True if it has."""

    def __init__(self, item: tuple[P, Buffer, _Turn], news: News) -> None:
        super().__init__([item[0]], news)
        self._item: tuple[P, Buffer, _Turn] | None = item
        self.start()

    async def work(self) -> None:
        item, self._item = self._item, None
        assert item is not None
        path, data, turn = item
        del item
        try:
            await _write_in_place(path, data, 0o666, turn)
        except OSError as error:
            self.results[0] = error
        else:
            self.results[0] = True
        self.done.append(0)


def write_many(
    files: Iterable[tuple[P, Buffer]] | AsyncIterable[tuple[P, Buffer]], *, concurrency: int = 64
) -> AsyncGenerator[tuple[P, OSError | None], None]:
    """Write many files: (path, None or the ``OSError``) for each, in order, on all shards; at most
    `concurrency` are open at a time. `files` is an ordinary or an asynchronous iterable. If a
    file comes twice, by whatever names, it has the later data in the end. What `files` raises, and
    ``TypeError`` or ``BufferError`` for data that cannot be written, comes in its turn, and nothing
    behind it is written. Close the iterator, or leave the task, and the writes under way are
    cancelled: their files may be empty or in part."""
    no_path("files", files)
    return _write_many(files, at_least("concurrency", concurrency, 1))


async def _write_many(
    files: Any, concurrency: int
) -> AsyncGenerator[tuple[P, OSError | None], None]:
    last: dict[Identity, int] = {}
    given = 0
    places = itertools.count()

    def convert(pair: tuple[P, Buffer]) -> tuple[P, Buffer, _Turn]:
        path, data = pair
        _check_data(data)
        return path, data, _Turn(next(places), last)

    written = stream(
        lambda news: feed(files, convert, news, concurrency),
        lambda items, news: _Writing(items[0], news),
        1,
        concurrency,
        ordered=True,
    )
    async with contextlib.aclosing(written) as results:
        async for path, result in results:
            given += 1
            if len(last) > 4 * concurrency:
                for identity, place in list(last.items()):
                    if place < given:  # All before it are done.
                        last.pop(identity, None)
            yield path, result if isinstance(result, OSError) else None
