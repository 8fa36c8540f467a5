"""A file to a stream without a copy in this process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from .._ffi import opcodes
from .._ffi.core import Descriptor, native
from .._validate import wrong
from .._writing import writing
from ..runtime import current_handle
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
    """Send `length` bytes of `file` from `offset` on, or all up to its end as it is then; returns
    how many were sent, fewer if the file ends first. What another task writes meanwhile is refused
    with :class:`BusyError`.

    The pages go through a pipe: ``IORING_OP_SPLICE``, Linux 5.7. If the file system cannot
    splice, or without io_uring, they are read and sent. What ends it early, a cancellation too, has
    in its attributes ``bytes_written`` and ``sent`` how many bytes the stream took before.
    """
    if offset < 0:
        raise ValueError(wrong("offset", "0 or more", offset))
    if length is not None and length < 0:
        raise ValueError(wrong("length", "0 or more, or None", length))
    transfer = _Transfer(file, stream, offset, _NO_OFFSET if length is None else length)
    with writing(stream._io) as progress:
        try:
            await transfer.run()
        except BaseException as error:
            error.sent = transfer.sent  # type: ignore[attr-defined]
            raise
        finally:
            progress.count = transfer.sent
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
        # A number of its own: the file's may be closed, and used anew, by another task.
        source = native.adopt(os.dup(self._file.fileno()), 0)
        try:
            if current_handle().backend() != "io_uring":
                # A splice to a socket would keep a thread for as long as the peer reads slowly.
                return await self._copy(source)
            try:
                await self._splice_all(source.fileno())
            except _CannotSplice:
                await self._copy(source)
        finally:
            await source.close()

    async def _splice_all(self, source: int) -> None:
        with contextlib.ExitStack() as stack:
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, read_end)
            stack.callback(os.close, write_end)
            try:
                room = fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except PermissionError:  # The user's share of pipe memory is used up (pipe(7)).
                room = _PIPE_BYTES_USUAL
            await self._through(source, read_end, write_end, room)

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
                # A nonblocking socket, which a splice does not wait for, or no thread to wait in.
                data = os.read(read_end, count)  # It is there.
                await self._send(memoryview(data))
                count -= len(data)
            else:
                count -= moved
                self._took(moved)

    async def _copy(self, source: Descriptor) -> None:
        buffer = memoryview(bytearray(min(_PIECE, self._left)))
        while self._left:
            room = buffer[: min(len(buffer), self._left)]
            count = await source.read_at_into(self._offset + self.sent, room)
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
