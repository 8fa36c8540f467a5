"""What a connected stream does, whatever it is made of."""

from __future__ import annotations

import socket
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from .._ffi import opcodes
from .._ffi.core import Descriptor, JoinHandle, native
from .._ffi.types import Buffer, Coro
from .._pieces import Unsent, one_call, read_until
from .._validate import view_of
from .._writing import writing
from ..runtime import current_handle
from ._socket import BaseSocket

T = TypeVar("T")
_Self = TypeVar("_Self", bound="Stream")

_PIECE = 64 * 1024
"""Buffers that one call takes."""


class Segments:
    """A receive that goes on: an asynchronous iterator of ``bytes``, to be entered with ``async
    with``. The kernel is asked once and picks a buffer of the shard for each piece (multishot
    ``IORING_OP_RECV``, Linux 6.0; before, one receive per piece). Leaving it keeps what has
    arrived and was not taken for the next read. A consumer that lags by 16 pieces stops the
    operation until it has caught up. One task only; no other read meanwhile."""

    __slots__ = ("_descriptor", "_native")

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._native = descriptor.segments()

    def __repr__(self) -> str:
        return f"<Segments of {self._descriptor!r}>"

    def __aiter__(self) -> Segments:
        return self

    async def __anext__(self) -> bytes:
        data = await self._native
        if not data:
            raise StopAsyncIteration
        return data

    async def __aenter__(self) -> Segments:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._native.stop()
        await self._native


