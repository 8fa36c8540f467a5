"""Directories: what is in one, in a tree, and how much. io_uring cannot list a directory: a thread
of the pool does that, by getdents64 in large blocks and by directory descriptors, and hands whole
blocks of entries back (zig-src/python/files/)."""

from __future__ import annotations

import contextlib
import os
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
    from .._ffi.core import EntryBlock, EntryStream
    from .._pool import Job

DEEP = 1
FOLLOW = 2
WITH_METADATA = 4
WHOLE = 8
NO_LINK = 16
"""What a native walker is told."""

OnError = Callable[[OSError], object]

_TOGETHER_MOST = 16
"""Directories that walk() has listed by one call, if they are small."""
_GROUPS_MOST = 4
"""Such calls under way at a time."""
_LISTED_MOST = 64
"""Directories that are listed and not given out, before it asks for more than it needs next."""


class Entries:
    """The entries of a directory or a tree, once: iterate it (``async for``), or await it for a
    list of all. What is read ahead is one block, of 1,000 entries at the most."""

    def __init__(self, path: Path, options: int, on_error: OnError | None) -> None:
        self._name = encode(path)
        self._options = options
        self._on_error = on_error

    def __repr__(self) -> str:
        return f"<Entries of {os.fsdecode(self._name)!r}>"

    def __await__(self) -> Generator[Any, None, list[DirEntry]]:
        return self._list().__await__()

    def __aiter__(self) -> AsyncIterator[DirEntry]:
        return native.entry_stream(_Source(self._found()))

    async def blocks(self) -> AsyncGenerator[list[DirEntry], None]:
        """Lists of entries, as they come."""
        async with contextlib.aclosing(self._found()) as found:
            async for block in found:
                yield block.list()

    async def _found(self) -> AsyncGenerator[EntryBlock, None]:
        walker = native.walker(self._name, self._options, Metadata)
        job: Job[EntryBlock | None] = files.begin(walker.block)
        try:
            while True:
                await native.yield_now()  # The next block may be there already, and others wait.
                block = await job.answer
                if block is None:
                    return
                job = files.begin(walker.block)
                if len(block):
                    yield block
                if failure := block.error():
                    number, path = failure
                    self._failed(OSError(number, os.strerror(number), path))
        finally:
            walker.stop()
            job.abandon()
            del job

    def _failed(self, error: OSError) -> None:
        if self._on_error is None:
            raise error
        self._on_error(error)

    async def _list(self) -> list[DirEntry]:
        found: list[DirEntry] = []
        async with contextlib.aclosing(self.blocks()) as blocks:
            async for block in blocks:
                found += block
        return found


class _Source:
    """What a native stream of entries asks for its next block."""

    def __init__(self, found: AsyncGenerator[EntryBlock, None]) -> None:
        self._found = found
        self.aclose = found.aclose

    async def more(self, stream: EntryStream) -> DirEntry:
        return stream.begin(await anext(self._found))


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


async def _look(path: str, follow_symlinks: bool) -> Metadata:
    if is_long(path):
        return from_stat(await files.call(look, path, follow_symlinks))
    # A call of a pool, because the kernel would hand the operation of the ring to a thread too.
    return await (metadata if follow_symlinks else symlink_metadata)(path)


_AT_ONCE = 1000
"""Entries that are looked at before others get their turn."""

Listed = tuple[list[DirEntry], list[DirEntry]] | tuple[int, str]
"""(directories, all else), or (errno, path)."""


class _Group:
    """Directories that one call lists, or the first of them."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        names = [encode(path) for path in paths]
        self.job: Job[list[Listed]] = files.begin(native.list_directories, names)


class _Ahead:
    """Lists directories that will be wanted."""

    def __init__(self) -> None:
        self._groups: list[_Group] = []
        self._listed: dict[str, Listed] = {}

    def begin(self, paths: list[str]) -> None:
        """These are wanted soon, the first of them first."""
        if len(self._groups) < _GROUPS_MOST and len(self._listed) < _LISTED_MOST:
            self._begin(paths)

    def _begin(self, paths: list[str]) -> None:
        known = self._listed.keys() | {path for group in self._groups for path in group.paths}
        if new := [path for path in paths if path not in known]:
            self._groups.append(_Group(new[:_TOGETHER_MOST]))

    async def take(self, path: str, following: list[str]) -> Listed:
        while path not in self._listed:
            group = next((one for one in self._groups if path in one.paths), None)
            try:
                if group is None:
                    self._begin([path, *following])
                else:
                    await native.yield_now()  # It may be over already, and others wait.
                    listed = await group.job.answer
                    self._groups.remove(group)
                    self._listed.update(zip(group.paths, listed, strict=False))
            finally:
                del group  # An error of its answer has this frame.
        return self._listed.pop(path)

    def close(self) -> None:
        for group in self._groups:
            group.job.abandon()


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
    # An entry makes its path when it is asked: a directory may have very many in it.
    todo: list[str | DirEntry] = [os.fsdecode(encode(path))]
    ahead = _Ahead()
    try:
        while todo:
            directory = os.fspath(todo.pop())
            try:
                if follow_symlinks:
                    info = await _look(directory, True)
                    if (info.device, info.inode) in seen:
                        continue
                    seen.add((info.device, info.inode))
                following = [os.fspath(one) for one in todo[: -2 * _TOGETHER_MOST - 1 : -1]]
                listed = await ahead.take(directory, following)
                if isinstance(listed[0], int):
                    raise OSError(listed[0], os.strerror(listed[0]), listed[1])
            except OSError as error:
                if on_error is None:
                    raise
                on_error(error)
                continue
            inside, others = listed
            if follow_symlinks:
                await _move_what_leads_to_directories(others, inside)
            ahead.begin(following)
            yield directory, inside, others
            todo.extend(reversed(inside))
    finally:
        ahead.close()


async def _move_what_leads_to_directories(others: list[DirEntry], inside: list[DirEntry]) -> None:
    rest: list[DirEntry] = []
    for start in range(0, len(others), _AT_ONCE):
        for entry in others[start : start + _AT_ONCE]:
            leads = entry.is_symlink() and await _leads_to_a_directory(entry.path)
            (inside if leads else rest).append(entry)
        await native.yield_now()
    others[:] = rest


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
