"""How to open a file, one choice at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._ffi.core import native
from .._records import dataclass, replace
from ._names import Path, check_mode, encode, label

if TYPE_CHECKING:
    from ._file import File


@dataclass(frozen=True)
class OpenOptions:
    """What :meth:`open` asks for. Immutable: each method returns a changed copy::

    file = await OpenOptions().write(True).create(True).open(path)

    ``ValueError`` at :meth:`open` for combinations that mean nothing.
    """

    _read: bool = False
    _write: bool = False
    _append: bool = False
    _truncate: bool = False
    _create: bool = False
    _create_new: bool = False
    _direct: bool = False
    _mode: int = 0o666

    def read(self, yes: bool) -> OpenOptions:
        """For reading."""
        return replace(self, _read=yes)

    def write(self, yes: bool) -> OpenOptions:
        """For writing."""
        return replace(self, _write=yes)

    def append(self, yes: bool) -> OpenOptions:
        """Each write goes to the end, whatever its offset (O_APPEND)."""
        return replace(self, _append=yes)

    def truncate(self, yes: bool) -> OpenOptions:
        """Cut an existing file to nothing; needs :meth:`write`."""
        return replace(self, _truncate=yes)

    def create(self, yes: bool) -> OpenOptions:
        """Make the file if it is missing; needs :meth:`write` or :meth:`append`."""
        return replace(self, _create=yes)

    def create_new(self, yes: bool) -> OpenOptions:
        """Make the file; ``FileExistsError`` if there is one. Needs :meth:`write` or append."""
        return replace(self, _create_new=yes)

    def direct(self, yes: bool) -> OpenOptions:
        """Past the page cache (O_DIRECT): what :meth:`open` returns is a :class:`DirectFile`, which
        writes multiples of the device's block only, usually 512 or 4,096 bytes."""
        return replace(self, _direct=yes)

    def mode(self, permissions: int) -> OpenOptions:
        """Permissions of a new file, less the umask; default 0o666."""
        return replace(self, _mode=check_mode("mode", permissions))

    def _flags(self) -> int:
        writes = self._write or self._append
        if not (self._read or writes):
            raise ValueError("OpenOptions: at least one of read, write and append is needed")
        if self._append and self._truncate:
            raise ValueError("OpenOptions: append and truncate exclude each other")
        if self._truncate and not self._write:
            raise ValueError("OpenOptions: truncate needs write")
        if (self._create or self._create_new) and not writes:
            raise ValueError("OpenOptions: create and create_new need write or append")
        flags = (os.O_RDWR if self._read else os.O_WRONLY) if writes else os.O_RDONLY
        for wanted, flag in (
            (self._append, os.O_APPEND),
            (self._truncate, os.O_TRUNC),
            (self._create, os.O_CREAT),
            (self._create_new, os.O_CREAT | os.O_EXCL),
            (self._direct, os.O_DIRECT),
        ):
            if wanted:
                flags |= flag
        return flags

    async def open(self, path: Path) -> File:
        """Open `path`. ``IORING_OP_OPENAT``, Linux 5.6."""
        from ._direct import DirectFile
        from ._file import File

        kind = DirectFile if self._direct else File
        return kind(await native.open(encode(path), label(path), self._flags(), self._mode), path)
