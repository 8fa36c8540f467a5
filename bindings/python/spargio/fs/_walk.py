"""Directories: what is in one, in a tree, and how much. io_uring cannot list a directory: a thread
of the pool does that, by getdents64 in large blocks and by directory descriptors, and hands whole
blocks of entries back (zig-src/python/files/)."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

from .._blocking import files
from .._ffi.core import DirEntry as DirEntry
from .._ffi.core import native
from .._records import dataclass
from ._metadata import Metadata, from_stat
from ._names import Path, encode
from ._paths import metadata, symlink_metadata
from ._reach import is_long, look

if TYPE_CHECKING:
    from .._pool import Job

DEEP = 1
FOLLOW = 2
WITH_METADATA = 4
WHOLE = 8
NO_LINK = 16
"""What a native walker is told."""

OnError = Callable[[OSError], object]

_LISTED_AHEAD = 4
"""Directories that walk() lists before it gives them out."""


class Entries:
    """The entries of a directory or a tree, once: iterate it (``async for``), or await it for a
    list of all. What is read ahead is one block, of 1,000 entries at the most."""

    def __init__(self, path: Path, options: int, on_error: OnError | None) -> None:
        self._name = encode(path)
        self._options = options
        self._on_error = on_error

    def __await__(self) -> Generator[Any, None, list[DirEntry]]:
        return self._list().__await__()

    def __aiter__(self) -> AsyncIterator[DirEntry]:
        return self._each()

    async def blocks(self) -> AsyncGenerator[list[DirEntry], None]:
        """Lists of entries, as they come: less work per entry than one after the other."""
        walker = native.walker(self._name, self._options, Metadata)
        job: Job[list[Any]] = files.begin(walker.block)
        try:
            while block := await job.answer:
                job = files.begin(walker.block)
                if type(block[-1]) is tuple:  # An error ends its block.
                    number, path = block.pop()
                    self._failed(OSError(number, os.strerror(number), path))
                if block:
                    yield block
        finally:
            walker.stop()
            job.abandon()
            del job

    def _failed(self, error: OSError) -> None:
        if self._on_error is None:
            raise error
        self._on_error(error)

    async def _each(self) -> AsyncGenerator[DirEntry, None]:
        blocks = self.blocks()
        try:
            async for block in blocks:
                for entry in block:
                    yield entry
        finally:
            await blocks.aclose()

    async def _list(self) -> list[DirEntry]:
        found: list[DirEntry] = []
        async for block in self.blocks():
            found += block
        return found


def read_dir(path: Path = ".", *, metadata: bool = False) -> Entries:
    """The entries of a directory but "." and "..", in its own order: ``await`` returns a list,
    ``async for`` one after the other. With `metadata` each has its :meth:`DirEntry.metadata`.
    `path`, here and in what follows, may be longer than the kernel takes at a time (4,096
    bytes)."""
    return Entries(path, WITH_METADATA if metadata else 0, None)


def read_tree(
    path: Path = ".",
    *,
    metadata: bool = False,
    follow_symlinks: bool = False,
    on_error: OnError | None = None,
) -> Entries:
    """All entries below `path`, whatever the depth: a directory before what is in it. In constant
    memory, but for what `follow_symlinks` remembers: it enters what symbolic links lead to, each
    directory once. A directory that cannot be entered raises, or is passed to `on_error` and left
    out. ``await`` and ``async for`` as with :func:`read_dir`."""
    options = DEEP | FOLLOW * bool(follow_symlinks) | WITH_METADATA * bool(metadata)
    return Entries(path, options, on_error)


def listed(path: str) -> list[DirEntry]:
    """On a thread of the pool."""
    walker = native.walker(encode(path), 0, None)
    found: list[DirEntry] = []
    while block := walker.block():
        if type(block[-1]) is tuple:
            number, name = block.pop()
            raise OSError(number, os.strerror(number), name)
        found += block
    return found


async def _look(path: str, follow_symlinks: bool) -> Metadata:
    if is_long(path):
        return from_stat(await files.call(look, path, follow_symlinks))
    # A call of a pool, because the kernel would hand the operation of the ring to a thread too.
    return await (metadata if follow_symlinks else symlink_metadata)(path)


class _Ahead:
    """Lists directories that will be wanted, a few at a time."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job[list[DirEntry]]] = OrderedDict()

    def begin(self, paths: list[str]) -> None:
        for path in paths:
            if path not in self._jobs:
                self._jobs[path] = files.begin(listed, path)

    async def take(self, path: str) -> list[DirEntry]:
        self.begin([path])
        job = self._jobs.pop(path)
        try:
            return await job.answer
        except BaseException:
            job.abandon()
            raise
        finally:
            del job

    def close(self) -> None:
        for job in self._jobs.values():
            job.abandon()


