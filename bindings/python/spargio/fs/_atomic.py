"""A file that is replaced as a whole: the steps on a thread of the pool, and their order."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

from .._blocking import files, to_its_end
from .._ffi.types import Buffer
from ..errors import carry_written
from ._file import File
from ._names import Path, encode
from ._options import OpenOptions
from ._paths import remove_file, rename

_LINKS_MOST = 40
"""In a row, as the kernel has it."""

_PATH_MOST = 4095
"""Bytes of a path, without its NUL."""

_TOKEN = 12
"""Random digits in the name of a temporary file."""

_ATTEMPTS = 100
"""Of names that nobody has; short ones are few."""

_UNSYNCED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EROFS)
"""Of a directory's fsync: this file system has no such thing."""

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class _Plan(NamedTuple):
    target: str
    """Behind symbolic links; in its directory the temporary file is made."""
    old: os.stat_result | None
    attributes: list[tuple[str, bytes]]


async def write_atomic(path: Path, data: Buffer, permissions: int | None) -> None:
    """See ``write``. `data` has been checked."""
    plan = await files.call(_plan, os.fsdecode(encode(path)))
    directory, base = os.path.split(plan.target)
    for attempts_left in reversed(range(_ATTEMPTS)):
        temporary = os.path.join(directory, _temporary_name(directory, base))
        try:
            await _replace(plan, directory or ".", temporary, data, permissions)
            return
        except OSError as error:
            if error.errno != errno.EEXIST or not attempts_left:
                raise carry_written(error, OSError(error.errno, error.strerror, path)) from error


def _temporary_name(directory: str, base: str) -> str:
    """Beside `base`, and no longer than the kernel takes where it takes the target."""
    room = _PATH_MOST - len(os.fsencode(directory)) - 1
    if room < _TOKEN + 2:  # Of a short name at the end of a path that is nearly too long.
        return os.urandom(_TOKEN).hex()[: max(room, 1)]
    start = os.fsencode(base)[: min(200, room - _TOKEN - 2)]  # A name may have 255 bytes.
    return f".{os.fsdecode(start)}.{os.urandom(_TOKEN // 2).hex()}"


async def _replace(
    plan: _Plan, directory: str, temporary: str, data: Buffer, permissions: int | None
) -> None:
    mode = 0o666 if permissions is None else permissions
    kept = plan.old is not None and permissions is None
    fresh = OpenOptions().write(True).create_new(True).mode(0o600 if kept else mode)
    file = await fresh.open(temporary)
    folder = None
    try:
        if plan.old is not None:
            await on_descriptor(file, _take_over, plan.old, plan.attributes, kept)
        await file.write_all_at(0, data)
        await file.fsync()
        folder = await _open_directory(directory)
        await rename(temporary, plan.target)
    except BaseException:
        await file.close()
        if folder is not None:
            await folder.close()
        await to_its_end(lambda: _remove_quietly(temporary))
        raise
    # It is the new file: a cancellation comes after this, and an error says so.
    await _settle(file, folder)


async def _open_directory(path: str) -> File | None:
    """Before the rename, so that its errors come in time. None if it may not be read."""
    try:
        return await File.open(path)
    except PermissionError:
        return None


async def _settle(file: File, folder: File | None) -> None:
    """The new name is to outlive a power failure."""
    try:
        # Without the directory: an fsync of the file takes its new name along on most file systems.
        await to_its_end((folder or file).fsync)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise OSError(
                error.errno,
                f"{os.strerror(error.errno or 0)}: the new file is in place, but its directory "
                "could not be synced, so a power failure may bring the old one back",
            ) from error
    finally:
        for one in (file, folder):
            if one is not None:
                with contextlib.suppress(OSError):  # What it holds is on the disk.
                    await one.close()


async def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        await remove_file(path)


async def on_descriptor(file: File, call: Callable[..., None], *arguments: Any) -> None:
    """``call(descriptor, *arguments)`` on a thread of the pool, for what io_uring has not. Not cut
    short, so that it does not come when the descriptor is another file's."""
    answer = files.begin(call, file.fileno(), *arguments).answer
    try:
        await to_its_end(lambda: answer)
    except OSError as error:
        error.filename = file.path
        raise


# ---- on a thread of the pool ----


def _plan(path: str) -> _Plan:
    try:
        old = os.stat(path)
    except FileNotFoundError:
        old = None
    if old is not None:
        _check_kind(path, old)
    target = _behind_links(path)
    if old is None:
        if not os.path.basename(target):
            number = errno.EISDIR if target else errno.ENOENT
            raise OSError(number, os.strerror(number), path)
        return _Plan(target, None, [])
    # Without a link another writer may just have replaced it.
    if target != path and not os.path.samestat(old, os.stat(target)):
        raise OSError(
            errno.EINVAL, "an atomic write replaces a name, and this link leads to none", path
        )
    return _Plan(target, old, _attributes(target))


def _check_kind(path: str, info: os.stat_result) -> None:
    if stat.S_ISREG(info.st_mode):
        return
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = _KINDS.get(stat.S_IFMT(info.st_mode), "something else")
    raise OSError(
        errno.EINVAL, f"an atomic write replaces a regular file, and this is {kind}", path
    )


def _behind_links(path: str) -> str:
    """Of the last name alone: those above it the kernel follows."""
    target = path
    for _ in range(_LINKS_MOST):
        try:
            said = os.readlink(target)
        except OSError:  # It is no link, or nothing.
            return target
        target = os.path.join(os.path.dirname(target), said)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _attributes(path: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    with contextlib.suppress(OSError):  # A file system without them.
        for name in os.listxattr(path):
            # What a program may do beyond its user goes with its bytes, as setuid does.
            if name != "security.capability":
                with contextlib.suppress(OSError):
                    found.append((name, os.getxattr(path, name)))
    return found


def _take_over(
    descriptor: int, old: os.stat_result, attributes: list[tuple[str, bytes]], keep_mode: bool
) -> None:
    """Owner, group, extended attributes and permissions, as far as they can be given."""
    fresh = os.fstat(descriptor)
    mode = stat.S_IMODE(old.st_mode) & 0o777 if keep_mode else stat.S_IMODE(fresh.st_mode)
    if (fresh.st_uid, fresh.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.chown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            with contextlib.suppress(OSError):
                os.chown(descriptor, -1, old.st_gid)
    for name, value in attributes:
        if keep_mode or not name.startswith("system.posix_acl_"):
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, value)
    if keep_mode and os.fstat(descriptor).st_gid != old.st_gid:
        mode = mode & ~0o070 | (mode & 0o007) << 3
    os.fchmod(descriptor, mode)
