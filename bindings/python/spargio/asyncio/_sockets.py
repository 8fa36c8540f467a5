"""``sock_recv`` and its kin. Each tries its transfer, and if it would block waits on the ring until
the socket is ready. It makes the transfer when it runs again: cancelled, it has moved nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from asyncio import base_events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

NAMED: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
"""Families whose addresses the native half knows."""


class SocketMethods:
    """The part of the loop that works on sockets of the caller's."""

    __slots__ = ()

    if TYPE_CHECKING:
        _debug: bool
        _has_transport: Callable[[int], bool]
        _ensure_fd_no_transport: Callable[[Any], None]
        _ensure_resolved: Callable[..., Any]
        _recv_now: Callable[[int, int], bytes | None]
        _recv_into_now: Callable[[int, Any], int | None]
        _recvfrom_now: Callable[[int, int], tuple[bytes, Any] | None]
        _recvfrom_into_now: Callable[[int, Any, int], tuple[int, Any] | None]
        _send_now: Callable[[int, Any, int], int | None]
        _wait_ready: Callable[[int, int], asyncio.Future[None]]
        _give_up: Callable[[asyncio.Future[None]], None]

    def _check_socket(self, sock: Any) -> None:
        if type(sock) is not socket.socket:
            base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    def _descriptor_of(self, sock: Any) -> int:
        """After asyncio's checks. Asked for after each wait: the socket may be closed by then, and
        its number another one's."""
        self._check_socket(sock)
        fd: int = sock.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._has_transport(fd):
            self._ensure_fd_no_transport(fd)
        return fd

    async def _until_ready(self, fd: int, is_writer: int) -> None:
        future = self._wait_ready(fd, is_writer)
        try:
            await future
        except BaseException:
            self._give_up(future)
            raise

    async def sock_recv(self, sock: Any, n: int) -> bytes:
        """Up to `n` bytes; ``b""`` at the end."""
        while True:
            fd = self._descriptor_of(sock)
            if (data := self._recv_now(fd, n)) is not None:
                return data
            future = self._wait_ready(fd, 0)
            try:
                await future
            except BaseException:
                self._give_up(future)
                raise

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        """Receives into `buf`, and returns how many bytes came."""
        while (count := self._recv_into_now(fd := self._descriptor_of(sock), buf)) is None:
            await self._until_ready(fd, 0)
        return count

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> tuple[bytes, Any]:
        """A datagram, cut at `bufsize` bytes, and where it came from."""
        if sock.family not in NAMED:
            return await self._when(0, sock, lambda: sock.recvfrom(bufsize))  # type: ignore[no-any-return]
        while (found := self._recvfrom_now(fd := self._descriptor_of(sock), bufsize)) is None:
            await self._until_ready(fd, 0)
        return found

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """A datagram into `buf`: how many bytes came, and where from. `nbytes` is the most that
        may come; 0 means all that `buf` has room for."""
        if sock.family not in NAMED:
            return await self._when(0, sock, lambda: sock.recvfrom_into(buf, nbytes))  # type: ignore[no-any-return]
        while (
            found := self._recvfrom_into_now(fd := self._descriptor_of(sock), buf, nbytes)
        ) is None:
            await self._until_ready(fd, 0)
        return found

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        """Sends all of `data`. Cancelled or failed, it may have sent a part."""
        offset = 0
        while (left := self._send_now(fd := self._descriptor_of(sock), data, offset)) is not None:
            await self._until_ready(fd, 1)
            offset = left

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        """Sends one datagram to `address`, and returns its size."""
        return await self._when(1, sock, lambda: sock.sendto(data, address))  # type: ignore[no-any-return]

    async def sock_accept(self, sock: Any) -> tuple[socket.socket, Any]:
        """The next connection, as a socket that does not block, and where it comes from."""
        connection, address = await self._when(0, sock, sock.accept)
        connection.setblocking(False)
        return connection, address

    async def _when(self, is_writer: int, sock: Any, call: Callable[[], Any]) -> Any:
        """What `call` returns: now, or when the socket is ready."""
        while True:
            fd = self._descriptor_of(sock)
            try:
                return call()
            except (BlockingIOError, InterruptedError):
                pass
            await self._until_ready(fd, is_writer)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connects to `address`, whose name is looked up on a thread of the executor."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            pass
        else:
            return
        await self._until_ready(self._descriptor_of(sock), 1)
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, f"Connect call failed {address}")
