"""A file to another one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator

from .._blocking import files, to_its_end
from .._ffi.core import native
from ..errors import bytes_written, say_written
from ._atomic import on_descriptor
from ._file import File
from ._names import Path
from ._options import OpenOptions
from ._paths import metadata
from ._room import check_room
from ._write import writers

_SLICE = 64 << 20
"""What one call on a thread of the pool copies, so that a cancellation comes through soon."""

_FICLONE = 0x40049409

_PIECE_LEAST = 256 << 10
"""Also if the size is not known: of a FIFO, of a file in /proc."""
_PIECE_MOST = 1 << 20


async def copy(source: Path, target: Path) -> int:
    """Copy a file's bytes and permissions over `target`, which it makes if it is missing; returns
    the number of bytes. On a thread of the pool: a clone if the file system shares blocks, else
    copy_file_range(2); holes stay holes. What is no regular file, or does not report its size, is
    read and written by the ring. The permissions are exactly the source's, whatever the umask and
    those of an existing target, before the first byte is there; ``PermissionError``, and `target`
    as it was, if they cannot be given; so also if the disk has no room for it and the file system
    can tell. The same file twice is ``ValueError``. What ends it early has in ``bytes_written`` how
    many bytes `target` got."""
    async with await File.open(source) as reader:
        info = await reader.metadata()
        if info.is_dir():
            raise IsADirectoryError(21, "copy() copies files", os.fsdecode(source))
        with contextlib.suppress(OSError):  # What is wrong with it the opening will say.
            other = await metadata(target)
            if (other.device, other.inode) == (info.device, info.inode):
                raise ValueError(f"copy: {source!r} and {target!r} are the same file")
        size = min(_PIECE_MOST, max(_PIECE_LEAST, info.size))
        options = OpenOptions().write(True).create(True).mode(0o600)
        async with _closed_aside(await options.open(target)) as writer:
            found = os.fstat(writer.fileno())
            entry = await writers.wait((found.st_dev, found.st_ino))
            try:
                known = info.size if info.is_file() and stat.S_ISREG(found.st_mode) else 0
                if known:
                    await _check_room(reader, writer, known, min(known, info.blocks * 512))
                return await _copy(reader, writer, info.permissions(), size, known)
            finally:
                writers.end(entry)


async def _check_room(reader: File, writer: File, size: int, stored: int) -> None:
    try:
        await check_room(writer, size, stored)
    except OSError as error:
        # Blocks that two files share take no room.
        if error.errno == errno.EFBIG or not await files.call(_clones, reader, writer):
            raise


def _clones(reader: File, writer: File) -> bool:
    """Whether the file system can clone one to the other: tried with a file that has no name."""
    import fcntl

    folder = os.path.dirname(os.path.realpath(os.fsdecode(writer.path)))
    try:
        trial = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.ioctl(trial, _FICLONE, reader.fileno())
    except OSError:
        return False
    finally:
        os.close(trial)
    return True


@contextlib.asynccontextmanager
async def _closed_aside(file: File) -> AsyncIterator[File]:
    """The last close of a file that was written may take the file system long: it is that of a
    duplicate, on a thread of the pool."""
    try:
        spare = os.dup(file.fileno())
    except OSError:
        spare = -1
    try:
        async with file:
            yield file
    finally:
        if spare >= 0:
            answer = files.begin(os.close, spare).answer
            await to_its_end(lambda: answer)


class _Data:
    """The bytes of a regular file, as far as the kernel copies them by itself."""

    def __init__(self, reader: File, writer: File, size: int) -> None:
        self._reader = reader
        self._writer = writer
        self._size = size
        self.offset = 0

    async def copy(self) -> None:
        """A call that has begun ends before this does: its descriptors stay open for it."""
        while self.offset < self._size:
            before = self.offset
            await on_descriptor(self._writer, self._slice)
            native.raise_if_cancelled()
            if self.offset == before:
                return  # It is shorter than it says.

    def _slice(self, target: int) -> None:
        source = self._reader.fileno()
        self.offset, number = native.copy_data(source, target, self.offset, self._size, _SLICE)
        if number:
            raise OSError(number, os.strerror(number))


async def _copy(reader: File, writer: File, mode: int, size: int, known: int) -> int:
    buffer = memoryview(bytearray(size))
    await on_descriptor(writer, _empty, mode & 0o1777)
    offset = 0
    data = _Data(reader, writer, known)
    try:
        try:
            await data.copy()
        finally:
            offset = data.offset
        while count := await reader.read_at_into(offset, buffer):
            await writer.write_all_at(offset, buffer[:count])
            offset += count
    except BaseException as error:
        say_written(error, offset + bytes_written(error))
        raise
    if mode & 0o6000:  # A write takes setuid and setgid away.
        await on_descriptor(writer, _set_mode, mode)
    return offset


def _empty(descriptor: int, mode: int) -> None:
    """Cut to nothing and given `mode`. In between it has what old and new have in common: what was
    there is not shown to more, and what may not be changed fails before anything is lost. Devices
    and pipes are left as they are."""
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode):
        return
    old = stat.S_IMODE(info.st_mode)
    if old != mode:
        os.fchmod(descriptor, old & mode)
    # ext4 writes a file that was cut to the disk at its close, even one that was empty before.
    if info.st_size or info.st_blocks:
        os.ftruncate(descriptor, 0)
    _set_mode(descriptor, mode)


def _set_mode(descriptor: int, mode: int) -> None:
    info = os.fstat(descriptor)
    if stat.S_ISREG(info.st_mode) and stat.S_IMODE(info.st_mode) != mode:
        os.fchmod(descriptor, mode)
