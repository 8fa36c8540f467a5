"""Datagrams: UDP and Unix."""

from __future__ import annotations

import socket
from typing import Any, Generic, TypeVar

from .._ffi import opcodes
from .._ffi.core import native
from .._ffi.types import Buffer, Coro
from .._validate import within
from ._addresses import ROOM, InetAddress, UnixAddress, decode, encode, unix_name
from ._connect import connect
from ._resolve import resolve
from ._socket import BaseSocket, adopt, check_kind, fresh, fresh_pair

A = TypeVar("A")
Found = TypeVar("Found")
_Self = TypeVar("_Self", bound="Datagrams[Any, Any]")

MAX_DATAGRAM = 65_535


class Datagrams(BaseSocket, Generic[A, Found]):
    """A datagram socket: each send is one datagram, each receive takes one; what does not fit into
    the room for it is cut off. Any number of tasks may send and receive at a time."""

    __slots__ = ("_family",)

    _family: int

    def send(self, data: Buffer) -> Coro[int]:
        """One datagram, which may be empty, to the connected peer; returns its number of bytes.
        ``OSError`` EDESTADDRREQ if the socket is not connected, EMSGSIZE if it is too long.
        ``IORING_OP_SEND``, Linux 5.6."""
        return self._io.send(data)

    def recv(self, max_bytes: int = MAX_DATAGRAM) -> Coro[bytes]:
        """One datagram, which may be empty. ``IORING_OP_RECVMSG``, Linux 5.3."""
        return self._receive(max_bytes)

    async def _receive(self, max_bytes: int) -> bytes:
        return (await self.recv_from(max_bytes))[0]

    async def send_to(self, data: Buffer, address: A) -> int:
        """One datagram to a numeric address. ``IORING_OP_SENDMSG``, Linux 5.3."""
        where = encode(self._family, address)
        flags = socket.MSG_NOSIGNAL
        sent = await native.message(opcodes.SENDMSG, self._io, (data,), where, None, flags)
        return sent[0]

    async def recv_from(self, max_bytes: int = MAX_DATAGRAM) -> tuple[bytes, Found]:
        """One datagram and its sender's address (None if the sender has none)."""
        max_bytes = within("max_bytes", max_bytes, 0, 1 << 30)
        room, name = bytearray(max_bytes), bytearray(ROOM)
        count, length, _, _ = await native.message(
            opcodes.RECVMSG, self._io, (room,), name, None, 0
        )
        return bytes(memoryview(room)[:count]), decode(name[:length])

    async def _connect(self, address: object) -> None:
        await connect(self._io, encode(self._family, address))


class UdpSocket(Datagrams[InetAddress, InetAddress]):
    """A UDP socket."""

    __slots__ = ()

    @classmethod
    async def bind(
        cls, host: str = "0.0.0.0", port: int = 0, *, reuse_port: bool = False
    ) -> UdpSocket:
        """Bound to a name's first address or a numeric one; port 0 takes a free one."""
        family, address = (await resolve(host, port, socket.SOCK_DGRAM))[0]
        sock = fresh(family, socket.SOCK_DGRAM)
        try:
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
        except OSError as error:
            sock.close()
            error.filename = f"{host}:{port}"
            raise
        return cls.from_socket(sock)

    @classmethod
    def from_socket(cls, sock: socket.socket) -> UdpSocket:
        """Take over a Python UDP socket, which is detached."""
        cls._check(sock)
        family = sock.family
        made = cls(adopt(sock))
        made._family = family
        return made

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, (socket.AF_INET, socket.AF_INET6), socket.SOCK_DGRAM, "a UDP socket")

    async def connect(self, host: str, port: int) -> None:
        """Send to this peer and receive from it alone. Resolves names; the first address of the
        socket's family is taken."""
        for family, address in await resolve(host, port, socket.SOCK_DGRAM):
            if family == self._family:
                return await self._connect(address)
        name = "IPv4" if self._family == socket.AF_INET else "IPv6"
        raise OSError(97, f"no address of {host!r} has the family of this socket, {name}")

    def set_broadcast(self, enabled: bool) -> None:
        """SO_BROADCAST."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, int(enabled))


class UnixDatagram(Datagrams[UnixAddress, "str | bytes | None"]):
    """A datagram socket of the Unix family. A path that it is bound to stays when it is closed."""

    __slots__ = ()

    @classmethod
    async def bind(cls, path: UnixAddress) -> UnixDatagram:
        """Bound to a path, or an abstract name (bytes that begin with a NUL)."""
        encode(socket.AF_UNIX, path)
        sock = fresh(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(unix_name(path))
        except OSError as error:
            sock.close()
            error.filename = unix_name(path)
            raise
        return cls.from_socket(sock)

    @classmethod
    async def unbound(cls) -> UnixDatagram:
        """Without a name: it can send, and be answered by nobody."""
        return cls.from_socket(fresh(socket.AF_UNIX, socket.SOCK_DGRAM))

    @classmethod
    def pair(cls) -> tuple[UnixDatagram, UnixDatagram]:
        """Two that are connected to each other."""
        one, other = fresh_pair(socket.SOCK_DGRAM)
        return cls.from_socket(one), cls.from_socket(other)

    @classmethod
    def from_socket(cls, sock: socket.socket) -> UnixDatagram:
        """Take over a Python socket, which is detached."""
        cls._check(sock)
        made = cls(adopt(sock))
        made._family = socket.AF_UNIX
        return made

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, (socket.AF_UNIX,), socket.SOCK_DGRAM, "a Unix datagram socket")

    async def connect(self, path: UnixAddress) -> None:
        """Send to this peer and receive from it alone."""
        await self._connect(path)
