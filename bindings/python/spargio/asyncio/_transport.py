"""What the transports over a socket share: what is not on the way of data."""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from asyncio import trsock
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._loop import EventLoop

_log = logging.getLogger("asyncio")
_NAMES: Final = frozenset({"peername", "sockname", "socket"})


def whole_bytes(limit: float) -> int:
    """asyncio only compares a limit with lengths: 1e6, inf and numbers of any size are limits."""
    return int(min(1 << 60, limit))  # No buffer grows so far.


class SocketOwner:
    """A transport that owns a socket. The other base is a native one."""

    __slots__ = ()

    _loop: EventLoop | None
    _more: Any  # A dictionary, or None.
    _peername: Any
    _shared_socket: Any
    _sock: socket.socket | None
    _sock_fd: int
    _sockname: Any
    _limits: Callable[[], tuple[int, int]]
    _set_limits: Callable[[int, int], None]
    get_protocol: Callable[[], Any]
    get_write_buffer_size: Callable[[], int]
    is_closing: Callable[[], bool]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return self._peername
        if name == "sockname":
            return self._sockname
        if name == "socket":
            return self._socket_for_others()
        return default if self._more is None else self._more.get(name, default)

    @property
    def _extra(self) -> dict[str, Any]:
        """What asyncio's own transports keep in a dictionary. Here a connection that waits is to
        take little memory."""
        own = {name: self.get_extra_info(name) for name in ("socket", "sockname", "peername")}
        return own if self._more is None else self._more | own

    def _keep_names(
        self, loop: EventLoop, sock: socket.socket, extra: dict[str, Any] | None
    ) -> None:
        given = {} if extra is None else extra
        self._peername = given["peername"] if "peername" in given else name_of(sock.getpeername)
        name = name_of(sock.getsockname)
        if name == loop._last_name:  # Most connections of a server have the same one.
            name = loop._last_name
        else:
            loop._last_name = name
        self._sockname = name
        more = {key: value for key, value in given.items() if key not in _NAMES}
        self._more = more or None
        self._shared_socket = None

    def _socket_for_others(self) -> Any:
        """Made when it is asked for, and before the socket is closed: it may be asked for later."""
        if self._shared_socket is None and self._sock is not None:
            self._shared_socket = trsock.TransportSocket(self._sock)
        return self._shared_socket

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Marks in bytes: the protocol is paused above `high`, and resumed at `low`."""
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._set_limits(whole_bytes(high), whole_bytes(low))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._limits()

    # ---- what the native half calls ----

    def _fatal(self, error: BaseException, message: str) -> None:
        """The transport is about to be closed because of `error`."""
        assert self._loop is not None
        if isinstance(error, OSError):
            if self._loop.get_debug():
                _log.debug("%r: %s", self, message, exc_info=error)
            return
        self._report(error, message)

    def _flow_failed(self, error: BaseException, message: str) -> None:
        self._report(error, message)

    def _report(self, error: BaseException, message: str) -> None:
        assert self._loop is not None
        self._loop.call_exception_handler(
            {
                "message": message,
                "exception": error,
                "transport": self,
                "protocol": self.get_protocol(),
            }
        )

    def _write_lost(self) -> None:
        _log.warning("socket.send() raised exception.")

    # ---- for people ----

    def _details(self) -> str:
        return f"write_buffer={self.get_write_buffer_size()}"

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self.is_closing() else "open"
        return f"<{type(self).__name__} {state} fd={self._sock_fd} {self._details()}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        sock: socket.socket | None = getattr(self, "_sock", None)
        if sock is None:
            return
        _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
        sock.close()


def name_of(function: Callable[[], Any]) -> Any:
    """An address that a socket has, or None."""
    try:
        return function()
    except OSError:
        return None


def schedule_start(
    loop: EventLoop, transport: Any, protocol: Any, waiter: asyncio.Future[None] | None
) -> None:
    """connection_made() first, then data, then the one that waits for the transport."""
    loop.call_soon(protocol.connection_made, transport)
    loop.call_soon(transport._start_reading)
    if waiter is not None:
        loop.call_soon(asyncio.futures._set_result_unless_cancelled, waiter, None)  # type: ignore[attr-defined]
