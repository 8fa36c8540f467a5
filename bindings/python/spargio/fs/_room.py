"""Whether there is room for what is to take a file's place, before what is there is cut: of a full
disk one hears while nothing is lost."""

from __future__ import annotations

import errno
import os

from ._file import File

_BLOCK = 512
"""What the kernel counts a file's blocks in."""

_NO_LIMIT = (1 << 63) - 1

_UNKNOWN = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV, errno.EPERM)
"""This file system reserves nothing."""


async def check_room(file: File, size: int, stored: int) -> None:
    """Report ENOSPC or EDQUOT if the disk has no room for `stored` bytes in place of those of the
    regular file, and EFBIG if `size` is more than the process may write (RLIMIT_FSIZE). The file
    stays as it is, and an empty one has nothing to lose. Somebody else may take the room a moment
    later."""
    info = os.fstat(file.fileno())
    if info.st_size == 0:
        return
    if size > _largest():
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), file.path)
    more = stored - info.st_blocks * _BLOCK  # What it has is free when it is cut.
    if more <= 0:
        return
    try:
        try:
            await file.allocate(info.st_size, more, keep_size=True)
        finally:
            await file.truncate(info.st_size)  # Blocks behind the end go.
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise


def _largest() -> int:
    try:
        import resource
    except ImportError:  # Out of reach, because the process has become another user's.
        return _NO_LIMIT
    limit: int = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return _NO_LIMIT if limit == resource.RLIM_INFINITY else limit
