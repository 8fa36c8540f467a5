"""The stream transport: what is not on the way of data. The rest is native."""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from asyncio import base_events, constants
from typing import TYPE_CHECKING, Any

from ._native import StreamCore
from ._streams import adopt
from ._transport import SocketOwner, schedule_start

if TYPE_CHECKING:
    from ._loop import EventLoop


class SocketTransport(StreamCore, SocketOwner):
    """An ``asyncio.Transport`` over a connected socket, which it owns."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_empty_waiter",
        "_loop",
        "_more",
        "_peername",
        "_server",
        "_shared_socket",
        "_sock",
        "_sock_fd",
        "_sockname",
    )
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        protocol: Any,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        self._loop: EventLoop | None = loop
        self._sock: socket.socket | None = sock
        self._sock_fd = sock.fileno()
        self._server: Any = None
        self._empty_waiter: asyncio.Future[None] | None = None
        self._keep_names(loop, sock, extra)
        self._open(loop, self._sock_fd)
        self.set_protocol(protocol)
        adopt(self, protocol)
        if server is not None:
            _attach(server, self)
            self._server = server  # Not before: what was not attached is not detached.
        base_events._set_nodelay(sock)  # type: ignore[attr-defined]
        schedule_start(loop, self, protocol, waiter)

    def can_write_eof(self) -> bool:
        return True

    # ---- the end ----

    def _connection_lost(self, error: BaseException | None) -> None:
        """Scheduled once."""
        protocol, sock, server = self.get_protocol(), self._sock, self._server
        try:
            if protocol is not None:
                protocol.connection_lost(error)
        finally:
            self._release()
            if sock is not None:
                self._socket_for_others()
                sock.close()
            self._sock = self._server = None
            if server is not None:
                _detach(server, self)
            if (waiter := self._empty_waiter) is not None and not waiter.done():
                waiter.set_exception(ConnectionError("Connection is closed by peer"))
            self._loop = None

    def _fatal(self, error: BaseException, message: str) -> None:
        """The connection is about to be closed because of `error`."""
        assert self._loop is not None
        if (waiter := self._empty_waiter) is not None and not waiter.done():
            waiter.set_exception(error)
        super()._fatal(error, message)

    # ---- sendfile: the loop waits until all was sent, and nothing may be written meanwhile ----

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        assert self._loop is not None
        self._empty_waiter = self._loop.create_future()
        self._watch_empty(True)
        if self.get_write_buffer_size() == 0:
            self._empty_waiter.set_result(None)
        return self._empty_waiter

    def _emptied(self) -> None:
        if (waiter := self._empty_waiter) is not None and not waiter.done():
            waiter.set_result(None)

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None
        self._watch_empty(False)

    def _details(self) -> str:
        reading = "reading" if self.is_reading() else "not reading"
        return f"{reading} {super()._details()}"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        is_open = getattr(self, "_sock", None) is not None
        super().__del__(_warn)
        if is_open and self._server is not None:
            _detach(self._server, self)


SocketTransport._own_methods()


# A server of 3.12 counts its transports, one of 3.13 keeps them.
def _attach(server: Any, transport: object) -> None:
    server._attach(*((transport,) if sys.version_info >= (3, 13) else ()))


def _detach(server: Any, transport: object) -> None:
    server._detach(*((transport,) if sys.version_info >= (3, 13) else ()))
