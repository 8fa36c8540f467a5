"""What is done to paths: one operation each, unless the docstring says more."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from .._blocking import files, to_its_end
from .._ffi import opcodes
from .._ffi.core import native
from ..errors import CancelledError
from ._metadata import BASIC, BIRTH, SIZE, TYPE_AND_SIZE, Metadata, parse
from ._names import (
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_STATX_DONT_SYNC,
    AT_SYMLINK_NOFOLLOW,
    Path,
    check_mode,
    encode,
    terminated,
)
from ._reach import is_long, look

_DEEP, _WHOLE, _NO_LINK = 1, 8, 16
"""Of a native walker, as in _walk.py."""
_RENAME_NOREPLACE = 1


async def _submit(
    opcode: int, off: object, addr: object, length: int, flags: int, name: object
) -> None:
    await native.submit(opcode, AT_FDCWD, off, addr, length, flags, 0, name, opcodes.NUMBER)


async def create_dir(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory; ``FileExistsError`` if there is something. ``IORING_OP_MKDIRAT``,
    Linux 5.15."""
    await _submit(opcodes.MKDIRAT, 0, terminated(path), check_mode("mode", mode), 0, path)


async def create_dir_all(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and those above it that are missing; none of them missing is no error. All
    that are made get `mode`, less the umask."""
    name = os.fsdecode(path)
    missing: list[str] = []
    while not await _made_or_there(name, mode, bool(missing)):
        above = os.path.dirname(name.rstrip("/"))
        if not above or above == name:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        missing.append(name)
        name = above
    while missing:
        name = missing.pop()
        if not await _made_or_there(name, mode, bool(missing)):  # The one above is gone, or a link.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


async def _made_or_there(name: str, mode: int, above: bool) -> bool:
    """False if a directory above is missing. If this is itself one above, and no directory,
    the next one below says what is wrong."""
    try:
        await create_dir(name, mode=mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        # Another made it meanwhile, or the name ends in "..", or the file system says that it is
        # read-only before it looks whether there is anything to do.
        try:
            there = (await metadata(name)).is_dir()
        except OSError:
            there = False
        if not (there or (above and isinstance(error, FileExistsError))):
            raise
    return True


async def remove_file(path: Path) -> None:
    """Remove a name; the file goes with its last one. ``IORING_OP_UNLINKAT``, Linux 5.11."""
    await _submit(opcodes.UNLINKAT, 0, terminated(path), 0, 0, path)


async def remove_dir(path: Path) -> None:
    """Remove an empty directory. ``IORING_OP_UNLINKAT``, Linux 5.11."""
    await _submit(opcodes.UNLINKAT, 0, terminated(path), 0, AT_REMOVEDIR, path)


async def remove_dir_all(path: Path) -> None:
    """Remove a directory and all below it, whatever its depth, on a thread of the pool; symbolic
    links are removed, not followed, also those that others put there meanwhile. Stops at the first
    error, and at a cancellation; what was removed before is gone. That others remove the same at
    the same time is no error."""
    name = encode(path)
    name = name.rstrip(b"/") or name  # With the slash a link would be followed.
    text = os.fsdecode(name)
    info = await (files.call(look, text, False) if is_long(text) else symlink_metadata(name))
    if stat.S_ISLNK(info.st_mode if isinstance(info, os.stat_result) else info.mode):
        text = "remove_dir_all() of a symbolic link"
        raise NotADirectoryError(errno.ENOTDIR, text, os.fsdecode(path))
    walker = native.walker(name, _DEEP | _WHOLE | _NO_LINK, None)
    answer = files.begin(walker.remove).answer
    try:
        await answer
    except FileNotFoundError:
        pass  # There at the call, it was gone a moment later.
    except CancelledError:
        walker.stop()
        with contextlib.suppress(OSError):
            await to_its_end(lambda: answer)
        raise


async def rename(source: Path, target: Path, *, replace: bool = True) -> None:
    """Rename, in one step that others see whole. With ``replace=False`` an existing target is
    ``FileExistsError``. ``IORING_OP_RENAMEAT``, Linux 5.11."""
    flags = 0 if replace else _RENAME_NOREPLACE
    name = (source, target)
    await _submit(
        opcodes.RENAMEAT, terminated(target), terminated(source), AT_FDCWD & 0xFFFFFFFF, flags, name
    )


async def hard_link(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`. ``IORING_OP_LINKAT``, Linux 5.15."""
    name = (source, target)
    await _submit(
        opcodes.LINKAT, terminated(target), terminated(source), AT_FDCWD & 0xFFFFFFFF, 0, name
    )


async def symlink(target: Path, link: Path) -> None:
    """Make the symbolic link `link`, which says `target`. ``IORING_OP_SYMLINKAT``, Linux 5.15."""
    await _submit(opcodes.SYMLINKAT, terminated(link), terminated(target), 0, 0, (target, link))


async def _statx(path: Path, flags: int, mask: int) -> Metadata:
    buffer = bytearray(SIZE)
    await _submit(opcodes.STATX, buffer, terminated(path), mask, flags, path)
    return parse(buffer)


async def metadata(path: Path) -> Metadata:
    """Of the file, behind symbolic links. ``IORING_OP_STATX``, Linux 5.6."""
    return await _statx(path, 0, BASIC | BIRTH)


async def symlink_metadata(path: Path) -> Metadata:
    """Of the link itself if `path` is one. ``IORING_OP_STATX``, Linux 5.6."""
    return await _statx(path, AT_SYMLINK_NOFOLLOW, BASIC | BIRTH)


async def metadata_lite(path: Path) -> Metadata:
    """Type, permissions and size only, from what the kernel has at hand: it asks no server
    (AT_STATX_DONT_SYNC), so on a network file system they may be old. ``IORING_OP_STATX``."""
    return await _statx(path, AT_STATX_DONT_SYNC, TYPE_AND_SIZE)


async def exists(path: Path) -> bool:
    """Whether there is something behind symbolic links. A missing or forbidden directory on the
    way is an answer as well: False, or ``PermissionError``. What no file can have for a name (with
    a NUL byte in it), and links that go round in a circle, are False too."""
    try:
        name = encode(path)
    except ValueError:
        return False
    try:
        await metadata_lite(name)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        error.filename = path
        raise
    return True


async def read_link(path: Path) -> str:
    """What a symbolic link says. A thread of the pool: io_uring has no readlink."""
    name = os.fsdecode(encode(path))
    return await files.call(os.readlink, name)


async def canonicalize(path: Path) -> str:
    """The absolute path without symbolic links; ``FileNotFoundError`` if it does not lead to
    anything. A thread of the pool: io_uring has no such operation."""
    name = os.fsdecode(encode(path))
    return await files.call(lambda: os.path.realpath(name, strict=True))


async def set_permissions(path: Path, mode: int) -> None:
    """chmod(2), behind symbolic links. A thread of the pool: io_uring has no chmod."""
    mode = check_mode("mode", mode)
    await files.call(os.chmod, os.fsdecode(encode(path)), mode)
