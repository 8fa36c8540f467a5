"""Files. Every awaitable is one io_uring operation of the shard whose task awaits it; it owns its
buffer until the kernel is done, also when the task is cancelled."""

from __future__ import annotations

import os
from collections.abc import Awaitable
from types import TracebackType

from ._ffi.core import Descriptor, native

__all__ = ("File",)

_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class File:
    """An open file, read and written at offsets; it has no position. Tasks on any shard may use it
    at the same time. Close it, or use ``async with``."""

    __slots__ = ("_io", "path")

    def __init__(self, descriptor: Descriptor, path: Path) -> None:
        self._io = descriptor
        self.path = path

    @classmethod
    async def open(cls, path: Path, mode: str = "r", *, permissions: int = 0o666) -> File:
        """Open `path`. Modes: r, r+, w, w+, a, x, x+, as the built-in ``open`` has them, always
        binary. `permissions` are those of a new file, less the umask. ``IORING_OP_OPENAT``, Linux
        5.6. Raises ``OSError`` with errno and filename."""
        flags = _MODES.get(mode)
        if flags is None:
            raise ValueError(f"mode is {mode!r}: allowed is one of {', '.join(_MODES)}")
        name = os.fsencode(path)
        if b"\0" in name:
            raise ValueError(f"path is {path!r}: a path cannot contain a NUL byte")
        return cls(await native.open(name, path, flags, permissions), path)

    @classmethod
    async def create(cls, path: Path, *, permissions: int = 0o666) -> File:
        """Create `path`, or cut it to nothing, for writing. See :meth:`open`."""
        return await cls.open(path, "w", permissions=permissions)

    def fileno(self) -> int:
        """The descriptor's number; -1 when closed."""
        return self._io.fileno()

    def read_at(self, offset: int, size: int) -> Awaitable[bytes]:
        """At most `size` bytes from byte `offset`; fewer near the end, ``b""`` behind it.
        ``IORING_OP_READ``, Linux 5.6, pread(2)."""
        return self._io.read_at(offset, size)

    def read_at_into(self, offset: int, buffer: object) -> Awaitable[int]:
        """The same into a writable buffer, without a copy; gives the number of bytes. The buffer
        stays exported (it cannot be resized) until the operation has ended."""
        return self._io.read_at_into(offset, buffer)

    def write_at(self, offset: int, data: object) -> Awaitable[int]:
        """Write at byte `offset`; gives the number of bytes taken, which may be fewer.
        ``IORING_OP_WRITE``, Linux 5.6, pwrite(2)."""
        return self._io.write_at(offset, data)

    def write_all_at(self, offset: int, data: object) -> Awaitable[None]:
        """Write all of `data`; a short write is continued. An error says how much was written."""
        return self._io.write_all_at(offset, data)

    def fsync(self, *, data_only: bool = False) -> Awaitable[None]:
        """Wait until the file is on the disk; with `data_only` as fdatasync(2).
        ``IORING_OP_FSYNC``, Linux 5.1."""
        return self._io.fsync(data_only)

    def close(self) -> Awaitable[None]:
        """Close; idempotent, and not cut short by a cancellation. Operations under way end first.
        ``IORING_OP_CLOSE``, Linux 5.6."""
        return self._io.close()

    async def __aenter__(self) -> File:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
