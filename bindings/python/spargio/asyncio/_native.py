"""The native types of the loop. They are made here, once: ``import spargio`` knows no asyncio."""

from __future__ import annotations

import asyncio
import sys
from asyncio import format_helpers
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from .._ffi.core import native


def _extract_stack() -> list[Any]:
    """Where a handle was made, for debug mode; asyncio's own frames end it as there."""
    return format_helpers.extract_stack(sys._getframe(1))


def _handle_repr(handle: Any) -> str:
    return f"<{' '.join(asyncio.Handle._repr_info(handle))}>"  # type: ignore[attr-defined]


def _timer_repr(handle: Any) -> str:
    return f"<{' '.join(asyncio.TimerHandle._repr_info(handle))}>"  # type: ignore[attr-defined]


class StreamTransport(asyncio.transports._FlowControlMixin, asyncio.Transport):
    """The ``__class__`` of our stream transports: what libraries ask by ``isinstance``."""

    __slots__ = ()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def wrapped(given: object) -> Coroutine[Any, Any, Any] | None:
    """A coroutine around one of spargio's own awaitables. That looks like a coroutine itself, and a
    Task would drive it past the await that makes a waiter of it."""
    return _awaited(given) if type(given).__module__ == "spargio._core" else None


class DatagramTransport(asyncio.transports._FlowControlMixin, asyncio.DatagramTransport):
    """The same of our datagram transports."""

    __slots__ = ()


_types = native.loop_types(
    {
        "Handle": asyncio.Handle,
        "TimerHandle": asyncio.TimerHandle,
        "handle_repr": _handle_repr,
        "timer_repr": _timer_repr,
        "CancelledError": asyncio.CancelledError,
        "Transport": StreamTransport,
        "DatagramTransport": DatagramTransport,
        "BufferedProtocol": asyncio.BufferedProtocol,
        "Task": asyncio.Task,
        "Future": asyncio.Future,
        "wrapped": wrapped,
        "create_task": asyncio.BaseEventLoop.create_task,
        "extract_stack": _extract_stack,
    }
)

if TYPE_CHECKING:

    class LoopCore:
        def _attach(self, runtime: object) -> None: ...
        def _run(self) -> None: ...
        def _close(self) -> None: ...
        def _check_place(self) -> None: ...
        def _leave_context(self) -> None: ...
        def _learn(self, *args: Any, context: object) -> None: ...
        def _set_debug(self, enabled: object) -> None: ...
        def _set_task_factory(self, is_set: bool) -> None: ...
        def _add_watch(
            self, fd: int, is_writer: int, callback: Any, *args: Any
        ) -> asyncio.Handle: ...
        def _remove_watch(self, fd: int, is_writer: int) -> bool: ...
        def _watched(self, fd: int) -> int: ...
        def _callbacks_run(self) -> int: ...
        @classmethod
        def _own_methods(cls) -> None: ...

    class StreamCore:
        _conn_lost: int

        def _open(self, loop: object, fd: int) -> None: ...
        def _release(self) -> None: ...
        def _start_reading(self) -> None: ...
        def _set_limits(self, high: int, low: int) -> None: ...
        def _limits(self) -> tuple[int, int]: ...
        def _feed(self, reference: object, buffer: bytearray, limit: int) -> None: ...
        def _reader_changed(self) -> None: ...
        def _is_read(self) -> bool: ...
        @staticmethod
        def _stream_methods(reader: type, protocol: type) -> None: ...
        def _watch_empty(self, enabled: bool) -> None: ...
        def set_protocol(self, protocol: Any) -> None: ...
        def get_protocol(self) -> Any: ...
        def write(self, data: Any) -> None: ...
        def close(self) -> None: ...
        def abort(self) -> None: ...
        def is_closing(self) -> bool: ...
        def is_reading(self) -> bool: ...
        def get_write_buffer_size(self) -> int: ...
        @classmethod
        def _own_methods(cls) -> None: ...

    class DatagramCore:
        def _open(
            self, loop: object, fd: int, family: int, connected: bool, address: object
        ) -> None: ...
        def _release(self) -> None: ...
        def _start_reading(self) -> None: ...
        def _set_limits(self, high: int, low: int) -> None: ...
        def _limits(self) -> tuple[int, int]: ...
        def set_protocol(self, protocol: Any) -> None: ...
        def get_protocol(self) -> Any: ...
        def sendto(self, data: Any, addr: Any = None) -> None: ...
        def close(self) -> None: ...
        def abort(self) -> None: ...
        def is_closing(self) -> bool: ...
        def get_write_buffer_size(self) -> int: ...
        @classmethod
        def _own_methods(cls) -> None: ...

else:
    LoopCore = _types["LoopCore"]
    StreamCore = _types["StreamCore"]
    DatagramCore = _types["DatagramCore"]


def _learn_private_keywords() -> None:
    """C Futures and Tasks call ``call_soon`` with one tuple of keywords of their own, and drop what
    it returns. The loop that knows the tuple makes no handle for them. If a Python is without it,
    each call takes the ordinary way."""

    class Probe(LoopCore):
        call_soon = LoopCore._learn

        def get_debug(self) -> bool:
            return False

    future: asyncio.Future[None] = asyncio.Future(loop=Probe())  # type: ignore[arg-type]
    future.add_done_callback(lambda _: None)
    future.set_result(None)


_learn_private_keywords()
