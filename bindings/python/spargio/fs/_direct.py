"""Files opened past the page cache: what the device wants to be multiples, and memory that is."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Awaitable, Iterable, Sequence

from .._ffi import opcodes
from .._ffi.core import Descriptor, native
from .._ffi.types import Buffer
from ._file import File
from ._metadata import SIZE
from ._names import AT_EMPTY_PATH, Path

_DIOALIGN = 0x2000
_ALIGNMENTS = struct.Struct("=II")
_UNKNOWN = (4096, 4096)
"""Before Linux 6.1, and if the file system does not say: right for every usual disk."""


class DirectFile(File):
    """A :class:`File` with O_DIRECT. Reads may be of any place and size, and into any memory: if
    it does not fit, what is around is read into memory that does, and copied. Writes may be from
    any memory, but of multiples only: ``OSError`` EINVAL says of how much."""

    __slots__ = ("_aligned",)

    def __init__(self, descriptor: Descriptor, path: Path) -> None:
        super().__init__(descriptor, path)
        self._aligned: tuple[int, int] | None = None

    async def alignment(self) -> tuple[int, int]:
        """What addresses in memory, and what offsets and sizes, must be multiples of, in bytes.
        statx(2), STATX_DIOALIGN."""
        if self._aligned is None:
            buffer = bytearray(SIZE)
            await native.submit(
                opcodes.STATX,
                self._io,
                buffer,
                b"\0",
                _DIOALIGN,
                AT_EMPTY_PATH,
                0,
                self.path,
                opcodes.NUMBER,
            )
            memory, offset = _ALIGNMENTS.unpack_from(buffer, 152)
            self._aligned = (memory or _UNKNOWN[0], offset or _UNKNOWN[1])
        return self._aligned

    async def read_at(self, offset: int, size: int) -> bytes:
        """As :meth:`File.read_at`, by a copy."""
        buffer = bytearray(size)
        count = await self._copied(offset, memoryview(buffer))
        return bytes(memoryview(buffer)[:count])

    async def read_many_at(self, offsets: Iterable[int], size: int) -> list[bytes]:
        """As :meth:`File.read_many_at`, one after the other."""
        return [await self.read_at(offset, size) for offset in offsets]

    async def read_at_into(self, offset: int, buffer: Buffer) -> int:
        """As :meth:`File.read_at_into`; without a copy if offset, size and memory fit."""
        try:
            return await super().read_at_into(offset, buffer)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        return await self._copied(offset, memoryview(buffer).cast("B"))

    async def _copied(self, offset: int, room: memoryview) -> int:
        if not room:
            await super().read_at_into(offset, room)  # Says what is wrong with the offset or file.
            return 0
        _, unit = await self.alignment()
        start = offset % unit
        size = -(-(start + len(room)) // unit) * unit
        with mmap.mmap(-1, size) as memory, memoryview(memory) as view:
            count = await super().read_at_into(offset - start, view)
            count = max(0, min(count - start, len(room)))
            room[:count] = view[start : start + count]
        return count

    async def read_vectored_at(self, offset: int, buffers: Sequence[Buffer]) -> int:
        """As :meth:`File.read_vectored_at`; without a copy if offset, sizes and memory fit."""
        try:
            return await super().read_vectored_at(offset, buffers)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        rooms = [memoryview(buffer).cast("B") for buffer in buffers]
        found = bytearray(sum(map(len, rooms)))
        count = await self._copied(offset, memoryview(found))
        place = 0
        for room in rooms:
            part = found[place : min(place + len(room), count)]
            room[: len(part)] = part
            place += len(part)
        return count

    async def write_at(self, offset: int, data: Buffer) -> int:
        """As :meth:`File.write_at`; offset and size must be multiples."""
        return await self._told(super().write_at(offset, await self._fitting(offset, data)))

    async def write_all_at(self, offset: int, data: Buffer) -> None:
        """As :meth:`File.write_all_at`; offset and size must be multiples."""
        await self._told(super().write_all_at(offset, await self._fitting(offset, data)))

    async def write_vectored_at(self, offset: int, buffers: Sequence[Buffer]) -> int:
        """As :meth:`File.write_vectored_at`; offset, sizes and memory must be multiples."""
        return await self._told(super().write_vectored_at(offset, buffers))

    async def _fitting(self, offset: int, data: Buffer) -> Buffer:
        """The same bytes in memory that fits, if they can be written at all. An mmap is taken as
        it is."""
        with memoryview(data) as view:
            if isinstance(view.obj, mmap.mmap):
                return data
            _, unit = await self.alignment()
            if not view.nbytes or offset % unit or view.nbytes % unit:
                return data
            memory = mmap.mmap(-1, view.nbytes)
            memory[:] = view.cast("B")
            return memory

    async def _told(self, operation: Awaitable[int | None]) -> int:
        try:
            return await operation  # type: ignore[return-value]
        except OSError as error:
            if error.errno == errno.EINVAL:
                memory, unit = await self.alignment()
                error.strerror = (
                    f"{os.strerror(errno.EINVAL)}: the file is open with O_DIRECT, so offset and "
                    f"size must be multiples of {unit} bytes, and the memory's address of {memory} "
                    "(an mmap's is)"
                )
            raise


def is_direct(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)
