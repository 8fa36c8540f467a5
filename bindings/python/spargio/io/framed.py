"""Frames: messages with their length in front."""

from __future__ import annotations

from typing import Literal, Protocol

from .._ffi.types import Buffer
from .._shared import Shared
from .._validate import view_of, within, wrong
from ..errors import IncompleteReadError, SpargioError
from ._buffered import BufReader
from ._streams import AsyncRead, AsyncWrite


class ReadWrite(AsyncRead, AsyncWrite, Protocol):
    """Both."""


class FrameTooLong(SpargioError):
    """A frame is longer than `max_frame`; nothing of it was allocated, or sent. The stream is of
    no use for further reads: close it."""


class LengthDelimited(Shared):
    """Frames over a stream: `length_bytes` (1, 2, 4 or 8) of length, then so many bytes. One task
    at a time may read, one may write. A read that is cancelled loses nothing; a write that is
    cancelled may have sent a part, so close the stream then."""

    def __init__(
        self,
        stream: ReadWrite,
        *,
        length_bytes: int = 4,
        byteorder: Literal["big", "little"] = "big",
        max_frame: int = 8 * 1024 * 1024,
    ) -> None:
        if length_bytes not in (1, 2, 4, 8):
            raise ValueError(wrong("length_bytes", "1, 2, 4 or 8", length_bytes))
        if byteorder not in ("big", "little"):
            raise ValueError(wrong("byteorder", "'big' or 'little'", byteorder))
        self._stream = stream
        self._reader = BufReader(stream)
        self._length_bytes = length_bytes
        self._byteorder: Literal["big", "little"] = byteorder
        self._max_frame = within("max_frame", max_frame, 0, (1 << 8 * length_bytes) - 1)
        self._expected: int | None = None

    def _state(self) -> str:
        return f"frames of at most {self._max_frame} bytes, over {self._stream!r}"

    def detach(self) -> ReadWrite:
        """The stream beneath, which gets back what was read ahead and is not of a frame that was
        given out: for what follows on the stream when the frames are over. See
        :meth:`BufReader.detach`."""
        if self._expected is not None:
            self._reader.unread(self._expected.to_bytes(self._length_bytes, self._byteorder))
            self._expected = None
        self._reader.detach()
        return self._stream

    async def read_frame(self) -> bytes | None:
        """The next frame, None if the stream ends between two.
        :class:`IncompleteReadError` if it ends inside one, :class:`FrameTooLong`."""
        if self._expected is None:
            if not await self._reader.peek():
                return None
            head = await self._reader.read_exactly(self._length_bytes)
            self._expected = int.from_bytes(head, self._byteorder)
        if self._expected > self._max_frame:
            raise FrameTooLong(
                f"a frame must have at most {self._max_frame} bytes, one of {self._expected} came"
            )
        try:
            frame = await self._reader.read_exactly(self._expected)
        except IncompleteReadError:
            self._expected = None
            raise
        self._expected = None
        return frame

    async def write_frame(self, data: Buffer) -> None:
        """Send a frame. :class:`FrameTooLong`: nothing was sent."""
        size = view_of(data).nbytes
        if size > self._max_frame:
            raise FrameTooLong(f"a frame must have at most {self._max_frame} bytes, got {size}")
        head = size.to_bytes(self._length_bytes, self._byteorder)
        await self._stream.write_all(b"".join((head, data)))

    def __aiter__(self) -> LengthDelimited:
        return self

    async def __anext__(self) -> bytes:
        frame = await self.read_frame()
        if frame is None:
            raise StopAsyncIteration
        return frame
