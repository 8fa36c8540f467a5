"""Names that are longer than one call of the kernel takes (PATH_MAX): by directory descriptors. For
threads of the pool."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_PATH_MAX = 4096
"""With the closing NUL."""


def is_long(path: str) -> bool:
    """Whether the kernel refuses it as a whole."""
    return len(path) * 4 >= _PATH_MAX and len(os.fsencode(path)) >= _PATH_MAX


@contextmanager
def reach(path: str) -> Iterator[tuple[str, int | None]]:
    """What to call it, and the directory which that is relative to (None: the present one)."""
    name, above = os.fsencode(path), None
    try:
        while len(name) >= _PATH_MAX:
            cut = name.rfind(b"/", 1, _PATH_MAX)
            if cut < 0:
                break  # One name alone is too long, as the call itself will say.
            flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
            below = os.open(name[:cut], flags, dir_fd=above)
            if above is not None:
                os.close(above)
            above, name = below, name[cut:].lstrip(b"/") or b"."
        yield os.fsdecode(name), above
    finally:
        if above is not None:
            os.close(above)


def look(path: str, follow_symlinks: bool) -> os.stat_result:
    with _named(path), reach(path) as (name, above):
        return os.stat(name, dir_fd=above, follow_symlinks=follow_symlinks)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Errors call it as the caller does."""
    try:
        yield
    except OSError as error:
        error.filename = path
        raise
