"""Sockets as anyio has them, on the descriptors of the runtime. The ``socket.socket`` that anyio
shows as an attribute owns the number until the close, so that one which is forgotten says so."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar

from anyio import (
    BrokenResourceError,
    BusyResourceError,
    ClosedResourceError,
    EndOfStream,
    abc,
)
from anyio._core._sockets import convert_ipv6_sockaddr

from .._ffi import opcodes
from .._ffi.core import Descriptor, Future, native
from ..net import _resolve
from ..net._addresses import ROOM, decode, encode
from ..net._connect import connect, connect_descriptor
from ._loop import checkpoint
from ._scope import CancelScope

S = TypeVar("S")

_STREAM, _MESSAGES = 1, 2
"""As ``native.adopt`` has them."""

_MAX_DATAGRAM = 65536


class Guard:
    """One task at a time; a close waits until it has left."""

    __slots__ = ("_action", "_left", "taken")

    def __init__(self, action: str) -> None:
        self._action = action
        self._left: Future[None] | None = None
        self.taken = False

    def __enter__(self) -> None:
        if self.taken:
            raise BusyResourceError(self._action)
        self.taken = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.taken = False
        if self._left is not None:
            self._left.set_result(None)

    async def left(self) -> None:
        if self._left is None:
            self._left = native.future()
        if self.taken:
            await self._left


class Socket:
    """One that this object and the ``socket.socket`` in it own together."""

    _closed = False

    def __init__(self, sock: socket.socket, *guards: Guard) -> None:
        self._guards = guards
        kind = _STREAM if sock.type == socket.SOCK_STREAM else _MESSAGES
        self._sock = sock
        self._io: Descriptor = native.adopt(sock.fileno(), kind)

    @property
    def _raw_socket(self) -> socket.socket:
        return self._sock

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._sock.fileno() < 0:
            raise BrokenResourceError

    def _failed(self, error: OSError) -> NoReturn:
        try:
            if self._closed:
                raise ClosedResourceError from None
            raise BrokenResourceError from error
        finally:
            del error

    async def aclose(self) -> None:
        if self._closed:
            await checkpoint()
            return
        self._closed = True
        if self._sock.fileno() < 0:  # Closed by somebody else: the number is not ours any more.
            self._let_go()
        else:
            self._sock.detach()
            native.keep_back(1)
            try:
                await self._io.close()
                for guard in self._guards:  # They are told of the close, whatever comes next.
                    await guard.left()
            finally:
                native.keep_back(-1)
        await checkpoint()

    def _let_go(self) -> None:
        self._io.take_unread()
        with contextlib.suppress(RuntimeError, OSError):
            self._io.detach()

    def __del__(self) -> None:
        if not self._closed and getattr(self, "_io", None) is not None:
            self._closed = True
            self._let_go()  # The number is closed by `_sock`, which says that nobody did.


def _of(descriptor: Descriptor, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """The number of a descriptor that was just made, which loses it."""
    sock = socket.socket(family, kind, protocol, fileno=descriptor.detach())
    sock.setblocking(False)
    return sock


class SocketStream(Socket, abc.SocketStream):
    def __init__(self, sock: socket.socket) -> None:
        self._receive_guard = Guard("reading from")
        self._send_guard = Guard("writing to")
        super().__init__(sock, self._receive_guard, self._send_guard)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if max_bytes < 1:
            raise ValueError("max_bytes must be a positive integer")
        with self._receive_guard:
            native.raise_if_cancelled()
            self._check_open()
            try:
                data = await self._io.recv(max_bytes)
            except OSError as error:
                self._failed(error)
        if not data:
            raise EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        with self._send_guard:
            native.raise_if_cancelled()
            self._check_open()
            try:
                await self._io.write_all(item)
            except OSError as error:
                self._failed(error)

    async def send_eof(self) -> None:
        with self._send_guard, contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        await checkpoint()


class _Listener(Socket, abc.SocketListener):
    def __init__(self, sock: socket.socket) -> None:
        self._accept_guard = Guard("accepting connections from")
        super().__init__(sock, self._accept_guard)

    async def accept(self) -> Any:
        with self._accept_guard:
            native.raise_if_cancelled()
            self._check_open()
            try:
                descriptor = await self._io.accept()
            except OSError as error:
                self._failed(error)
        return self._made(_of(descriptor, self._sock.family, self._sock.type, self._sock.proto))

    def _made(self, sock: socket.socket) -> Any:
        raise NotImplementedError


class TCPListener(_Listener):
    def _made(self, sock: socket.socket) -> SocketStream:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SocketStream(sock)


class _Datagrams(Socket, Generic[S]):
    def __init__(self, sock: socket.socket) -> None:
        self._receive_guard = Guard("reading from")
        self._send_guard = Guard("writing to")
        super().__init__(sock, self._receive_guard, self._send_guard)

    async def _receive(self) -> tuple[bytes, Any]:
        with self._receive_guard:
            native.raise_if_cancelled()
            self._check_open()
            room, name = bytearray(_MAX_DATAGRAM), bytearray(ROOM)
            try:
                count, length, _, _ = await native.message(
                    opcodes.RECVMSG, self._io, (room,), name, None, 0
                )
            except OSError as error:
                self._failed(error)
        return bytes(memoryview(room)[:count]), decode(name[:length])

    async def _send(self, data: bytes, address: Any) -> None:
        with self._send_guard:
            native.raise_if_cancelled()
            self._check_open()
            where = None if address is None else await self._encoded(address)
            try:
                await native.message(
                    opcodes.SENDMSG, self._io, (data,), where, None, socket.MSG_NOSIGNAL
                )
            except OSError as error:
                self._failed(error)

    async def _encoded(self, address: Any) -> bytes:
        family = self._sock.family
        try:
            return encode(family, address)
        except ValueError:
            if family == socket.AF_UNIX:
                raise
        found = await getaddrinfo(address[0], address[1], family, socket.SOCK_DGRAM)
        return encode(family, found[0][4])


class UDPSocket(_Datagrams[Any], abc.UDPSocket):
    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        data, address = await self._receive()
        return data, convert_ipv6_sockaddr(address)

    async def send(self, item: tuple[bytes, tuple[str, int]]) -> None:
        await self._send(*item)


class UNIXDatagramSocket(_Datagrams[Any], abc.UNIXDatagramSocket):
    async def receive(self) -> tuple[bytes, str]:
        data, address = await self._receive()
        return data, address

    async def send(self, item: tuple[bytes, str]) -> None:
        await self._send(*item)


class _Connected(_Datagrams[Any]):
    async def receive(self) -> bytes:
        return (await self._receive())[0]

    async def send(self, item: bytes) -> None:
        await self._send(item, None)


class ConnectedUDPSocket(_Connected, abc.ConnectedUDPSocket):
    pass


class ConnectedUNIXDatagramSocket(_Connected, abc.ConnectedUNIXDatagramSocket):
    pass


# ---- making them ----


async def connect_tcp(host: str, port: int, local_address: tuple[str, int] | None) -> SocketStream:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    descriptor = await connect_descriptor(family, socket.SOCK_STREAM, (host, port), local_address)
    sock = _of(descriptor, family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return SocketStream(sock)


async def create_udp_socket(
    family: int, local_address: Any, remote_address: Any, reuse_port: bool
) -> UDPSocket | ConnectedUDPSocket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if local_address:
            sock.bind(local_address)
        if not remote_address:
            await checkpoint()
            return UDPSocket(sock)
        made = ConnectedUDPSocket(sock)
        await connect(made._io, encode(family, remote_address))
    except BaseException:
        sock.close()
        raise
    return made


async def create_unix_datagram_socket(
    sock: socket.socket, remote_path: str | bytes | None
) -> UNIXDatagramSocket | ConnectedUNIXDatagramSocket:
    try:
        await checkpoint()
        if not remote_path:
            return UNIXDatagramSocket(sock)
        made = ConnectedUNIXDatagramSocket(sock)
        await connect(made._io, encode(socket.AF_UNIX, remote_path))
    except BaseException:
        sock.close()
        raise
    return made


# ---- names ----


async def getaddrinfo(
    host: bytes | str | None,
    port: str | int | None,
    family: int = 0,
    kind: int = 0,
    protocol: int = 0,
    flags: int = 0,
) -> Any:
    """On a thread of the resolver's pool."""
    names = _resolve._localhost if host in _LOCAL else _resolve._names
    return await names.call(socket.getaddrinfo, host, port, family, kind, protocol, flags)


_LOCAL = frozenset((None, "localhost", b"localhost", "127.0.0.1", b"127.0.0.1", "::1", b"::1"))


async def getnameinfo(address: Any, flags: int) -> tuple[str, str]:
    found: tuple[str, str] = await _resolve._names.call(socket.getnameinfo, address, flags)
    return found


# ---- readiness ----


async def wait_ready(waiting: dict[int, CancelScope], obj: Any, events: int, what: str) -> None:
    """Until a descriptor of the caller's is ready. ``IORING_OP_POLL_ADD``."""
    number = obj if isinstance(obj, int) else obj.fileno()
    if number in waiting:
        raise BusyResourceError(what)
    with CancelScope() as scope:
        waiting[number] = scope
        try:
            await native.submit(opcodes.POLL_ADD, number, 0, 0, 0, events, 0, None, opcodes.NUMBER)
        finally:
            del waiting[number]
    if scope.cancelled_caught:
        raise ClosedResourceError
