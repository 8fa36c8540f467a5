"""File operations on raw SQEs. ``spargio.fs`` has the same for daily use: this module shows how
such a thing is made, and gives the choice of shard, flags and mask."""

from __future__ import annotations

import errno
import os
from collections import deque

from .._blocking import files
from .._validate import at_least
from ..fs import DirEntry, Metadata, read_dir
from ..fs._metadata import BASIC, BIRTH, SIZE, from_stat, parse
from ..fs._names import AT_SYMLINK_NOFOLLOW, Path, encode
from ..runtime import current_handle
from ..uring import AT_FDCWD, Completion, NativeOp, Opcode, Sqe, UringNativeAny, address_of

__all__ = ("read_dir_entries", "statx", "statx_on_shard", "statx_or_metadata")


_UNKNOWN_TO_THE_KERNEL = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class _Statx:
    """One statx(2): the entry, and the memory that it names."""

    def __init__(self, path: Path, flags: int, mask: int, dir_fd: int) -> None:
        name = encode(path)
        self._path = path
        self._buffer = bytearray(SIZE)
        self.keep = (name + b"\0", self._buffer)
        self.sqe = Sqe(
            opcode=Opcode.STATX,
            fd=dir_fd,
            addr=address_of(self.keep[0]),
            addr2=address_of(self._buffer),
            len=mask,
            statx_flags=flags,
        )

    def submit(self, uring: UringNativeAny, shard: int | None = None) -> NativeOp[Completion]:
        if shard is None:
            return uring.submit_unsafe(self.sqe, self.keep)
        return uring.submit_unsafe_on_shard(shard, self.sqe, self.keep)

    def metadata(self, completion: Completion) -> Metadata:
        completion.check(self._path)
        return parse(self._buffer)


async def statx(
    path: Path, *, flags: int = 0, mask: int = BASIC | BIRTH, dir_fd: int = AT_FDCWD
) -> Metadata:
    """statx(2) on the shard that the selector chooses: `flags` are AT_*, `mask` is what is asked
    for (STATX_*), and what the kernel returned is in the ``mask`` of the answer.
    ``IORING_OP_STATX``, Linux 5.6."""
    call = _Statx(path, flags, mask, dir_fd)
    return call.metadata(await call.submit(current_handle().uring_native_unbound()))


async def statx_on_shard(
    shard: int, path: Path, *, flags: int = 0, mask: int = BASIC | BIRTH, dir_fd: int = AT_FDCWD
) -> Metadata:
    """The same on `shard`; ``ValueError`` if there is no such shard."""
    call = _Statx(path, flags, mask, dir_fd)
    return call.metadata(await call.submit(current_handle().uring_native_unbound(), shard))


async def statx_or_metadata(path: Path) -> Metadata:
    """statx(2), and if the kernel refuses the operation (not the file) os.stat on a thread of
    the pool, which does not report when the file was made."""
    try:
        return await statx(path)
    except OSError as error:
        if error.errno not in _UNKNOWN_TO_THE_KERNEL:
            raise
    return from_stat(await files.call(os.stat, path))


async def read_dir_entries(path: Path = ".", *, depth: int = 32) -> list[tuple[DirEntry, Metadata]]:
    """What is in a directory, each with its metadata (of a symbolic link, the link's own), in the
    directory's order. One call lists it on a thread of the pool, because io_uring cannot; then at
    most `depth` statx are under way, spread over the shards. What went away meanwhile is left
    out."""
    depth = at_least("depth", depth, 1)
    uring = current_handle().uring_native_unbound()
    found: list[tuple[DirEntry, Metadata]] = []
    flying: deque[tuple[DirEntry, _Statx, NativeOp[Completion]]] = deque()

    async def take() -> None:
        entry, call, op = flying[0]
        completion = await op
        flying.popleft()
        if completion.res != -errno.ENOENT:
            found.append((entry, call.metadata(completion)))

    try:
        for entry in await read_dir(path):
            call = _Statx(entry.path, AT_SYMLINK_NOFOLLOW, BASIC | BIRTH, AT_FDCWD)
            flying.append((entry, call, call.submit(uring).start()))
            if len(flying) == depth:
                await take()
        while flying:
            await take()
    finally:
        for _, _, op in flying:
            op.cancel()
    return found
