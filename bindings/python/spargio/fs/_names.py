"""Paths as the kernel takes them."""

from __future__ import annotations

import os

AT_FDCWD = -100

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def encode(path: Path) -> bytes:
    """Without the closing NUL. ``ValueError`` where one is inside."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"path is {path!r}: a path cannot contain a NUL byte")
    return name


def terminated(path: Path) -> bytes:
    """With the closing NUL."""
    return encode(path) + b"\0"
