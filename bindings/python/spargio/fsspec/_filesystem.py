"""The file system: what it does to one file is fsspec's own local one, what it does to many is one
call on the runtime in the background."""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from typing import Any

import fsspec
from fsspec.implementations import local

from .. import fs
from ..fs import _together, sync
from ..groups import TaskGroup
from ..placement import TaskPlacement
from ._reader import BLOCK, ReadAhead
from ._writer import Replacing

_CONCURRENCY = 128
_COPIES = 32


class SpargioFileSystem(local.LocalFileSystem):  # type: ignore[misc]
    """Local files. ``cat``, ``cat_ranges``, ``get``, ``put``, ``copy``, ``find`` and ``du`` of many
    files keep many operations under way; ``open`` for reading reads ahead. All else, transactions
    too, is as in ``fsspec.implementations.local.LocalFileSystem``.

    `max_gap`: bytes between two ranges of one file that ``cat_ranges`` reads as one, by default
    4,096. Instances may be used by any thread, and by forked children; not in a spargio task, where
    ``spargio.fs`` itself is."""

    protocol: Any = ("spargio",)

    def __init__(self, auto_mkdir: bool = False, max_gap: int = 4096, **options: Any) -> None:
        super().__init__(auto_mkdir=auto_mkdir, **options)
        self.max_gap = max_gap
        self._local = threading.local()

    # ---- reading ----

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """One file, or a part of it, by the calling thread."""
        with open(self._strip_protocol(path), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            first, length = _span(start, end, size)
            if first == 0 and (length is None or length >= size):
                whole: bytes = file.readall() if end is None else file.read(length or 0)
                if end is None or len(whole) >= min(size, length or 0):
                    return whole
                file.seek(0)
            file.seek(first)
            return _read_fully(file, size - first if length is None else length)

    def cat(
        self, path: Any, recursive: bool = False, on_error: str = "raise", **options: Any
    ) -> Any:
        """As fsspec has it, all files in one call."""
        paths = self._plain(path) if not recursive else None
        paths = paths or self.expand_path(path, recursive=recursive)
        several = len(paths) > 1 or isinstance(path, list) or paths[0] != self._strip_protocol(path)
        if not several:
            return self.cat_file(paths[0], **options)
        if options:
            return super().cat(path, recursive=recursive, on_error=on_error, **options)
        results = sync.run(_together.read_files(paths, _CONCURRENCY))
        if set(map(type, results)) == {bytes}:
            return dict(zip(paths, results, strict=True))
        found: dict[str, Any] = {}
        for name, result in zip(paths, results, strict=True):
            if not isinstance(result, OSError):
                found[name] = result
            elif recursive and isinstance(result, IsADirectoryError):
                pass  # What is in it was asked for.
            elif on_error == "raise":
                raise result
            elif on_error == "return":
                found[name] = result
        return found

    def _plain(self, path: Any) -> list[str] | None:
        """The names in a list without patterns."""
        if not isinstance(path, list) or set(map(type, path)) != {str}:
            return None
        # All in one go: a loop here would cost as much as a part of the reading.
        text = "\0".join(["", *path, ""])
        if any(mark in text for mark in "*?["):
            return None
        names = dict.fromkeys(path)
        if text.count("\0/") != len(path) or "/\0" in text:
            strip = self._strip_protocol
            names = dict.fromkeys(one if _is_plain(one) else strip(one) for one in path)
        return sorted(names)

    def cat_ranges(
        self,
        paths: Any,
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        """As fsspec has it, all ranges in one call; those of one file that are at most `max_gap`
        bytes from each other are one read."""
        if not isinstance(paths, list):
            raise TypeError(f"paths must be a list, got {paths!r}")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(starts) == len(ends) == len(paths):
            raise ValueError(
                f"starts and ends must be as many as paths, got {len(starts)} and {len(ends)}, "
                f"and {len(paths)} paths"
            )
        found: list[Any] = [None] * len(paths)
        wanted: dict[str, list[tuple[int, int, int]]] = {}
        for place, (path, start, end) in enumerate(zip(paths, starts, ends, strict=True)):
            name = path if _is_plain(path) else self._strip_protocol(path)
            if start is not None and end is not None and 0 <= start <= end:
                span = place, start, end - start
            else:
                try:
                    span = place, *_offset_and_length(name, start, end)
                except OSError as error:
                    found[place] = error
                    continue
            ranges = wanted.get(name)
            if ranges is None:
                ranges = wanted[name] = []
            ranges.append(span)
        gap = self.max_gap if max_gap is None else max_gap
        sync.run(_together.read_ranges(wanted, found, gap, _CONCURRENCY))
        if on_error != "return":
            for result in found:
                if isinstance(result, OSError):
                    raise result
        return found

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: Any = None,
        **options: Any,
    ) -> Any:
        if "w" in mode and not options.get("autocommit", True):
            if self.auto_mkdir:
                self.makedirs(self._parent(path), exist_ok=True)
            return Replacing(self._strip_protocol(path), mode, fs=self, **options)
        if mode != "rb" or options.get("compression"):
            return super()._open(path, mode, block_size, **options)
        size = BLOCK if block_size in (None, "default") else block_size
        return ReadAhead(self._strip_protocol(path), size)

    # ---- many copies ----

    def cp_file(self, path1: str, path2: str, **options: Any) -> None:
        """One file, with its holes; inside of ``get``, ``put`` and ``copy`` it waits for the
        others."""
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.auto_mkdir:
            self.makedirs(self._parent(target), exist_ok=True)
        info = os.stat(source)
        if stat.S_ISDIR(info.st_mode):
            self.makedirs(target, exist_ok=True)
            return
        together: dict[str, str] | None = getattr(self._local, "together", None)
        if together is None:
            sync.run(_copy_all([(source, target)]))
        else:
            together[target] = source

    def get(self, *arguments: Any, **options: Any) -> Any:
        """As fsspec has it; the files are copied side by side."""
        return self._together(super().get, *arguments, **options)

    def put(self, *arguments: Any, **options: Any) -> Any:
        """As fsspec has it; the files are copied side by side."""
        return self._together(super().put, *arguments, **options)

    def copy(self, *arguments: Any, **options: Any) -> Any:
        """As fsspec has it; the files are copied side by side."""
        return self._together(super().copy, *arguments, **options)

    def _together(self, call: Any, *arguments: Any, **options: Any) -> Any:
        if getattr(self._local, "together", None) is not None:
            return call(*arguments, **options)
        waiting: dict[str, str] = {}
        self._local.together = waiting
        try:
            result = call(*arguments, **options)
        finally:
            self._local.together = None
        if waiting:
            sync.run(_copy_all([(source, target) for target, source in waiting.items()]))
        return result

    # ---- listing ----

    def ls(self, path: str, detail: bool = False, **options: Any) -> list[Any]:
        """As fsspec has it; with `detail` the entries are looked at where they are listed."""
        name = self._strip_protocol(path)
        try:
            entries = list(sync.run(_listed(name, detail)))
        except NotADirectoryError:
            return [self.info(name)] if detail else [name]
        if not detail:
            return [entry.path for entry in entries]
        infos = (self._info_of(entry) for entry in entries)
        return [info for info in infos if info is not None]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **options: Any,
    ) -> Any:
        """As fsspec has it, by one walk of the tree."""
        name = self._strip_protocol(path)
        if maxdepth is not None or not os.path.isdir(name):
            return super().find(path, maxdepth, withdirs, detail, **options)
        found: dict[str, Any] = {}
        if withdirs:
            found[name] = self.info(name) if detail else None
        for entry in sync.read_tree(name, metadata=detail, on_error=_nothing):
            if withdirs or not entry.is_dir():
                info = self._info_of(entry) if detail else {}
                if info is not None:
                    found[entry.path] = info
        names = sorted(found)
        return {one: found[one] for one in names} if detail else names

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **options: Any,
    ) -> Any:
        """As fsspec has it, by one walk of the tree."""
        if maxdepth is not None or not self.isdir(path):
            return super().du(path, total, maxdepth, withdirs, **options)
        sizes = {
            name: info["size"]
            for name, info in self.find(path, withdirs=withdirs, detail=True).items()
        }
        return sum(sizes.values()) if total else sizes

    def _info_of(self, entry: fs.DirEntry) -> dict[str, Any] | None:
        about: fs.Metadata | None = entry.metadata()
        if about is None:
            return None  # It went away.
        kind = "directory" if entry.is_dir() else "file" if entry.is_file() else "other"
        info: dict[str, Any] = {
            "name": entry.path,
            "size": about.size,
            "type": kind,
            "created": about.changed_ns / 1e9,
            "islink": entry.is_symlink(),
            "mode": about.mode,
            "uid": about.uid,
            "gid": about.gid,
            "mtime": about.modified_ns / 1e9,
            "ino": about.inode,
            "nlink": about.links,
        }
        if entry.is_symlink():
            try:
                info["destination"] = os.readlink(entry.path)
                info["size"] = os.stat(entry.path).st_size
            except OSError:
                info["size"] = 0
        return info

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """As fsspec has it; a tree is removed from within."""
        for one in path if isinstance(path, list) else [path]:
            name = self._strip_protocol(one)
            tree = recursive and os.path.isdir(name) and not os.path.islink(name)
            if tree and os.path.abspath(name) != os.getcwd():
                sync.run(fs.remove_dir_all(name))
            else:
                super().rm(one, recursive=recursive, maxdepth=maxdepth)