class Stream(BaseSocket):
    """A connected stream. One task at a time may read, one may write, on any shard. A write while
    another task writes is refused with :class:`BusyError`. An operation that is cancelled loses no
    byte: what a read had taken, the next read gets, and the exception of a write has in its
    attribute ``bytes_written`` how many bytes the kernel took."""

    __slots__ = ("session_shard",)
    _instead = {  # noqa: RUF012
        "read": "recv(max_bytes) or read_exactly(size)",
        "readexactly": "read_exactly(size)",
        "readuntil": "read_until(separator)",
        "readline": "read_until(), or spargio.io.BufReader(stream).read_line()",
        "receive_some": "recv(max_bytes)",
        "receive": "recv(max_bytes)",
        "recv_exactly": "read_exactly(size)",
        "write": "write_all(data)",
        "writelines": "send_all_batch(buffers)",
        "drain": "`await stream.write_all(data)`, which waits by itself",
        "send_all": "write_all(data)",
        "sendall": "write_all(data)",
        "write_eof": "shutdown()",
        "send_eof": "shutdown()",
        "aclose": "close()",
        "wait_closed": "`await stream.close()`",
        "get_extra_info": "peer_addr, local_addr",
        "getpeername": "peer_addr",
        "getsockname": "local_addr",
    }

    def __init__(self, descriptor: Descriptor, session_shard: int | None = None) -> None:
        super().__init__(descriptor)
        self.session_shard = session_shard
        """The shard that the session policy chose, or None."""

    @classmethod
    def from_socket(cls: type[_Self], sock: socket.socket, *, unread: bytes = b"") -> _Self:
        """As :meth:`BaseSocket.from_socket`. `unread` is what its holder has read and not used, as
        :meth:`take_unread` returns it: reads get it first."""
        stream = super().from_socket(sock)
        stream._io.unread(bytes(unread))
        return stream

    # ---- reading ----

    def unread(self, data: bytes) -> None:
        """Reads get `data` first. For the one task that reads, and has read too far."""
        self._io.unread(bytes(data))

    def take_unread(self) -> bytes:
        """What has been read from the socket and was not used, which the next read would get:
        after a cancelled ``read_exactly`` or ``read_until``, or ``unread``. :meth:`detach` wants it
        taken first."""
        return self._io.take_unread()

    def recv_multishot_segments(self) -> Segments:
        """What arrives, piece by piece, for one task::

            async with stream.recv_multishot_segments() as segments:
                async for data in segments:
                    ...

        See :class:`Segments`."""
        return Segments(self._io)

    def recv(self, max_bytes: int) -> Coro[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` at the end of the stream.
        ``IORING_OP_RECV``, Linux 5.6."""
        return self._io.recv(max_bytes)

    recv_owned = recv

    def recv_into(self, buffer: Buffer) -> Coro[int]:
        """The same into a writable buffer; returns the number of bytes, 0 at the end. The buffer
        stays exported until the operation has ended."""
        return self._io.recv_into(buffer)

    def read_exactly(self, size: int) -> Coro[bytes]:
        """`size` bytes; :class:`IncompleteReadError` with what came if the stream ends first.
        ``IORING_OP_RECV`` with MSG_WAITALL."""
        return self._io.read_exactly(size)

    def read_until(self, separator: bytes = b"\n", *, limit: int = _PIECE) -> Coro[bytes]:
        """All up to and with `separator`. :class:`IncompleteReadError` if the stream ends first;
        ``ValueError`` if it does not come within `limit` bytes: they stay readable."""
        return read_until(self._io, separator, limit, _PIECE)

    # ---- writing ----

    def send(self, data: Buffer) -> Coro[int]:
        """Returns the number of bytes taken, which may be fewer. ``IORING_OP_SEND``, Linux 5.6."""
        return self._io.send(data)

    send_owned = send

    def write_all(self, data: Buffer) -> Coro[None]:
        """Send all of `data`. What ends it early, an error or a cancellation, says in its attribute
        ``bytes_written`` how much was taken. ``IORING_OP_SEND`` with MSG_WAITALL (Linux 5.19): the
        kernel goes on after a short send."""
        return self._io.write_all(data)

    def write_all_zero_copy(self, data: Buffer) -> Coro[None]:
        """The same without a copy in the kernel, for large data over a network card that can;
        over loopback the kernel copies after all, and other sockets are written as by
        :meth:`write_all`. It ends when nothing refers to `data` any more, which over TCP is when
        the peer has acknowledged it all. A cancellation or a time limit ends it at once; the
        connection may still send from `data` then, which stays exported until it is done: do not
        change it. ``IORING_OP_SEND_ZC``, Linux 6.0; before, as :meth:`write_all`."""
        return self._io.write_all_zero_copy(data)

    async def write_vectored(self, buffers: Sequence[Buffer]) -> int:
        """Send several buffers with one call; returns the number of bytes taken, which may be
        fewer. Of more than 1,024 buffers the first 1,024 that hold a byte are taken.
        ``IORING_OP_SENDMSG``, Linux 5.3."""
        flags = socket.MSG_NOSIGNAL
        sent = await native.message(opcodes.SENDMSG, self._io, one_call(buffers), None, None, flags)
        return sent[0]

    async def send_all_batch(self, buffers: Sequence[Buffer]) -> int:
        """Send all of several buffers, with as few calls as it takes; returns the number of bytes.
        What ends it early has ``bytes_written``. ``IORING_OP_SENDMSG`` with MSG_WAITALL."""
        unsent = Unsent([view_of(buffer) for buffer in buffers])
        with writing(self._io) as progress:
            flags = socket.MSG_NOSIGNAL | socket.MSG_WAITALL
            while batch := unsent.batch():
                count, *_ = await native.message(
                    opcodes.SENDMSG, self._io, batch, None, None, flags
                )
                progress.count += count
                unsent.took(count)
        return progress.count

    def shutdown(self, how: int = socket.SHUT_WR) -> Coro[None]:
        """shutdown(2): ``socket.SHUT_RD``, ``SHUT_WR`` or ``SHUT_RDWR``.
        ``IORING_OP_SHUTDOWN``, Linux 5.11."""
        return self._io.shutdown(how)

    # ---- sessions ----

    def spawn_on_session(self, coroutine: Coroutine[Any, Any, T]) -> JoinHandle[T]:
        """Run `coroutine` on the session's shard; without a session on this shard."""
        shard = self._shard()
        return current_handle().spawn_pinned(shard, coroutine)

    def spawn_stealable_on_session(self, coroutine: Coroutine[Any, Any, T]) -> JoinHandle[T]:
        """The same, but an idle shard may take it before it begins."""
        shard = self._shard()
        return current_handle().spawn_stealable_on(shard, coroutine)

    def _shard(self) -> int:
        return native.current_shard() if self.session_shard is None else self.session_shard