async def walk(
    path: Path = ".",
    *,
    follow_symlinks: bool = False,
    on_error: OnError | None = None,
) -> AsyncIterator[tuple[str, list[DirEntry], list[DirEntry]]]:
    """(directory, directories in it, all else in it), from the top down; taking entries out of the
    first list leaves them out of the walk. A directory that cannot be listed raises, or is told to
    `on_error` and left out. With `follow_symlinks` links to directories are entered too, each
    directory once. The next few directories are listed meanwhile."""
    seen: set[tuple[int, int]] = set()
    todo = [os.fsdecode(encode(path))]
    ahead = _Ahead()
    try:
        while todo:
            directory = todo.pop()
            try:
                if follow_symlinks:
                    info = await _look(directory, True)
                    if (info.device, info.inode) in seen:
                        continue
                    seen.add((info.device, info.inode))
                ahead.begin(todo[: -_LISTED_AHEAD - 1 : -1])
                entries = await ahead.take(directory)
            except OSError as error:
                if on_error is None:
                    raise
                on_error(error)
                continue
            inside: list[DirEntry] = []
            others: list[DirEntry] = []
            for entry in entries:
                enter = entry.is_dir() or (
                    follow_symlinks
                    and entry.is_symlink()
                    and await _leads_to_a_directory(entry.path)
                )
                (inside if enter else others).append(entry)
            yield directory, inside, others
            todo.extend([entry.path for entry in reversed(inside)])
    finally:
        ahead.close()


async def _leads_to_a_directory(path: str) -> bool:
    try:
        return (await _look(path, True)).is_dir()
    except OSError:
        return False


@dataclass(frozen=True)
class DuOptions:
    """How :func:`du` counts."""

    follow_symlinks: bool = False
    """Count what symbolic links lead to, instead of the links."""
    one_file_system: bool = False
    """Leave out directories on another device than the first."""
    count_links_once: bool = True
    """A file with several names counts once; so does one that followed links lead to."""


@dataclass()
class DuSummary:
    """What :func:`du` found. `disk_bytes` is what the blocks take, which for a sparse file is less
    than its `apparent_bytes`."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    apparent_bytes: int = 0
    disk_bytes: int = 0
    errors: int = 0
    """Entries that could not be looked at, and directories that could not be read."""


async def du(path: Path = ".", options: DuOptions | None = None) -> DuSummary:
    """How much is below `path`, itself included: counted by a thread of the pool, which runs no
    Python meanwhile. ``OSError`` only for `path` itself."""
    chosen = options or DuOptions()
    follow = chosen.follow_symlinks
    name = os.fsdecode(encode(path))
    try:
        top = await _look(name, follow)
    except OSError as error:
        error.filename = path
        raise
    if not top.is_dir():
        link = top.is_symlink()
        return DuSummary(1 - link, 0, int(link), top.size, top.blocks * 512, 0)
    walker = native.walker(encode(path), DEEP | FOLLOW * follow, None)
    job = files.begin(walker.count, int(chosen.one_file_system), int(chosen.count_links_once))
    try:
        sums = await job.answer
    except OSError:
        # It was there a moment ago, and may not be read.
        return DuSummary(0, 1, 0, top.size, top.blocks * 512, 1)
    except BaseException:
        walker.stop()
        job.abandon()
        raise
    finally:
        del job
    assert sums is not None  # It was not stopped.
    return DuSummary(*sums)
