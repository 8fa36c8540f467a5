"""Binary files without threads."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

from .._ffi import opcodes
from .._ffi.core import native

READ, _WRITE = 22, 23  # IORING_OPREAD, IORING_OP_WRITE: Linux 5.6.
_HERE = (1 << 64) - 1
"""At the position that the kernel keeps for the open file."""

STEP = 64 * 1024
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
        count = await self.transfer(READ, room)
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
            step = max(os.fstat(self.fileno()).st_size - here + 1, STEP)
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
        return await self.ring_some(STEP if size < 0 else size)

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
        while data := await self.ring_some(STEP):
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
        return self.truncate(size)

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
        return super().read(STEP if size < 0 else size)

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

    def truncate(self, size: int | None = None, /) -> int:
        self.forget_ahead()
        return super().truncate(size)
