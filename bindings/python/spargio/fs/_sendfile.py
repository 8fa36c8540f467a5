"""A file to a stream without a copy in this process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from .._ffi import opcodes
from .._ffi.core import native
from ._file import File

if TYPE_CHECKING:
    from ..net import TcpStream, UnixStream

_PIPE_BYTES = 1 << 20
_PIPE_BYTES_USUAL = 64 << 10
_PIECE = 256 << 10
_NO_OFFSET = (1 << 64) - 1
"""For a pipe or a socket: loff_t -1."""


async def sendfile(
    file: File, stream: TcpStream | UnixStream, offset: int = 0, length: int | None = None
) -> int:
    """Send `length` bytes of `file` from `offset` on, or all up to its end as it is then; gives how
    many were sent, fewer where the file ends first. Nobody else may write to the stream meanwhile.

    The pages go through a pipe: ``IORING_OP_SPLICE``, Linux 5.7. Where the file system cannot
    splice they are read and sent. What ends it early, a cancellation too, has in its attribute
    ``sent`` how many bytes the stream took before.
    """
    if offset < 0:
        raise ValueError(f"offset is {offset}: allowed is 0 or more")
    if length is not None and length < 0:
        raise ValueError(f"length is {length}: allowed is 0 or more, or None")
    transfer = _Transfer(file, stream, offset, _NO_OFFSET if length is None else length)
    try:
        await transfer.run()
    except BaseException as error:
        error.sent = transfer.sent  # type: ignore[attr-defined]
        raise
    return transfer.sent


class _CannotSplice(Exception):
    """The file system, this kind of file, or the kernel without a thread for it."""


class _Transfer:
    def __init__(
        self, file: File, stream: TcpStream | UnixStream, offset: int, length: int
    ) -> None:
        self._file = file
        self._stream = stream
        self._offset = offset
        self._left = length
        self.sent = 0

    async def run(self) -> None:
        with contextlib.ExitStack() as stack:
            # A number of its own: the file's may be closed, and used anew, by another task.
            source = os.dup(self._file.fileno())
            stack.callback(os.close, source)
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, read_end)
            stack.callback(os.close, write_end)
            try:
                room = fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except PermissionError:  # The user's share of pipe memory is used up (pipe(7)).
                room = _PIPE_BYTES_USUAL
            try:
                await self._through(source, read_end, write_end, room)
            except _CannotSplice:
                await self._copy()

    async def _through(self, source: int, read_end: int, write_end: int, room: int) -> None:
        while self._left:
            start = self._offset + self.sent
            try:
                count = await self._splice(source, start, write_end, min(room, self._left))
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.EAGAIN):
                    raise _CannotSplice from None
                raise
            if count == 0:
                return
            await self._drain(read_end, count)

    async def _drain(self, read_end: int, count: int) -> None:
        while count:
            try:
                moved = await self._splice(read_end, _NO_OFFSET, self._stream._io, count)
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                data = os.read(read_end, count)  # It is there.
                await self._send(memoryview(data))
                count -= len(data)
            else:
                count -= moved
                self._took(moved)

    async def _copy(self) -> None:
        buffer = memoryview(bytearray(min(_PIECE, self._left)))
        while self._left:
            room = buffer[: min(len(buffer), self._left)]
            count = await self._file.read_at_into(self._offset + self.sent, room)
            if count == 0:
                return
            await self._send(buffer[:count])

    async def _send(self, data: memoryview) -> None:
        while data:
            moved = await self._stream.send(data)
            self._took(moved)
            data = data[moved:]

    def _took(self, count: int) -> None:
        self.sent += count
        self._left -= count

    @staticmethod
    async def _splice(source: int, offset: int, target: object, length: int) -> int:
        moved: int = await native.submit(
            opcodes.SPLICE,
            target,  # type: ignore[arg-type]
            _NO_OFFSET,
            offset,
            length,
            0,
            source,
            None,
            opcodes.NUMBER,
        )
        return moved
