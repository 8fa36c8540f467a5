"""Trees: copied."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import AsyncGenerator

from .._blocking import files
from .._ffi.core import DirEntry, JoinHandle
from .._records import dataclass
from .._validate import at_least
from ..placement import TaskPlacement
from ..runtime import current_handle
from ..sync import Semaphore
from ._copy import copy
from ._names import Path, encode
from ._paths import create_dir, metadata, read_link, set_permissions, symlink
from ._stream import end
from ._walk import OnError, read_tree


@dataclass()
class CopySummary:
    """What :func:`copy_tree` has made."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    bytes: int = 0
    errors: int = 0
    """Entries that were left out, as `on_error` was called."""


async def copy_tree(
    source: Path,
    target: Path,
    *,
    concurrency: int = 32,
    exist_ok: bool = False,
    on_error: OnError | None = None,
) -> CopySummary:
    """Copy a directory and all below it to `target`, which is made: files as :func:`copy` does, at
    most `concurrency` at a time, on all shards; symbolic links as links, and permissions. A FIFO,
    socket or device in it is an ``OSError`` EINVAL. ``FileExistsError`` if `target` is there,
    unless `exist_ok`: then files in it are written over. `target` inside `source` is a
    ``ValueError``.

    Without `on_error` the first error is raised after the copies under way have ended; with it each
    error is reported, and all else is copied. What was copied before an error, or a cancellation,
    stays."""
    concurrency = at_least("concurrency", concurrency, 1)
    top, goal = os.fsdecode(encode(source)), os.fsdecode(encode(target))
    if not (await metadata(source)).is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), source)
    inner, outer = await files.call(_real, goal), await files.call(_real, top)
    if inner == outer or inner.startswith(outer.rstrip("/") + "/"):
        raise ValueError(f"target must not be inside of source, got {target!r} in {source!r}")
    copying = _Copying(top, goal, exist_ok, on_error)
    await copying.directory("")
    await copying.run(concurrency)
    await copying.finish()
    return copying.summary


def _real(path: str) -> str:
    return os.path.realpath(path)


class _Copying:
    def __init__(self, top: str, goal: str, exist_ok: bool, on_error: OnError | None) -> None:
        self._top = os.path.join(top, "")
        self._goal = os.path.join(goal, "")
        self._exist_ok = exist_ok
        self._on_error = on_error
        self._modes: list[tuple[str, int]] = []
        """Directories that are writable for us only while we fill them."""
        self.summary = CopySummary()

    def failed(self, error: OSError) -> None:
        if self._on_error is None:
            raise error
        self.summary.errors += 1
        self._on_error(error)

    async def run(self, concurrency: int) -> None:
        """A copy that is slow keeps one place of `concurrency`, and none of the others back."""
        handle = current_handle()
        room = Semaphore(concurrency)
        jobs: deque[JoinHandle[None]] = deque()
        errors: deque[OSError] = deque()

        async def one(entry: DirEntry, name: str) -> None:
            try:
                if error := await self._one(entry, name):
                    errors.append(error)
            finally:
                room.release()

        work = self.work()
        try:
            async for entry, name in work:
                await room.acquire()
                jobs.append(handle.spawn_with_placement(TaskPlacement.RoundRobin, one(entry, name)))
                while jobs and jobs[0].done():
                    await jobs.popleft()
                while errors:
                    self.failed(errors.popleft())
            while jobs:
                await jobs[0]
                jobs.popleft()
            while errors:
                self.failed(errors.popleft())
        finally:
            await work.aclose()
            await end(list(jobs))

    async def work(self) -> AsyncGenerator[tuple[DirEntry, str], None]:
        missing: set[str] = set()
        async for entry in read_tree(self._top, on_error=self.failed):
            name = entry.path[len(self._top) :]
            if missing and _is_below(name, missing):
                continue
            if entry.is_dir():
                try:
                    await self.directory(name)
                except OSError as error:
                    missing.add(name)
                    self.failed(error)
            else:
                yield entry, name

    async def directory(self, name: str) -> None:
        """Before what is in it."""
        mode = (await metadata(self._top + name)).permissions()
        try:
            await create_dir(self._goal + name, mode=mode | stat.S_IRWXU)
        except FileExistsError:
            if not self._exist_ok or not (await metadata(self._goal + name)).is_dir():
                raise
        self._modes.append((name, mode))
        self.summary.directories += 1

    async def _one(self, entry: DirEntry, name: str) -> OSError | None:
        source, target = self._top + name, self._goal + name
        try:
            if entry.is_symlink():
                await symlink(await read_link(source), target)
                self.summary.symlinks += 1
            elif entry.is_file():
                size = await copy(source, target)
                self.summary.bytes += size
                self.summary.files += 1
            else:
                text = "copy_tree() copies files, directories and symbolic links"
                return OSError(errno.EINVAL, text, source)
        except OSError as error:
            return error
        return None

    async def finish(self) -> None:
        for name, mode in reversed(self._modes):
            try:
                await set_permissions(self._goal + name, mode)
            except OSError as error:
                self.failed(error)


def _is_below(name: str, directories: set[str]) -> bool:
    at = name.find("/")
    while at >= 0:
        if name[:at] in directories:
            return True
        at = name.find("/", at + 1)
    return False
