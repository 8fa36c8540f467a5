"""The methods of ``pathlib.Path`` that ask the file system for one thing, as operations of the
ring. What they return and raise is pathlib's own."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import stat
from collections.abc import Callable, Coroutine
from typing import Any

from .._blocking import files
from ..fs import _paths, _whole, _write
from ..fs._metadata import Metadata

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)


class Unclear(Exception):  # It never leaves this package.
    """What this version of pathlib makes of it, it says itself."""


# ---- what is there ----


async def stat_of(path: Any, *, follow_symlinks: bool = True) -> os.stat_result:
    look = _paths.metadata if follow_symlinks else _paths.symlink_metadata
    found = await look(os.fspath(path))
    if stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode):
        # Devices have a number more, and wait for nothing.
        return os.stat(path, follow_symlinks=follow_symlinks)
    return _as_stat(found)


def _as_stat(found: Metadata) -> os.stat_result:
    times = found.accessed_ns, found.modified_ns, found.changed_ns
    names = ("st_atime", "st_mtime", "st_ctime")
    more: dict[str, float] = {
        name: ns // 10**9 + 1e-9 * (ns % 10**9) for name, ns in zip(names, times, strict=True)
    }
    more |= {f"{name}_ns": ns for name, ns in zip(names, times, strict=True)}
    more |= {"st_blksize": found.block_size, "st_blocks": found.blocks, "st_rdev": 0}
    first = (found.mode, found.inode, found.device, found.links, found.uid, found.gid, found.size)
    return os.stat_result((*first, *(ns // 1_000_000_000 for ns in times)), more)


async def lstat_of(path: Any) -> os.stat_result:
    return await stat_of(path, follow_symlinks=False)


def _is(
    test: Callable[[int], bool], follow: bool = True
) -> Callable[..., Coroutine[Any, Any, bool]]:
    async def ask(path: Any, *, follow_symlinks: bool = follow) -> bool:
        look = _paths.metadata if follow_symlinks else _paths.symlink_metadata
        try:
            return test((await look(path)).mode)
        except OSError as error:
            if error.errno not in _MISSING:
                raise Unclear from error
            return False
        except ValueError as error:  # A null character.
            raise Unclear from error

    return ask


# ---- what changes ----


async def link(source: Any, target: Any) -> None:
    """os.link()"""
    await _paths.hard_link(os.fspath(source), os.fspath(target))


async def _mkdir(
    path: str, mode: int = 0o777, parents: bool = False, exist_ok: bool = False
) -> None:
    try:
        await _paths.create_dir(path, mode=mode)
    except FileNotFoundError:
        above = str(pathlib.Path(path).parent)
        if not parents or above == path:
            raise
        await _mkdir(above, parents=True, exist_ok=True)
        await _mkdir(path, mode, parents=False, exist_ok=exist_ok)
    except OSError:
        # Whatever it is: the directory may be there all the same.
        if not exist_ok or not await _is(stat.S_ISDIR)(path):
            raise


async def _unlink(path: Any, missing_ok: bool = False) -> None:
    try:
        await _paths.remove_file(path)
    except FileNotFoundError:
        if not missing_ok:
            raise


async def _rename(path: str, target: Any) -> pathlib.Path:
    await _paths.rename(path, os.fspath(target))
    return pathlib.Path(target)


async def _symlink_to(path: str, target: Any, target_is_directory: bool = False) -> None:
    await _paths.symlink(os.fspath(target), path)


async def _hardlink_to(path: str, target: Any) -> None:
    await link(target, path)


async def _read_text(
    path: Any,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> str:
    data = io.BytesIO(await _whole.read(path))
    return io.TextIOWrapper(data, encoding, errors, newline).read()


async def _write_bytes(path: Any, data: Any) -> int:
    view = memoryview(data)
    await _write.write(path, view)
    return view.nbytes


async def _write_text(
    path: Any,
    data: str,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> int:
    if not isinstance(data, str):
        raise TypeError(f"data must be str, not {type(data).__name__}")
    raw = io.BytesIO()  # Before the file is touched: what cannot be encoded costs nothing.
    text = io.TextIOWrapper(raw, encoding, errors, newline)
    text.write(data)
    text.flush()
    await _write.write(path, raw.getbuffer())
    return len(data)


class Names:
    """What is in a directory; all of it is in memory."""

    def __init__(self, found: list[pathlib.Path]) -> None:
        self._rest = iter(found)

    def __iter__(self) -> Names:
        return self

    def __next__(self) -> pathlib.Path:
        return next(self._rest)


async def _iterdir(path: str) -> Names:
    return Names(await files.call(lambda: list(pathlib.Path(path).iterdir())))


METHODS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {
    "stat": stat_of,
    "lstat": lstat_of,
    "exists": _is(lambda mode: True),
    "is_dir": _is(stat.S_ISDIR),
    "is_file": _is(stat.S_ISREG),
    "is_symlink": _is(stat.S_ISLNK, follow=False),
    "is_socket": _is(stat.S_ISSOCK),
    "is_fifo": _is(stat.S_ISFIFO),
    "is_block_device": _is(stat.S_ISBLK),
    "is_char_device": _is(stat.S_ISCHR),
    "iterdir": _iterdir,
    "mkdir": _mkdir,
    "rmdir": _paths.remove_dir,
    "unlink": _unlink,
    "rename": _rename,
    "replace": _rename,
    "symlink_to": _symlink_to,
    "hardlink_to": _hardlink_to,
    "read_bytes": _whole.read,
    "read_text": _read_text,
    "write_bytes": _write_bytes,
    "write_text": _write_text,
}
"""By the name of the method, whose arguments they take, after the path as text."""
