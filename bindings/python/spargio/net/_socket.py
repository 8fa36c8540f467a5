"""What every socket of ours has: its options, its addresses, its end."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar, overload

from .._ffi import opcodes
from .._ffi.core import Descriptor, native
from .._ffi.types import Buffer, Coro
from .._hints import Hints
from ..errors import ClosedError
from ._addresses import Address, encode, unix_name

_Self = TypeVar("_Self", bound="BaseSocket")

_LINGER = struct.Struct("=ii")


def fresh(family: int, kind: int) -> socket.socket:
    return socket.socket(family, kind | socket.SOCK_CLOEXEC)


def adopt(sock: socket.socket) -> Descriptor:
    """Takes the descriptor over. It waits in the kernel, so it must not be non-blocking there."""
    sock.setblocking(True)
    return native.adopt(sock.detach(), 1)


async def connect_descriptor(family: int, kind: int, address: Address) -> Descriptor:
    """A connected socket. ``IORING_OP_CONNECT``, Linux 5.5."""
    where = encode(family, address)
    descriptor = adopt(fresh(family, kind))
    try:
        await native.submit(
            opcodes.CONNECT, descriptor, len(where), where, 0, 0, 0, None, opcodes.NUMBER
        )
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = _readable(family, address)
        await descriptor.close()
        raise
    return descriptor


def _readable(family: int, address: Address) -> bytes | str:
    return unix_name(address) if family == socket.AF_UNIX else f"{address[0]}:{address[1]}"


def _shown(address: Address) -> str:
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return repr(address) if address else ""


class BaseSocket(Hints):
    """A socket of the runtime. Close it, or use ``async with``."""

    __slots__ = ("_io",)

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor

    @classmethod
    def from_socket(cls: type[_Self], sock: socket.socket) -> _Self:
        """Take over a socket of Python's, which is detached: it is closed with this one.
        ``ValueError`` where its kind is another."""
        cls._check(sock)
        return cls(adopt(sock))

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        raise NotImplementedError

    def detach(self) -> int:
        """Give the descriptor up: it is the caller's to close (``socket.socket(fileno=...)``).
        ``RuntimeError`` while operations are under way."""
        return self._io.detach()

    @contextmanager
    def _borrowed(self) -> Iterator[socket.socket]:
        number = self._io.fileno()
        if number < 0:
            raise ClosedError(f"the {type(self).__name__} is closed")
        borrowed = socket.socket(fileno=number)
        try:
            yield borrowed
        finally:
            borrowed.detach()

    @property
    def local_addr(self) -> Address:
        """The address here."""
        with self._borrowed() as sock:
            return sock.getsockname()

    @property
    def peer_addr(self) -> Address:
        """The address at the other end; ``OSError`` ENOTCONN where there is none."""
        with self._borrowed() as sock:
            return sock.getpeername()

    def __repr__(self) -> str:
        name, number = type(self).__name__, self._io.fileno()
        if number < 0:
            return f"<{name}, closed>"
        try:
            local = _shown(self.local_addr)
        except OSError:
            local = ""
        try:
            peer = "<-> " + (_shown(self.peer_addr) or "peer")
        except OSError:
            peer = ""  # None, or none any more.
        return f"<{' '.join(filter(None, (name, str(number), local, peer)))}>"

    def fileno(self) -> int:
        """The descriptor's number; -1 when closed."""
        return self._io.fileno()

    @overload
    def getsockopt(self, level: int, option: int) -> int: ...
    @overload
    def getsockopt(self, level: int, option: int, size: int) -> bytes: ...
    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """getsockopt(2): a number, or `size` bytes."""
        with self._borrowed() as sock:
            return sock.getsockopt(level, option, size) if size else sock.getsockopt(level, option)

    def setsockopt(self, level: int, option: int, value: int | Buffer) -> None:
        """setsockopt(2)."""
        with self._borrowed() as sock:
            sock.setsockopt(level, option, value)

    def set_recv_buffer_size(self, size: int) -> None:
        """SO_RCVBUF, bytes; the kernel doubles it for its own needs."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def set_send_buffer_size(self, size: int) -> None:
        """SO_SNDBUF, bytes; the kernel doubles it for its own needs."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def set_linger(self, seconds: int | None) -> None:
        """SO_LINGER: how long a close waits for what is not sent yet; 0 throws it away and resets
        the connection, None (the default) sends it in the background."""
        value = _LINGER.pack(seconds is not None, seconds or 0)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)

    def close(self) -> Coro[None]:
        """Close; idempotent, and not cut short by a cancellation. Other tasks that wait on the
        socket get :class:`ClosedError`. ``IORING_OP_CLOSE``, Linux 5.6."""
        return self._io.close()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def check_kind(sock: socket.socket, families: tuple[int, ...], kind: int, wanted: str) -> None:
    if not isinstance(sock, socket.socket):
        raise TypeError(f"socket is {sock!r}: allowed is a socket.socket, {wanted}")
    if sock.family not in families or sock.type & ~socket.SOCK_NONBLOCK != kind:
        raise ValueError(f"socket is {sock!r}: allowed is {wanted}")
