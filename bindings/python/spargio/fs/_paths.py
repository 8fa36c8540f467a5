"""What is done to paths: one operation each, unless the docstring says more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._blocking import spawn_blocking
from .._ffi import opcodes
from .._ffi.core import native
from ._metadata import BASIC, BIRTH, SIZE, TYPE_AND_SIZE, Metadata, parse
from ._names import AT_FDCWD, Path, check_mode, encode, terminated

if TYPE_CHECKING:
    from ._walk import DirEntry

_AT_REMOVEDIR = 0x200
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_STATX_DONT_SYNC = 0x4000
_RENAME_NOREPLACE = 1


async def _submit(
    opcode: int, off: object, addr: object, length: int, flags: int, name: object
) -> None:
    await native.submit(opcode, AT_FDCWD, off, addr, length, flags, 0, name, opcodes.NUMBER)


async def create_dir(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory; ``FileExistsError`` where there is something. ``IORING_OP_MKDIRAT``,
    Linux 5.15."""
    await _submit(opcodes.MKDIRAT, 0, terminated(path), check_mode("mode", mode), 0, path)


async def create_dir_all(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and those above it that are missing; none of them missing is no error."""
    name = os.fsdecode(path)
    try:
        await create_dir(name, mode=mode)
        return
    except FileNotFoundError:
        above = os.path.dirname(name.rstrip("/"))
        if not above or above == name:
            raise
    except FileExistsError:
        if (await metadata(name)).is_dir():
            return
        raise
    await create_dir_all(above, mode=mode)
    try:
        await create_dir(name, mode=mode)
    except FileExistsError:  # Another made it meanwhile, or the name ends in "..".
        if not (await metadata(name)).is_dir():
            raise


async def remove_file(path: Path) -> None:
    """Remove a name; the file goes with its last one. ``IORING_OP_UNLINKAT``, Linux 5.11."""
    await _submit(opcodes.UNLINKAT, 0, terminated(path), 0, 0, path)


async def remove_dir(path: Path) -> None:
    """Remove an empty directory. ``IORING_OP_UNLINKAT``, Linux 5.11."""
    await _submit(opcodes.UNLINKAT, 0, terminated(path), 0, _AT_REMOVEDIR, path)


async def remove_dir_all(path: Path) -> None:
    """Remove a directory and all below it; symbolic links are removed, not followed. Stops at the
    first error; what was removed before is gone. Not safe where others may put links into the
    tree meanwhile."""
    # Not by recursion: a tree may be deeper than Python's stack.
    open_ones: list[tuple[Path, list[DirEntry]]] = [(path, await _entries_to_remove(path))]
    while open_ones:
        directory, entries = open_ones[-1]
        if not entries:
            await remove_dir(directory)
            open_ones.pop()
            continue
        entry = entries.pop()
        if entry.is_dir():
            open_ones.append((entry.path, await _entries_to_remove(entry.path)))
        else:
            await remove_file(entry.path)


async def _entries_to_remove(path: Path) -> list[DirEntry]:
    from ._walk import read_dir

    if (await symlink_metadata(path)).is_symlink():
        raise NotADirectoryError(20, "remove_dir_all() of a symbolic link", os.fsdecode(path))
    return await read_dir(path)


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
    """Of the link itself where `path` is one. ``IORING_OP_STATX``, Linux 5.6."""
    return await _statx(path, _AT_SYMLINK_NOFOLLOW, BASIC | BIRTH)


async def metadata_lite(path: Path) -> Metadata:
    """Type, permissions and size only, from what the kernel has at hand: it asks no server
    (AT_STATX_DONT_SYNC), so on a network file system they may be old. ``IORING_OP_STATX``."""
    return await _statx(path, _AT_STATX_DONT_SYNC, TYPE_AND_SIZE)


async def exists(path: Path) -> bool:
    """Whether there is something behind symbolic links. A missing or forbidden directory on the
    way is an answer as well: False, or ``PermissionError``."""
    try:
        await metadata_lite(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


async def read_link(path: Path) -> str:
    """What a symbolic link says. A thread of the pool: io_uring has no readlink."""
    name = os.fsdecode(encode(path))
    return await spawn_blocking(os.readlink, name)


async def canonicalize(path: Path) -> str:
    """The absolute path without symbolic links; ``FileNotFoundError`` where it does not lead to
    anything. A thread of the pool: io_uring has no such operation."""
    name = os.fsdecode(encode(path))
    return await spawn_blocking(lambda: os.path.realpath(name, strict=True))


async def set_permissions(path: Path, mode: int) -> None:
    """chmod(2), behind symbolic links. A thread of the pool: io_uring has no chmod."""
    mode = check_mode("mode", mode)
    await spawn_blocking(os.chmod, os.fsdecode(encode(path)), mode)
