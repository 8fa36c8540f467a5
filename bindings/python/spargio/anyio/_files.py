"""Files without threads. anyio makes each call of a file on a worker thread; those that the ring
can do are known here by the function that anyio hands over, and become operations of the ring. Text
files, and calls with a limiter of their own, stay on threads."""

from __future__ import annotations

import builtins
import io
import os
import pathlib
import stat
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from .._ffi import opcodes
from .._ffi.core import native
from ..fs import _names
from ..fs._file import _FLAGS
from ..fs._paths import metadata
from ..fs._whole import read
from ._loop import checkpoint

T = TypeVar("T")

_READ, _WRITE = 22, 23  # IORING_OP_READ, IORING_OP_WRITE: Linux 5.6.
_HERE = (1 << 64) - 1
"""At the position that the kernel keeps for the open file."""

_STEP = 64 * 1024
_STEP_MAX = 1 << 30


class RingFile(io.FileIO):
    """A binary file. As an object it is Python's, for those who use it on a thread of their own;
    the ring does what anyio asks for."""

    _ahead = b""
    """Read, but not asked for yet."""

    def forget_ahead(self) -> None:
        """The kernel's position is the file's again."""
        ahead, self._ahead = self._ahead, b""
        if ahead:
            os.lseek(self.fileno(), -len(ahead), os.SEEK_CUR)

    # ---- on the ring ----

    async def ring_some(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        room = bytearray(min(size, _STEP_MAX))
        count = await self.transfer(_READ, room)
        return bytes(memoryview(room)[:count])

    async def transfer(self, opcode: int, buffer: Any) -> int:
        count: int = await native.submit(
            opcode,
            self.fileno(),
            _HERE,
            buffer,
            len(buffer),
            0,
            0,
            self.name,
            opcodes.NUMBER,
        )
        return count

    async def ring_read(self, size: int | None = -1) -> bytes:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        if size is None or size < 0:
            size = -1
            here = os.lseek(self.fileno(), 0, os.SEEK_CUR) if self.seekable() else 0
            step = max(os.fstat(self.fileno()).st_size - here + 1, _STEP)
        else:
            step = size
        parts: list[bytes] = []
        while size != 0 and (data := await self.ring_some(step)):
            parts.append(data)
            if size > 0:
                size -= len(data)
                step = size
        return b"".join(parts)

    async def ring_read1(self, size: int = -1) -> bytes:
        return await self.ring_some(_STEP if size < 0 else size)

    async def ring_readinto(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            data = await self.ring_read(len(view))
            view[: len(data)] = data
        return len(data)

    async def ring_readinto1(self, buffer: Any) -> int:
        with memoryview(buffer).cast("B") as view:
            data = await self.ring_some(len(view))
            view[: len(data)] = data
        return len(data)

    async def ring_readline(self) -> bytes:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")
        parts: list[bytes] = []
        while data := await self.ring_some(_STEP):
            end = data.find(b"\n") + 1
            if end:
                parts.append(data[:end])
                self._ahead = data[end:] + self._ahead
                break
            parts.append(data)
        return b"".join(parts)

    async def ring_readlines(self) -> list[bytes]:
        return (await self.ring_read()).splitlines(keepends=True) if self.readable() else []

    async def ring_write(self, data: Any) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        self.forget_ahead()
        with memoryview(data).cast("B") as view:
            done = 0
            while done < len(view):
                with view[done : done + _STEP_MAX] as rest:
                    done += await self.transfer(_WRITE, rest)
            return done

    async def ring_writelines(self, lines: Iterable[Any]) -> None:
        for line in lines:
            await self.ring_write(line)

    async def ring_seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.forget_ahead()
        return super().seek(offset, whence)

    async def ring_tell(self) -> int:
        return super().tell() - len(self._ahead)

    async def ring_truncate(self, size: int | None = None) -> int:
        self.forget_ahead()
        return super().truncate(size)

    async def ring_flush(self) -> None:
        """Nothing is held back."""

    async def ring_close(self) -> None:
        super().close()

    # ---- on a thread of the caller's ----

    def read(self, size: int | None = -1, /) -> Any:
        self.forget_ahead()
        return super().read(-1 if size is None else size)

    def read1(self, size: int = -1, /) -> Any:
        """One read, as of a buffered file."""
        self.forget_ahead()
        return super().read(_STEP if size < 0 else size)

    def readinto(self, buffer: Any, /) -> Any:
        self.forget_ahead()
        return super().readinto(buffer)

    def readinto1(self, buffer: Any, /) -> Any:
        """One read, as of a buffered file."""
        return self.readinto(buffer)

    def readall(self) -> Any:
        self.forget_ahead()
        return super().readall()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self.forget_ahead()
        return super().seek(offset, whence)

    def tell(self) -> int:
        return super().tell() - len(self._ahead)


async def _open(path: Any, mode: str) -> RingFile:
    where = _names.encode(path)
    flags = _FLAGS[mode.replace("b", "")]
    descriptor = await native.open(where, _names.label(path), flags, 0o666)
    number = descriptor.detach()
    # If this fails (a directory), it closes the number: the opener's result is its own.
    return RingFile(path, mode, opener=lambda *_: number)


async def _stat(path: Any) -> os.stat_result:
    found = await metadata(path)
    if stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode):
        return os.stat(path)  # Devices have a number more, and wait for nothing.
    times = found.accessed_ns, found.modified_ns, found.changed_ns
    names = ("st_atime", "st_mtime", "st_ctime")
    more: dict[str, float] = {
        name: ns // 10**9 + 1e-9 * (ns % 10**9) for name, ns in zip(names, times, strict=True)
    }
    more |= {f"{name}_ns": ns for name, ns in zip(names, times, strict=True)}
    more |= {"st_blksize": found.block_size, "st_blocks": found.blocks, "st_rdev": 0}
    first = (found.mode, found.inode, found.device, found.links, found.uid, found.gid, found.size)
    return os.stat_result((*first, *(ns // 1_000_000_000 for ns in times)), more)


def instead(
    function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Coroutine[Any, Any, Any] | None:
    """What the ring does in place of this call, or None."""
    owner = getattr(function, "__self__", None)
    if type(owner) is RingFile:
        work = getattr(owner, f"ring_{function.__name__}", None)
        if work is None:
            owner.forget_ahead()
            return None
        if owner.closed and function.__name__ != "close":
            return None  # Python's own error.
        return _shielded(work, arguments)
    if function is builtins.open:
        return _opening(*arguments)
    if function is os.stat and len(arguments) == 1 and not isinstance(arguments[0], int):
        return _shielded(_stat, arguments)
    if isinstance(owner, pathlib.Path):
        if function.__name__ == "open":
            return _opening(owner, *arguments)
        if function.__name__ == "read_bytes" and not arguments:
            return _shielded(read, (owner,))
    return None


def _opening(
    path: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: object = None,
    errors: object = None,
    newline: object = None,
    closefd: bool = True,
    opener: object = None,
) -> Coroutine[Any, Any, RingFile] | None:
    plain = encoding is errors is newline is opener is None and closefd
    if not plain or isinstance(path, int) or "b" not in mode or mode not in _FLAGS:
        return None
    return _shielded(_open, (os.fspath(path), mode))


async def _shielded(work: Callable[..., Coroutine[Any, Any, T]], arguments: tuple[Any, ...]) -> T:
    """As on a thread: a cancellation comes before it or after it."""
    await checkpoint()
    native.keep_back(1)
    try:
        return await work(*arguments)
    finally:
        native.keep_back(-1)
