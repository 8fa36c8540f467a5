"""Directories: what is in one, in a tree, and how much. io_uring cannot list a directory, so a
thread of the pool does that, one call per directory; the rest are operations of the ring."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

from .._blocking import files
from .._records import dataclass
from ._metadata import Metadata, from_stat
from ._names import Path, encode
from ._paths import metadata, symlink_metadata
from ._reach import is_long, look, scan


@dataclass(frozen=True)
class DirEntry:
    """A name in a directory. Its type is the directory's word for it: a symbolic link is neither
    a file nor a directory."""

    name: str
    path: str
    inode: int
    _kind: str

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self._kind == "file"

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self._kind == "dir"

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self._kind == "symlink"


def _list(path: str) -> list[DirEntry]:
    found = []
    with scan(path) as entries:
        for entry in entries:
            if entry.is_symlink():
                kind = "symlink"
            elif entry.is_dir(follow_symlinks=False):
                kind = "dir"
            elif entry.is_file(follow_symlinks=False):
                kind = "file"
            else:
                kind = "other"
            full = entry.path if entry.path != entry.name else os.path.join(path, entry.name)
            found.append(DirEntry(entry.name, full, entry.inode(), kind))
    return found


async def read_dir(path: Path = ".") -> list[DirEntry]:
    """All entries but "." and "..", in the directory's own order. `path`, here and in what follows,
    may be longer than the kernel takes at a time (4,096 bytes)."""
    return await files.call(_list, os.fsdecode(encode(path)))


async def _look(path: str, follow_symlinks: bool) -> Metadata:
    if is_long(path):
        return from_stat(await files.call(look, path, follow_symlinks))
    return await (metadata if follow_symlinks else symlink_metadata)(path)


async def walk(
    path: Path = ".",
    *,
    follow_symlinks: bool = False,
    on_error: Callable[[OSError], object] | None = None,
) -> AsyncIterator[tuple[str, list[DirEntry], list[DirEntry]]]:
    """(directory, directories in it, all else in it), from the top down; taking entries out of the
    first list leaves them out of the walk. A directory that cannot be listed raises, or is told to
    `on_error` and left out. With `follow_symlinks` links to directories are entered too, each
    directory once."""
    seen: set[tuple[int, int]] = set()
    todo = [os.fsdecode(encode(path))]
    while todo:
        directory = todo.pop()
        try:
            if follow_symlinks:
                info = await _look(directory, True)
                if (info.device, info.inode) in seen:
                    continue
                seen.add((info.device, info.inode))
            entries = await read_dir(directory)
        except OSError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        inside: list[DirEntry] = []
        others: list[DirEntry] = []
        for entry in entries:
            enter = entry.is_dir() or (
                follow_symlinks and entry.is_symlink() and await _leads_to_a_directory(entry.path)
            )
            (inside if enter else others).append(entry)
        yield directory, inside, others
        todo.extend(entry.path for entry in reversed(inside))


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
    """Entries that could not be looked at."""


async def du(path: Path = ".", options: DuOptions | None = None) -> DuSummary:
    """How much is below `path`, itself included. ``OSError`` only for `path` itself."""
    chosen = options or DuOptions()
    follow = chosen.follow_symlinks
    summary = DuSummary()
    counted: set[tuple[int, int]] = set()
    todo = [os.fsdecode(encode(path))]
    try:
        top = await _look(todo[0], follow)
    except OSError as error:
        error.filename = path
        raise
    while todo:
        name = todo.pop()
        inside: list[DirEntry] = []
        try:
            info = await _look(name, follow)
            if info.is_dir():
                if chosen.one_file_system and info.device != top.device:
                    continue
                inside = await read_dir(name)
        except OSError:
            summary.errors += 1
            continue
        identity = (info.device, info.inode)
        several = info.is_dir() or info.links > 1 or chosen.follow_symlinks
        if several and (chosen.count_links_once or info.is_dir()):
            if identity in counted:
                continue
            counted.add(identity)
        if info.is_dir():
            summary.directories += 1
            todo.extend(entry.path for entry in inside)
        elif info.is_symlink():
            summary.symlinks += 1
        else:
            summary.files += 1
        summary.apparent_bytes += info.size
        summary.disk_bytes += info.blocks * 512
    return summary
