"""Paths as the kernel takes them."""

from __future__ import annotations

import os
import sys

AT_FDCWD = -100

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def encode(path: Path) -> bytes:
    """Without the closing NUL. ``ValueError`` where one is inside."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"path is {path!r}: a path cannot contain a NUL byte")
    return name


def label(path: Path) -> object:
    """What errors of an open file call it: the path as it was given, unless it could hold the file
    in turn, which the collector would not see."""
    kind = type(path)
    if kind in (str, bytes):
        return path
    pathlib = sys.modules.get("pathlib")  # Who has such a path has imported it.
    if pathlib is not None and kind is pathlib.PosixPath:
        return path
    name = os.fspath(path)
    return str.__str__(name) if isinstance(name, str) else b"".join((name,))


def terminated(path: Path) -> bytes:
    """With the closing NUL."""
    return encode(path) + b"\0"
