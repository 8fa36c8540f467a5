"""The class that anyio calls."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from signal import Signals
from typing import IO, Any, TypeVar

from anyio import TaskInfo, abc
from anyio.abc import AsyncBackend
from anyio.abc import TestRunner as BaseTestRunner
from anyio.abc._tasks import get_callable_name

from .. import time as _time
from .._ffi.core import native
from ..errors import CancelledError
from ..options import RuntimeBuilder
from ..runtime import RuntimeHandle, _drive
from . import _calls, _process, _sockets, _sync, _threads, _unix
from ._group import TaskGroup
from ._loop import Loop, checkpoint, current_loop, ns, shielded_checkpoint
from ._scope import CancelScope, effective_deadline
from ._signals import SignalReceiver
from ._testing import TestRunner, current_info, running_tasks

T = TypeVar("T")

_POLLIN, _POLLOUT = 1, 4


class _Main:
    """What `_drive` runs."""

    def __init__(self, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        self.name = get_callable_name(function)
        self._function = function
        self._arguments = arguments

    def call(self, handle: RuntimeHandle) -> Awaitable[Any]:
        return self._function(*self._arguments)


class SpargioBackend(AsyncBackend):
    """Tasks, sockets, processes and files of spargio under anyio's interface."""

    @staticmethod
    def run(
        func: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ) -> T:
        """`options` are those of :func:`spargio.run`; ``shards`` is 1 unless it says otherwise."""
        builder = RuntimeBuilder().apply(**{"shards": 1, **options})
        result: T = _drive(builder, _Main(func, args))  # type: ignore[arg-type]
        return result

    @staticmethod
    def current_token() -> Loop:
        return current_loop()

    @staticmethod
    def current_time() -> float:
        return _time.monotonic()

    @staticmethod
    def cancelled_exception_class() -> type[BaseException]:
        return CancelledError

    # ---- checkpoints and time ----

    @staticmethod
    async def checkpoint() -> None:
        await checkpoint()

    @staticmethod
    async def checkpoint_if_cancelled() -> None:
        native.raise_if_cancelled()

    @staticmethod
    async def cancel_shielded_checkpoint() -> None:
        await shielded_checkpoint()

    @staticmethod
    async def sleep(delay: float) -> None:
        if delay <= 0:
            await checkpoint()
        else:
            await _time._sleep(ns(delay))

    @staticmethod
    def create_cancel_scope(*, deadline: float = math.inf, shield: bool = False) -> CancelScope:
        return CancelScope(deadline=deadline, shield=shield)

    @staticmethod
    def current_effective_deadline() -> float:
        return effective_deadline()

    @staticmethod
    def create_task_group() -> TaskGroup:
        return TaskGroup()

    # ---- synchronization ----

    @staticmethod
    def create_event() -> _sync.Event:
        return _sync.Event()

    @staticmethod
    def create_lock(*, fast_acquire: bool) -> _sync.Lock:
        return _sync.Lock(fast_acquire=fast_acquire)

    @staticmethod
    def create_semaphore(
        initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False
    ) -> _sync.Semaphore:
        return _sync.Semaphore(initial_value, max_value=max_value, fast_acquire=fast_acquire)

    @staticmethod
    def create_capacity_limiter(total_tokens: float) -> _sync.CapacityLimiter:
        return _sync.CapacityLimiter(total_tokens)

    # ---- threads ----

    @staticmethod
    async def run_sync_in_worker_thread(
        func: Callable[..., T],
        args: tuple[Any, ...],
        abandon_on_cancel: bool = False,
        limiter: Any = None,
    ) -> T:
        if limiter is None and (work := _calls.instead(func, args)) is not None:
            result: T = await work
            return result
        return await _threads.run_sync(SpargioBackend, func, args, abandon_on_cancel, limiter)

    @staticmethod
    def current_default_thread_limiter() -> _sync.CapacityLimiter:
        return _threads.default_limiter()

    @staticmethod
    def check_cancelled() -> None:
        _threads.check_cancelled()

    @staticmethod
    def run_async_from_thread(
        func: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], token: object
    ) -> T:
        return _threads.run_async_from_thread(func, args, token)

    @staticmethod
    def run_sync_from_thread(func: Callable[..., T], args: tuple[Any, ...], token: object) -> T:
        return _threads.run_sync_from_thread(func, args, token)

    @staticmethod
    def run_sync_soon(func: Callable[..., object], args: tuple[Any, ...], token: object) -> None:
        _threads._loop_of(token).call_soon(func, *args)

    # ---- processes and signals ----

    @staticmethod
    async def open_process(
        command: Any,
        *,
        stdin: int | IO[Any] | None,
        stdout: int | IO[Any] | None,
        stderr: int | IO[Any] | None,
        **kwargs: Any,
    ) -> _process.Process:
        return await _process.open_process(command, stdin, stdout, stderr, kwargs)

    @staticmethod
    def setup_process_pool_exit_at_shutdown(workers: set[abc.Process]) -> None:
        current_loop().spawn(_process.kill_at_the_end(workers), "AnyIO process pool shutdown task")

    @staticmethod
    def open_signal_receiver(*signals: Signals) -> AbstractContextManager[AsyncIterator[Signals]]:
        return SignalReceiver(signals)

    # ---- sockets ----

    @staticmethod
    async def connect_tcp(host: str, port: int, local_address: Any = None) -> _sockets.SocketStream:
        return await _sockets.connect_tcp(host, port, local_address)

    @staticmethod
    async def connect_unix(path: str | bytes, kind: Any) -> _unix.UNIXSocketStream:
        return await _unix.connect_unix(path, kind)

    @staticmethod
    def create_tcp_listener(sock: socket.socket) -> _sockets.TCPListener:
        return _sockets.TCPListener(sock)

    @staticmethod
    def create_unix_listener(sock: socket.socket) -> _unix.UNIXListener:
        return _unix.UNIXListener(sock)

    @staticmethod
    async def create_udp_socket(
        family: Any, local_address: Any, remote_address: Any, reuse_port: bool
    ) -> Any:
        return await _sockets.create_udp_socket(family, local_address, remote_address, reuse_port)

    @staticmethod
    async def create_unix_datagram_socket(
        raw_socket: socket.socket, remote_path: str | bytes | None
    ) -> Any:
        return await _sockets.create_unix_datagram_socket(raw_socket, remote_path)

    @staticmethod
    async def getaddrinfo(
        host: bytes | str | None,
        port: str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        return await _sockets.getaddrinfo(host, port, family, type, proto, flags)

    @staticmethod
    async def getnameinfo(sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return await _sockets.getnameinfo(sockaddr, flags)

    @staticmethod
    async def wait_readable(obj: Any) -> None:
        await _sockets.wait_ready(current_loop().reads, obj, _POLLIN, "reading from")

    @staticmethod
    async def wait_writable(obj: Any) -> None:
        await _sockets.wait_ready(current_loop().writes, obj, _POLLOUT, "writing to")

    @staticmethod
    def notify_closing(obj: Any) -> None:
        number = obj if isinstance(obj, int) else obj.fileno()
        loop = current_loop()
        for waiting in (loop.reads, loop.writes):
            if number in waiting:
                waiting[number].cancel()

    @staticmethod
    async def wrap_listener_socket(sock: socket.socket) -> abc.SocketListener:
        if sock.family == socket.AF_UNIX:
            return _unix.UNIXListener(sock)
        return _sockets.TCPListener(sock)

    @staticmethod
    async def wrap_stream_socket(sock: socket.socket) -> _sockets.SocketStream:
        return _sockets.SocketStream(sock)

    @staticmethod
    async def wrap_unix_stream_socket(sock: socket.socket) -> _unix.UNIXSocketStream:
        return _unix.UNIXSocketStream(sock)

    @staticmethod
    async def wrap_udp_socket(sock: socket.socket) -> _sockets.UDPSocket:
        return _sockets.UDPSocket(sock)

    @staticmethod
    async def wrap_connected_udp_socket(sock: socket.socket) -> _sockets.ConnectedUDPSocket:
        return _sockets.ConnectedUDPSocket(sock)

    @staticmethod
    async def wrap_unix_datagram_socket(sock: socket.socket) -> _sockets.UNIXDatagramSocket:
        return _sockets.UNIXDatagramSocket(sock)

    @staticmethod
    async def wrap_connected_unix_datagram_socket(
        sock: socket.socket,
    ) -> _sockets.ConnectedUNIXDatagramSocket:
        return _sockets.ConnectedUNIXDatagramSocket(sock)

    # ---- introspection ----

    @staticmethod
    def get_current_task() -> TaskInfo:
        return current_info()

    @staticmethod
    def get_running_tasks() -> Sequence[TaskInfo]:
        return running_tasks()

    @staticmethod
    async def wait_all_tasks_blocked() -> None:
        await native.quiet()

    @staticmethod
    def create_test_runner(options: dict[str, Any]) -> BaseTestRunner:
        return TestRunner(**options)


def _bare(backend: type) -> None:
    """anyio asks the class itself, never an instance, and there a plain function does as well as a
    static method. Without a GIL nobody counts the references to it; those to a ``staticmethod`` or
    a ``classmethod`` are counted by all shards in one place (CPython 3.13)."""
    for name, method in list(vars(backend).items()):
        if isinstance(method, staticmethod):
            setattr(backend, name, method.__func__)


_bare(SpargioBackend)


backend_class = SpargioBackend
"""The name under which anyio and others look for it in a backend's module."""
