"""Names by a pattern, as :mod:`glob` has them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

from ._names import Path, encode
from ._paths import exists, metadata, symlink_metadata
from ._walk import DirEntry, read_dir, read_tree


async def glob(
    pattern: Path, *, root: Path | None = None, include_hidden: bool = False
) -> AsyncIterator[str]:
    """Paths that match `pattern`, in no order, each once: "*", "?" and "[...]" within a name, and
    "**" for any number of directories, itself none among them. As ``glob.iglob`` with
    ``recursive=True``, but "**" does not follow symbolic links. With `root` the pattern, and the
    paths, are relative to that directory. Names that begin with a dot match only a pattern that
    does, unless `include_hidden`. A directory that cannot be read has no names."""
    text = os.fsdecode(encode(pattern))
    base = "" if root is None else os.path.join(os.fsdecode(encode(root)), "")
    start = "/" if text.startswith("/") else ""
    parts = [part for part in text.split("/") if part]
    if text.endswith("/") and parts:
        parts.append("")
    seen: set[str] | None = set() if parts.count("**") > 1 else None
    search = _Search(base, include_hidden)
    async for path in search.below(start, parts):
        if seen is not None:
            if path in seen:
                continue
            seen.add(path)
        if path:
            yield path


class _Search:
    def __init__(self, base: str, include_hidden: bool) -> None:
        self._base = base
        self._include_hidden = include_hidden

    async def below(self, directory: str, parts: list[str]) -> AsyncIterator[str]:
        """`directory` ends with a slash, or is empty."""
        if not parts:
            return
        part, rest = parts[0], parts[1:]
        if part == "**":
            async for path in self._everything(directory, rest):
                yield path
        elif part and _is_pattern(part):
            match = self._matcher(part)
            async for entry in self._entries(directory):
                if not match(entry.name):
                    continue
                path = directory + entry.name
                if not rest:
                    yield path
                elif await self._is_dir(entry, path):
                    async for found in self.below(path + "/", rest):
                        yield found
        elif rest:
            async for found in self.below(f"{directory}{part}/", rest):
                yield found
        elif await self._is_there(directory + part):
            yield directory + part

    async def _everything(self, directory: str, rest: list[str]) -> AsyncIterator[str]:
        if not rest:
            if directory and await self._is_there(directory):
                yield directory
        else:
            async for found in self.below(directory, rest):
                yield found
        top = self._base + directory
        async for entry in read_tree(top or ".", on_error=_nothing):
            path = entry.path[len(top) if top else 2 :]
            if not self._include_hidden and (path[0] == "." or "/." in path):
                continue
            if not rest:
                yield directory + path
            elif entry.is_dir():
                async for found in self.below(f"{directory}{path}/", rest):
                    yield found

    async def _entries(self, directory: str) -> AsyncIterator[DirEntry]:
        try:
            async for entry in read_dir(self._base + directory or "."):
                yield entry
        except OSError:
            return

    def _matcher(self, part: str) -> Callable[[str], object]:
        import fnmatch
        import re

        match = re.compile(fnmatch.translate(part)).match
        if part[0] == "." or self._include_hidden:
            return match
        return lambda name: name[0] != "." and match(name)

    async def _is_there(self, path: str) -> bool:
        name = self._base + path
        if name.endswith("/"):
            return await self._leads_to_a_directory(name)
        try:
            await symlink_metadata(name)
        except (OSError, ValueError):
            return False
        return True

    async def _is_dir(self, entry: DirEntry, path: str) -> bool:
        return entry.is_dir() or (
            entry.is_symlink() and await self._leads_to_a_directory(self._base + path)
        )

    async def _leads_to_a_directory(self, name: str) -> bool:
        try:
            return await exists(name) and (await metadata(name)).is_dir()
        except OSError:
            return False


def _nothing(error: OSError) -> None:
    """A directory that cannot be read has no names."""


def _is_pattern(part: str) -> bool:
    return any(mark in part for mark in "*?[")
