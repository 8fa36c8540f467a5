"""Paths as the kernel takes them."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Sequence
from typing import Any

from .._validate import wrong

# linux/fcntl.h
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200
AT_EMPTY_PATH = 0x1000
AT_STATX_DONT_SYNC = 0x4000

ENCODING = sys.getfilesystemencoding()
ERRORS = sys.getfilesystemencodeerrors()

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def encode(path: Any) -> bytes:
    """Without the closing NUL. ``ValueError`` if one is inside."""
    try:
        # As os.fsencode does, without its calls.
        name = path.encode(ENCODING, ERRORS) if type(path) is str else os.fsencode(path)
    except TypeError:
        way = "; File.from_fd() takes a descriptor" if isinstance(path, int) else ""
        raise TypeError(wrong("path", "a str, bytes or os.PathLike", path, way)) from None
    if b"\0" in name:
        raise ValueError(wrong("path", "a name without NUL bytes", path))
    return name


def encode_usual(paths: Sequence[Any]) -> list[bytes] | None:
    """The same of many names in one go; None if one of them is no str, or not right."""
    if set(map(type, paths)) != {str}:
        return None
    try:
        names = "\0".join(paths).encode(ENCODING, ERRORS).split(b"\0")
    except UnicodeError:
        return None
    return names if len(names) == len(paths) else None


def check_mode(name: str, mode: int) -> int:
    """Permissions; ``ValueError`` and ``TypeError`` for anything else."""
    try:
        number = operator.index(mode)
    except TypeError:
        raise TypeError(wrong(name, "an int as 0o644", mode)) from None
    if not 0 <= number <= 0o7777:
        raise ValueError(f"{name} must be between 0 and 0o7777, got {number:#o}")
    return number


def label(path: Path) -> object:
    """What errors of an open file call it: the path as it was given, unless it could hold the file
    in turn, which the collector would not see."""
    kind = type(path)
    if kind in (str, bytes):
        return path
    pathlib = sys.modules.get("pathlib")  # A program with such a path has imported it.
    if pathlib is not None and kind is pathlib.PosixPath:
        return path
    name = os.fspath(path)
    return str.__str__(name) if isinstance(name, str) else b"".join((name,))


def terminated(path: Path) -> bytes:
    """With the closing NUL."""
    return encode(path) + b"\0"