class LocalFileSystem(SpargioFileSystem):
    """The same under the names of fsspec's own."""

    protocol = ("file", "local")


def replace_local() -> None:
    """From now on ``file://`` and paths without a protocol are spargio's, in this process: for
    libraries that offer no place to say which file system they shall use."""
    for name in LocalFileSystem.protocol:
        fsspec.register_implementation(name, LocalFileSystem, clobber=True)


# ---- in the background ----


async def _listed(path: str, detail: bool) -> list[fs.DirEntry]:
    return await fs.read_dir(path, metadata=detail)


async def _copy_all(pairs: list[tuple[str, str]]) -> None:
    """The first error is raised when all have ended."""
    todo = deque(pairs)
    errors: list[OSError] = []

    async def work() -> None:
        while True:
            try:
                source, target = todo.popleft()
            except IndexError:
                return
            try:
                await fs.copy(source, target)
            except OSError as error:
                errors.append(error)

    async with TaskGroup() as group:
        for _ in range(min(_COPIES, len(pairs))):
            group.spawn(work(), placement=TaskPlacement.RoundRobin)
    if errors:
        raise errors[0]


def _nothing(error: OSError) -> None:
    """What cannot be entered is left out, as fsspec does."""


# ---- spans of bytes ----


def _span(start: int | None, end: int | None, size: int) -> tuple[int, int | None]:
    """Offset and length, of which negative ones count from the end."""
    first = 0 if start is None else max(0, start + size) if start < 0 else start
    if end is None:
        return first, None
    last = max(0, end + size) if end < 0 else end
    return first, max(0, last - first)


def _offset_and_length(path: str, start: int | None, end: int | None) -> tuple[int, int]:
    """As the ring takes it: a length of -1 is all from the offset on."""
    negative = (start is not None and start < 0) or (end is not None and end < 0)
    offset, length = _span(start, end, os.stat(path).st_size if negative else 0)
    return offset, -1 if length is None else length


def _is_plain(path: Any) -> bool:
    """Whether it is an absolute path as it is, which is what most are."""
    return type(path) is str and path[:1] == "/" and path[-1:] != "/"


def _read_fully(file: Any, length: int) -> bytes:
    pieces = []
    while length > 0 and (piece := file.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
