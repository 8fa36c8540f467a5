"""TCP. Every awaitable is one io_uring operation of the shard whose task awaits it. Addresses are
numeric (IPv4 or IPv6): resolving a name would block the shard."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Awaitable
from types import TracebackType
from typing import Any

from ._ffi.core import Descriptor, native
from .errors import ClosedError
from .runtime import current_runtime

__all__ = ("TcpListener", "TcpStream")

Address = tuple[Any, ...]


def _ask(descriptor: Descriptor, method: str) -> Address:
    """getsockname or getpeername, as Python writes addresses; does not wait."""
    number = descriptor.fileno()
    if number < 0:
        raise ClosedError("the socket is closed")
    borrowed = socket.socket(fileno=number)
    try:
        address: Address = getattr(borrowed, method)()
        return address
    finally:
        borrowed.detach()


class TcpStream:
    """A connected TCP socket, TCP_NODELAY set. One task at a time may read, one may write, on any
    shard. Close it, or use ``async with``."""

    __slots__ = ("_io", "session_shard")

    def __init__(self, descriptor: Descriptor, session_shard: int | None = None) -> None:
        self._io = descriptor
        self.session_shard = session_shard
        """The shard that :meth:`TcpListener.accept_round_robin` chose, or None."""

    @classmethod
    async def connect(cls, host: str, port: int) -> TcpStream:
        """Connect to a numeric address. ``IORING_OP_CONNECT``, Linux 5.5. ``ValueError`` for a
        name, ``ConnectionRefusedError`` and other ``OSError`` from the kernel."""
        try:
            descriptor = await native.connect(host, port)
        except OSError as error:
            if error.errno is not None and error.filename is None:
                error.filename = f"{host}:{port}"
            raise
        descriptor.set_nodelay(1)
        return cls(descriptor)

    def recv(self, max_bytes: int) -> Awaitable[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` at the end of the stream.
        ``IORING_OP_RECV``, Linux 5.6."""
        return self._io.recv(max_bytes)

    def recv_into(self, buffer: object) -> Awaitable[int]:
        """The same into a writable buffer; gives the number of bytes, 0 at the end. The buffer
        stays exported until the operation has ended."""
        return self._io.recv_into(buffer)

    def read_exactly(self, size: int) -> Awaitable[bytes]:
        """`size` bytes; :class:`IncompleteReadError` with what came where the stream ends first.
        ``IORING_OP_RECV`` with MSG_WAITALL."""
        return self._io.read_exactly(size)

    def send(self, data: object) -> Awaitable[int]:
        """Gives the number of bytes taken, which may be fewer. ``IORING_OP_SEND``, Linux 5.6."""
        return self._io.send(data)

    def write_all(self, data: object) -> Awaitable[None]:
        """Send all of `data`; an error says how much was taken. ``IORING_OP_SEND`` with
        MSG_WAITALL (Linux 5.19): the kernel goes on after a short send."""
        return self._io.write_all(data)

    def shutdown(self, how: int = socket.SHUT_WR) -> Awaitable[None]:
        """shutdown(2): ``socket.SHUT_RD``, ``SHUT_WR`` or ``SHUT_RDWR``.
        ``IORING_OP_SHUTDOWN``, Linux 5.11."""
        return self._io.shutdown(how)

    def close(self) -> Awaitable[None]:
        """Close; idempotent, and not cut short by a cancellation. Other tasks that wait on the
        stream get :class:`ClosedError`. ``IORING_OP_CLOSE``, Linux 5.6."""
        return self._io.close()

    def set_nodelay(self, enabled: bool) -> None:
        """TCP_NODELAY."""
        self._io.set_nodelay(bool(enabled))

    @property
    def local_addr(self) -> Address:
        return _ask(self._io, "getsockname")

    @property
    def peer_addr(self) -> Address:
        return _ask(self._io, "getpeername")

    def fileno(self) -> int:
        """The descriptor's number; -1 when closed."""
        return self._io.fileno()

    async def __aenter__(self) -> TcpStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class TcpListener:
    """A listening TCP socket, SO_REUSEADDR set. Close it, or use ``async with``."""

    __slots__ = ("_io", "_turn", "local_addr")

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor
        self._turn = itertools.count()
        self.local_addr: Address = _ask(descriptor, "getsockname")
        """(host, port): tells the port where 0 was asked for."""

    @classmethod
    async def bind(
        cls, host: str, port: int, *, backlog: int = 1024, reuse_port: bool = False
    ) -> TcpListener:
        """Listen on a numeric address; port 0 takes a free one. Does not wait."""
        try:
            return cls(native.listen(host, port, backlog, reuse_port))
        except OSError as error:
            error.filename = f"{host}:{port}"
            raise

    async def accept(self) -> tuple[TcpStream, Address]:
        """The next connection and the peer's address. ``IORING_OP_ACCEPT``, Linux 5.5."""
        return await self._accept(None)

    async def accept_round_robin(self) -> tuple[TcpStream, Address]:
        """The same; ``stream.session_shard`` is the next shard in turn."""
        return await self._accept(next(self._turn) % current_runtime().shard_count())

    async def _accept(self, session_shard: int | None) -> tuple[TcpStream, Address]:
        while True:
            descriptor = await self._io.accept()
            stream = TcpStream(descriptor, session_shard)
            try:
                descriptor.set_nodelay(1)
                return stream, stream.peer_addr
            except OSError:
                # The peer was gone before it was accepted; the listener goes on.
                await stream.close()

    def close(self) -> Awaitable[None]:
        """Close; idempotent. A task that waits in :meth:`accept` gets :class:`ClosedError`."""
        return self._io.close()

    async def __aenter__(self) -> TcpListener:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
