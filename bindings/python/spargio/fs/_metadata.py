"""What statx(2) reports of a file."""

from __future__ import annotations

import os
import stat
import struct

from .._records import dataclass

SIZE = 256
"""Bytes of struct statx."""

BASIC = 0x07FF
"""STATX_BASIC_STATS: what stat(2) returns."""
BIRTH = 0x0800
TYPE_AND_SIZE = 0x0001 | 0x0002 | 0x0200

_HEAD = struct.Struct("=IIQIIIHxxQQQQ")
_TIME = struct.Struct("=qI")
_NUMBERS = struct.Struct("=IIII")


@dataclass(frozen=True)
class Metadata:
    """Times are nanoseconds since 1970; `created_ns` is None if the file system has none."""

    mode: int
    size: int
    blocks: int
    """Blocks of 512 bytes that it takes on the disk."""
    block_size: int
    links: int
    uid: int
    gid: int
    inode: int
    device: int
    accessed_ns: int
    modified_ns: int
    changed_ns: int
    created_ns: int | None
    mask: int
    """What the kernel filled in, STATX_*: the rest is 0."""

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    def permissions(self) -> int:
        """The lower 12 bits of the mode."""
        return stat.S_IMODE(self.mode)


def parse(buffer: bytearray) -> Metadata:
    mask, block_size, _, links, uid, gid, mode, inode, size, blocks, _ = _HEAD.unpack_from(
        buffer, 0
    )

    def time_at(offset: int) -> int:
        seconds, nanoseconds = _TIME.unpack_from(buffer, offset)
        return int(seconds * 1_000_000_000 + nanoseconds)

    _, _, major, minor = _NUMBERS.unpack_from(buffer, 128)
    return Metadata(
        mode=mode,
        size=size,
        blocks=blocks,
        block_size=block_size,
        links=links,
        uid=uid,
        gid=gid,
        inode=inode,
        device=os.makedev(major, minor),
        accessed_ns=time_at(64),
        modified_ns=time_at(112),
        changed_ns=time_at(96),
        created_ns=time_at(80) if mask & BIRTH else None,
        mask=mask,
    )


def from_stat(found: os.stat_result) -> Metadata:
    """What stat(2) reports, which is not when the file was made."""
    return Metadata(
        mode=found.st_mode,
        size=found.st_size,
        blocks=found.st_blocks,
        block_size=found.st_blksize,
        links=found.st_nlink,
        uid=found.st_uid,
        gid=found.st_gid,
        inode=found.st_ino,
        device=found.st_dev,
        accessed_ns=found.st_atime_ns,
        modified_ns=found.st_mtime_ns,
        changed_ns=found.st_ctime_ns,
        created_ns=None,
        mask=BASIC,
    )
