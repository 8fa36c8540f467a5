"""The common part of all sockets: options, addresses, close."""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import TypeVar, overload

from .._ffi.core import Descriptor, native
from .._ffi.types import Buffer, Coro
from .._hints import Hints
from .._resource import AsyncCloseable
from .._validate import wrong
from ..runtime import current_handle
from ._addresses import Address, decode

_Self = TypeVar("_Self", bound="BaseSocket")
_Listener = TypeVar("_Listener", bound="Listener")

_LINGER = struct.Struct("=ii")

_STREAM, _MESSAGES = 1, 2
"""As ``native.adopt`` has them."""

_TRANSFERS = ("recv", "recv_into", "recvfrom", "recvmsg", "send", "sendall", "sendto", "sendmsg")


def fresh(family: int, kind: int) -> socket.socket:
    """A socket that nobody else has. It waits in the kernel, so it must not be nonblocking, as
    ``socket.setdefaulttimeout`` would make it."""
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    made.setblocking(True)
    return made


def fresh_pair(kind: int) -> tuple[socket.socket, socket.socket]:
    """Two of the Unix family that are connected to each other."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    one.setblocking(True)
    other.setblocking(True)
    return one, other


def adopt(sock: socket.socket) -> Descriptor:
    """Takes the descriptor over. What other holders share stays as it is: O_NONBLOCK too."""
    kind = _STREAM if _kind_of(sock) == socket.SOCK_STREAM else _MESSAGES
    return native.adopt(sock.detach(), kind)


def _kind_of(sock: socket.socket) -> int:
    return sock.type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def check_plain(sock: object, wanted: str) -> None:
    """Only what holds no bytes, and adds nothing to those on the wire, can be taken over."""
    if not isinstance(sock, socket.socket):
        raise TypeError(wrong("socket", f"a socket.socket, {wanted}", sock))
    if any(getattr(type(sock), name) is not getattr(socket.socket, name) for name in _TRANSFERS):
        raise TypeError(
            f"socket must be a plain socket.socket, got {sock!r}. A {type(sock).__name__} has "
            "transfers of its own (TLS, a proxy), which would be passed by"
        )
    if sock.fileno() < 0:
        raise ValueError(wrong("socket", "an open socket", sock))
    if getattr(sock, "_io_refs", 0):
        raise ValueError(
            f"socket must be one without an open makefile(), got {sock!r}: that may have read "
            "ahead or hold what is not written yet"
        )


def check_kind(sock: socket.socket, families: tuple[int, ...], kind: int, wanted: str) -> None:
    check_plain(sock, wanted)
    if sock.family not in families or _kind_of(sock) != kind:
        raise ValueError(wrong("socket", f"{wanted}", sock))


def check_listens(sock: socket.socket, wanted: str) -> None:
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(wrong("socket", f"{wanted}, this one does not listen", sock))


def _shown(address: Address) -> str:
    if isinstance(address, tuple):
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return repr(address) if address else ""


class BaseSocket(Hints, AsyncCloseable):
    """A socket of the runtime. Close it, or use ``async with``."""

    __slots__ = ("_io",)

    def __init__(self, descriptor: Descriptor) -> None:
        self._io = descriptor

    @classmethod
    def from_socket(cls: type[_Self], sock: socket.socket) -> _Self:
        """Take over a Python socket, which is detached: it is closed with this one. Nothing that
        other holders of it share is changed, O_NONBLOCK neither. ``ValueError`` if its kind is
        another or a ``makefile()`` is open on it, ``TypeError`` if it is no plain ``socket.socket``
        (an ``ssl.SSLSocket``: its bytes would go out unencrypted)."""
        cls._check(sock)
        return cls(adopt(sock))

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        raise NotImplementedError

    def detach(self) -> int:
        """Give the descriptor up: it is the caller's to close (``socket.socket(fileno=...)``).
        ``RuntimeError`` while operations are under way, or while it holds what the next owner
        would miss: bytes that were read ahead, connections that were accepted ahead."""
        return self._io.detach()

    @property
    def local_addr(self) -> Address:
        """The address here."""
        return decode(self._io.sockaddr(0))

    @property
    def peer_addr(self) -> Address:
        """The address at the other end; ``OSError`` ENOTCONN if there is none."""
        return decode(self._io.sockaddr(1))

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
        """getsockopt(2): a number, or at most `size` bytes (1,024 is the most)."""
        value = self._io.getsockopt(level, option, size or 4)
        return value if size else int.from_bytes(value, sys.byteorder, signed=True)

    def setsockopt(self, level: int, option: int, value: int | Buffer) -> None:
        """setsockopt(2)."""
        if isinstance(value, int):
            value = value.to_bytes(4, sys.byteorder, signed=True)
        self._io.setsockopt(level, option, bytes(value))

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


class Listener(BaseSocket):
    """What listeners have in common."""

    __slots__ = ("_nonblocking",)

    def __init__(self, descriptor: Descriptor) -> None:
        super().__init__(descriptor)
        self._nonblocking = False

    @classmethod
    def _of_our_own(cls: type[_Listener], sock: socket.socket) -> _Listener:
        """Nobody else has it: on the epoll backend it may be nonblocking, which spares a turn
        through a thread for each connection."""
        nonblocking = native.current_task() is not None and current_handle().backend() == "epoll"
        sock.setblocking(not nonblocking)
        made = cls(adopt(sock))
        made._nonblocking = nonblocking
        return made

    def detach(self) -> int:
        number = super().detach()
        if self._nonblocking:
            os.set_blocking(number, True)
        return number
