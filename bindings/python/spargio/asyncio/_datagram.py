"""The datagram transport: what is not on the way of data. The rest is native."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from ._native import DatagramCore
from ._transport import SocketOwner, name_of, schedule_start

if TYPE_CHECKING:
    from ._loop import EventLoop


class DatagramTransport(DatagramCore, SocketOwner):
    """An ``asyncio.DatagramTransport`` over a socket, which it owns."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_loop",
        "_more",
        "_peername",
        "_shared_socket",
        "_sock",
        "_sock_fd",
        "_sockname",
    )

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._loop: EventLoop | None = loop
        self._sock: socket.socket | None = sock
        self._sock_fd = sock.fileno()
        peer = name_of(sock.getpeername)
        self._keep_names(
            loop, sock, {"peername": peer} if extra is None else {"peername": peer} | extra
        )
        self._open(loop, self._sock_fd, sock.family, peer is not None, address)
        self.set_protocol(protocol)
        schedule_start(loop, self, protocol, waiter)

    def _send_by_socket(self, data: Any, address: Any) -> bool:
        """To a name, or to an address that is wrong; False if the socket takes no more now."""
        assert self._sock is not None
        try:
            self._sock.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def _connection_lost(self, error: BaseException | None) -> None:
        """Scheduled once."""
        protocol, sock = self.get_protocol(), self._sock
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self._release()
            if sock is not None:
                self._socket_for_others()
                sock.close()
            self._sock = self._loop = None


DatagramTransport._own_methods()
