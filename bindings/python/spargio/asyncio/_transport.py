"""What the transports over a socket share: what is not on the way of data."""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import EventLoop

_log = logging.getLogger("asyncio")


class SocketOwner:
    """A transport that owns a socket. The other base is a native one."""

    __slots__ = ()

    _extra: dict[str, Any]
    _loop: EventLoop | None
    _sock: socket.socket | None
    _sock_fd: int
    _limits: Callable[[], tuple[int, int]]
    _set_limits: Callable[[int, int], None]
    get_protocol: Callable[[], Any]
    get_write_buffer_size: Callable[[], int]
    is_closing: Callable[[], bool]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Marks in bytes: the protocol is paused above `high`, and resumed at `low`."""
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._set_limits(high, low)

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
