"""asyncio's streams over our transport: the code that runs for every piece of data is native."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ._native import StreamCore
from ._transport import whole_bytes

if TYPE_CHECKING:
    from ._stream import SocketTransport


class StreamReader(asyncio.StreamReader):
    """asyncio's, with its state; `read` and `exception` are native."""

    __slots__ = ()

    def feed_eof(self) -> None:
        super().feed_eof()
        self._changed()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._changed()

    def feed_data(self, data: Any) -> None:
        """Not called by the transport."""
        super().feed_data(data)
        self._changed()

    def _changed(self) -> None:
        if isinstance(transport := self._transport, StreamCore):  # type: ignore[attr-defined]
            transport._reader_changed()

    def _wait_for_data(self, func_name: str) -> Any:
        transport = self._transport  # type: ignore[attr-defined]
        if isinstance(transport, StreamCore) and transport._is_read():
            raise RuntimeError(
                f"{func_name}() called while another coroutine is already waiting for incoming data"
            )
        return super()._wait_for_data(func_name)  # type: ignore[misc]


class StreamReaderProtocol(asyncio.StreamReaderProtocol):
    """asyncio's, with its state; what `drain` waits for is native."""

    __slots__ = ()


StreamCore._stream_methods(StreamReader, StreamReaderProtocol)


def adopt(transport: SocketTransport, protocol: Any) -> None:
    """If they are exactly asyncio's, the protocol and its reader get those classes, and the
    transport feeds the reader itself."""
    if type(protocol) is not asyncio.StreamReaderProtocol:
        return
    reader = protocol._stream_reader  # type: ignore[attr-defined]
    if type(reader) is not asyncio.StreamReader:
        return
    protocol.__class__ = StreamReaderProtocol
    reader.__class__ = StreamReader
    state: Any = reader
    limit = whole_bytes(state._limit)
    transport._feed(protocol._stream_reader_wr, state._buffer, limit)  # type: ignore[attr-defined]
