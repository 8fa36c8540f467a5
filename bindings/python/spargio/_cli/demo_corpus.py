"""The files that the demo sends: which they are, and under which name each travels."""

from __future__ import annotations

import os
import stat
import sysconfig
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FILES = 3000
_NOT_THE_LIBRARY = frozenset({"__pycache__", "site-packages", "dist-packages"})


@dataclass(frozen=True)
class Entry:
    """One file; `path` is relative to the corpus."""

    index: int
    path: str
    size: int

    @property
    def wire_name(self) -> bytes:
        """Unique within the corpus, short, and without a path separator."""
        return f"{self.index:08d}-".encode() + os.fsencode(os.path.basename(self.path))[:200]


@dataclass(frozen=True)
class Corpus:
    root: Path
    entries: tuple[Entry, ...]
    files_found: int

    @property
    def bytes_total(self) -> int:
        return sum(entry.size for entry in self.entries)


def python_library() -> Path:
    """The standard library of the running Python: real files, on every machine that runs this."""
    return Path(sysconfig.get_paths()["stdlib"])


def scan(root: Path | None, files_max: int | None) -> Corpus:
    """Regular files below `root`, sorted by path. None: the standard library without caches and
    installed packages, at most DEFAULT_FILES. Symbolic links are not followed; 0 means all."""
    skipped = frozenset() if root is not None else _NOT_THE_LIBRARY
    if files_max is None:
        files_max = 0 if root is not None else DEFAULT_FILES
    if root is None:
        root = python_library()
    found: list[tuple[str, int]] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in skipped]
        for name in files:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((os.path.relpath(path, root), status.st_size))
    found.sort()
    chosen = found[:files_max] if files_max else found
    entries = tuple(Entry(index, path, size) for index, (path, size) in enumerate(chosen))
    return Corpus(root, entries, len(found))


def printable(path: str) -> str:
    """A file name as text that any terminal and JSON reader takes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
