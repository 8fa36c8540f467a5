"""An open file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Literal

from .._blocking import files, to_its_end
from .._ffi import opcodes
from .._ffi.core import Descriptor, native
from .._ffi.types import Buffer, Coro
from .._hints import Hints
from .._pieces import joined, one_call
from .._resource import AsyncCloseable
from .._validate import within, wrong
from ._cursor import Cursor, TextCursor, appends
from ._metadata import BASIC, BIRTH, SIZE, Metadata, parse
from ._names import AT_EMPTY_PATH, Path, check_mode, encode, label

_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "w+": os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "a+": os.O_RDWR | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}

_FLAGS = _MODES | {
    spelled: flags
    for mode, flags in _MODES.items()
    for spelled in (mode + "b", mode[0] + "b" + mode[1:])
}
Mode = Literal[
    "r", "r+", "w", "w+", "a", "a+", "x", "x+",
    "rb", "rb+", "r+b", "wb", "wb+", "w+b", "ab", "ab+", "a+b", "xb", "xb+", "x+b",
]  # fmt: skip

_OFFSET_MOST = (1 << 63) - 1
_READ_STEP = 256 * 1024
_READ_MOST = 1 << 30


def _writable(buffer: object) -> None:
    if memoryview(buffer).readonly:  # type: ignore[arg-type]
        raise TypeError(f"a read needs a writable buffer, not {type(buffer).__name__}")


class File(Hints, AsyncCloseable):
    """An open file, read and written at offsets; it has no position. Tasks on any shard may use it
    at the same time. Close it, or use ``async with``."""

    __slots__ = ("_io", "path")
    _instead = {  # noqa: RUF012
        "read": "read_at(offset, size), or cursor().read()",
        "write": "write_all_at(offset, data), or cursor().write(data)",
        "readline": "cursor().readline(), or text().readline()",
        "readlines": "`async for line in file.cursor()`",
        "writelines": "cursor().write(data)",
        "seek": "cursor().seek(offset)",
        "tell": "cursor().tell()",
        "flush": "fsync(): a write is not held back here",
        "aclose": "close()",
        "name": "path",
    }

    def __init__(self, descriptor: Descriptor, path: Path) -> None:
        self._io = descriptor
        self.path = path

    @classmethod
    async def open(cls, path: Path, mode: Mode = "r", *, permissions: int = 0o666) -> File:
        """Open `path`. Modes: r, r+, w, w+, a, a+, x, x+, as the built-in ``open`` has them, always
        binary (a "b" is allowed); :meth:`text` reads and writes text. `permissions` are those of a
        new file, less the umask. ``IORING_OP_OPENAT``, Linux 5.6. Raises ``OSError`` with errno and
        filename."""
        if mode not in _FLAGS:
            text = "; a file is binary, file.text() is for text" if "t" in str(mode) else ""
            raise ValueError(wrong("mode", f"one of {', '.join(_MODES)}", mode, text))
        flags = _FLAGS[mode]
        permissions = check_mode("permissions", permissions)
        return cls(await native.open(encode(path), label(path), flags, permissions), path)

    @classmethod
    async def create(cls, path: Path, *, permissions: int = 0o666) -> File:
        """Create `path`, or cut it to nothing, for writing. See :meth:`open`."""
        return await cls.open(path, "w", permissions=permissions)

    @classmethod
    def from_fd(cls, fd: int, path: Path = "") -> File:
        """Take over an open descriptor: it is closed with the file. ``OSError`` for one that is
        not open. One with O_DIRECT is a :class:`DirectFile`."""
        os.fstat(fd)
        from ._direct import DirectFile, is_direct

        kind = DirectFile if is_direct(fd) and not issubclass(cls, DirectFile) else cls
        return kind(native.adopt(fd, 0), path or f"<descriptor {fd}>")

    def detach(self) -> int:
        """Give the descriptor up: it is the caller's to close. ``RuntimeError`` while operations
        are under way."""
        return self._io.detach()

    def __repr__(self) -> str:
        number = self._io.fileno()
        return f"<File {self.path!r}, {'closed' if number < 0 else f'descriptor {number}'}>"

    def fileno(self) -> int:
        """The descriptor's number; -1 when closed."""
        return self._io.fileno()

    def cursor(self, position: int | None = None) -> Cursor:
        """The file with a position: ``read``, ``write``, ``seek``, lines. Without a number it
        begins at the start, or at the end of a file that is opened to append."""
        if position is None:
            position = os.fstat(self.fileno()).st_size if appends(self) else 0
        return Cursor(self, position)

    def text(self, encoding: str = "utf-8", errors: str = "strict") -> TextCursor:
        """The same for text, from the start."""
        return TextCursor(self, encoding, errors)

    def read_at(self, offset: int, size: int) -> Coro[bytes]:
        """At most `size` bytes from byte `offset`: what one pread(2) returns. Fewer near the end,
        and if the file system hands out less at a time (/proc, /sys, FUSE); ``b""`` at the end
        only. ``IORING_OP_READ``, Linux 5.6."""
        return self._io.read_at(offset, size)

    def read_many_at(self, offsets: Iterable[int], size: int) -> Coro[list[bytes]]:
        """At most `size` bytes from each of `offsets`, any iterable of ints: a list in their order
        of what :meth:`read_at` returns, so fewer bytes near the end and ``b""`` behind it. One
        await: up to 64 reads are under way at a time, and the task is resumed once, when all have
        ended. Held in memory are the results, 16 bytes per offset and, for each read under way, its
        `size`.

        The first read that fails, by its place in `offsets`, gives the ``OSError``, whose text has
        the offset; those after it are cancelled, and nothing of the others is given.
        ``MemoryError`` in the same way. ``ValueError`` for an offset or size out of range, at the
        call. ``IORING_OP_READ``, Linux 5.6, pread(2)."""
        return self._io.read_many_at(offsets, size)

    def read_at_into(self, offset: int, buffer: Buffer) -> Coro[int]:
        """The same into a writable buffer, without a copy; returns the number of bytes. The buffer
        stays exported (it cannot be resized) until the operation has ended."""
        return self._io.read_at_into(offset, buffer)

    def write_at(self, offset: int, data: Buffer) -> Coro[int]:
        """Write at byte `offset`; returns the number of bytes taken, which may be fewer.
        ``IORING_OP_WRITE``, Linux 5.6, pwrite(2)."""
        return self._io.write_at(offset, data)

    def write_all_at(self, offset: int, data: Buffer) -> Coro[None]:
        """Write all of `data`; a short write is continued. An error says how much was written; it,
        a cancellation and a time limit have the number in ``bytes_written``."""
        return self._io.write_all_at(offset, data)

    def read_vectored_at(self, offset: int, buffers: Sequence[Buffer]) -> Coro[int]:
        """Fill writable buffers one after the other; returns the number of bytes, fewer near the
        end. Of more than 1,024 buffers the first 1,024 that hold a byte are used.
        ``IORING_OP_READV``, Linux 5.1, preadv(2)."""
        within("offset", offset, 0, _OFFSET_MOST)
        for buffer in buffers:
            _writable(buffer)
        return self._submit(opcodes.READV, offset, one_call(buffers))

    def write_vectored_at(self, offset: int, buffers: Sequence[Buffer]) -> Coro[int]:
        """Write buffers one after the other, in one operation; returns the number of bytes taken,
        which may be fewer. Of more than 1,024 buffers the first 1,024 that hold a byte are taken.
        ``IORING_OP_WRITEV``, Linux 5.1, pwritev(2)."""
        within("offset", offset, 0, _OFFSET_MOST)
        return self._submit(opcodes.WRITEV, offset, one_call(buffers))

    async def read_to_end_at(self, offset: int) -> bytes:
        """All from byte `offset` on."""
        parts: list[bytes] = []
        size = _READ_STEP
        while part := await self.read_at(offset, size):
            if not parts and len(part) == size:
                # There is more: in one piece, if the file says how much.
                info = await self.metadata()
                if info.is_file() and info.size - offset > size:
                    part = await self.read_at(offset, min(info.size - offset + 1, _READ_MOST))
            parts.append(part)
            offset += len(part)
            size = max(_READ_STEP, min(len(part), _READ_MOST))
        return await joined(parts)

    async def metadata(self) -> Metadata:
        """What statx(2) reports. ``IORING_OP_STATX``, Linux 5.6."""
        buffer = bytearray(SIZE)
        await native.submit(
            opcodes.STATX,
            self._io,
            buffer,
            b"\0",
            BASIC | BIRTH,
            AT_EMPTY_PATH,
            0,
            self.path,
            opcodes.NUMBER,
        )
        return parse(buffer)

    async def truncate(self, size: int) -> None:
        """Cut it to `size` bytes, or lengthen it with zeros. ``IORING_OP_FTRUNCATE``, Linux 6.9;
        before, ftruncate(2) on a thread of the pool."""
        size = within("size", size, 0, _OFFSET_MOST)
        if native.supports(opcodes.FTRUNCATE):
            await self._submit(opcodes.FTRUNCATE, size, 0, 0)
        else:
            # Not cut short, so that it does not come when the number is another file's.
            answer = files.begin(os.ftruncate, self._io.fileno(), size).answer
            await to_its_end(lambda: answer)

    async def allocate(self, offset: int, size: int, *, keep_size: bool = False) -> None:
        """Reserve the disk's blocks for `size` bytes from `offset`; the file grows to that, unless
        `keep_size`. ``IORING_OP_FALLOCATE``, Linux 5.6; ``OSError`` EOPNOTSUPP if the file
        system has no such thing."""
        offset, size = (
            within("offset", offset, 0, _OFFSET_MOST),
            within("size", size, 1, _OFFSET_MOST),
        )
        await self._submit(opcodes.FALLOCATE, offset, size, int(keep_size))

    def fdatasync(self) -> Coro[None]:
        """fdatasync(2). ``IORING_OP_FSYNC``, Linux 5.1."""
        return self._io.fsync(1)

    def _submit(
        self, opcode: int, off: object, addr: object, length: int | None = None
    ) -> Coro[int]:
        return native.submit(opcode, self._io, off, addr, length, 0, 0, self.path, opcodes.NUMBER)

    def fsync(self, *, data_only: bool = False) -> Coro[None]:
        """Wait until the file is on the disk; with `data_only` as fdatasync(2).
        ``IORING_OP_FSYNC``, Linux 5.1."""
        return self._io.fsync(data_only)

    def close(self) -> Coro[None]:
        """Close; idempotent, and not cut short by a cancellation. Operations under way end first.
        ``IORING_OP_CLOSE``, Linux 5.6."""
        return self._io.close()


open = File.open
"""See :meth:`File.open`."""
