"""The event loop: scheduling, timers and readiness are native, the rest is CPython's own."""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import socket
import stat
import sys
import threading
import weakref
from asyncio import base_events, format_helpers, unix_events
from typing import Any

from .. import _threads, _watchdog
from .._asyncgens import local as shard_local
from .._ffi.core import Runtime
from ..latency import Recorder
from ..options import RuntimeBuilder
from ..stats import RuntimeStats
from ._children import forget, make_transport
from ._datagram import DatagramTransport
from ._native import LoopCore, wrapped
from ._sockets import NAMED, SocketMethods
from ._stats import LAG, LoopStats
from ._stream import SocketTransport
from ._tls import ssl_protocol_class, start_tls

_format_handle: Any = vars(base_events)["_format_handle"]


class _Selector:
    """Where CPython's class keeps its selector. It only tells which descriptors are watched:
    readiness comes from the ring."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = weakref.ref(loop)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        loop = self._loop()
        fd = _descriptor(fileobj)
        events = 0 if loop is None else loop._watched(fd)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        return selectors.SelectorKey(fileobj, fd, events, None)

    def close(self) -> None:
        pass


def _descriptor(fileobj: Any) -> int:
    if isinstance(fileobj, int):
        return fileobj
    try:
        return int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {fileobj!r}") from None


def _check_watchable(fd: int) -> None:
    """As epoll would: the ring tells it to the callback alone, again and again."""
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        raise PermissionError(errno.EPERM, "a file is always ready: it cannot be watched")


class _Transports:
    """Where CPython's class keeps the transport of each descriptor. Only its sendfile still uses
    it, to take a transport out meanwhile; the table itself is native."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = weakref.ref(loop)

    def __delitem__(self, fd: int) -> None:
        if (loop := self._loop()) is not None:
            loop._disown_descriptor(fd)

    def __setitem__(self, fd: int, transport: SocketTransport) -> None:
        transport._own_descriptor()


class _Given:
    """Makes the protocol of a socket that the caller handed in, and keeps if it cannot be made."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory

    def __call__(self) -> Any:
        return self.factory()


# What it uses of that class is not in the stubs of the standard library.
_Base: Any = unix_events._UnixSelectorEventLoop


class EventLoop(LoopCore, SocketMethods, _Base):  # type: ignore[misc]
    """An asyncio event loop. It runs on one shard, on the thread that runs it; the ring is made at
    the first run. Not thread-safe but for ``call_soon_threadsafe``, as any asyncio loop."""

    # What CPython's classes keep in the instance. Without a dictionary that is in use, the
    # interpreter finds a method in the class without a look into it.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_children",
        "_clock_resolution",
        "_closed",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_debug",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_internal_fds",
        "_last_name",
        "_objects",
        "_old_agen_hooks",
        "_ready",
        "_runtime",
        "_scheduled",
        "_selector",
        "_signal_handlers",
        "_ssock",
        "_stopping",
        "_task_factory",
        "_thread_id",
        "_timer_cancelled_count",
        "_transports",
        "_unix_server_sockets",
        "slow_callback_duration",
    )

    if sys.version_info < (3, 11):  # No call with keywords without a dictionary.

        def create_task(self, coro: Any, **options: Any) -> Any:
            return super().create_task(wrapped(coro) or coro, **options)

        create_future = base_events.BaseEventLoop.create_future

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._objects: dict[int, Any] = {}
        self._children: dict[int, int | None] = {}
        self._last_name: Any = None
        super().__init__(_Selector(self))
        self._transports = _Transports(self)

    # ---- running ----

    # Bound to CPython's own: nest_asyncio replaces these in the class of the loop that it patches,
    # and the stock loop's is a base of this one. It leaves a class with this mark alone.
    run_until_complete = base_events.BaseEventLoop.run_until_complete
    _nest_patched = True

    def _check_running(self) -> None:
        if self.is_running():
            raise RuntimeError(
                "This event loop is already running, and cannot run within itself, with "
                "nest_asyncio or without: await the coroutine, or run it in another thread"
            )
        base_events.BaseEventLoop._check_running(self)  # type: ignore[attr-defined]

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called."""
        self._check_closed()
        self._check_running()
        self._check_place()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        if self._runtime is None:
            self._runtime = _start_runtime()
            self._attach(self._runtime)
        try:
            self._thread_id: int | None = threading.get_ident()
            _threads.idents[id(self._runtime), 0] = self._thread_id
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
            )
            asyncio._set_running_loop(self)
            shard_local.runtime = self._runtime  # What spargio's functions spawn on.
            self._run()
        finally:
            shard_local.runtime = None
            _threads.idents.pop((id(self._runtime), 0), None)
            self._thread_id = None
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def close(self) -> None:
        """Close the loop. Idempotent; it must not run."""
        if self.is_closed():
            return
        super().close()
        if getattr(shard_local, "runtime", None) is None:
            self._end()
        else:  # In a spargio task: a shard's thread does not run the last turns of another.
            thread = threading.Thread(target=self._end)
            thread.start()
            thread.join()
        forget(self)

    def _end(self) -> None:
        self._close()
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            _watchdog.join(runtime)

    def stats_snapshot(self) -> LoopStats:
        """The loop's counters now, and those of its shard. Monotonic; take two and subtract. On the
        loop's thread, or while it does not run. ``RuntimeError`` if the loop is closed."""
        self._check_closed()
        shard = None
        if self._runtime is not None:
            shard = RuntimeStats.from_cbor(self._runtime.stats()).shards[0]
        lag = Recorder(LAG).read()
        return LoopStats(self._callbacks_run(), self._transport_count(), lag, shard)

    # ---- debug mode, and what went wrong ----

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(enabled)
        self._set_debug(enabled)

    def set_task_factory(self, factory: Any) -> None:
        super().set_task_factory(factory)
        self._set_task_factory(factory is not None)

    def _check_call(self, method: str, callback: object) -> None:
        if method != "call_soon_threadsafe":
            self._check_thread()
        self._check_callback(callback, method)

    def _callback_failed(self, handle: asyncio.Handle, error: BaseException) -> None:
        source = format_helpers._format_callback_source(handle._callback, handle._args)  # type: ignore[attr-defined]
        context: dict[str, Any] = {
            "message": f"Exception in callback {source}",
            "exception": error,
            "handle": handle,
        }
        if traceback := handle._source_traceback:  # type: ignore[attr-defined]
            context["source_traceback"] = traceback
        self.call_exception_handler(context)

    def _callback_ran(self, handle: asyncio.Handle, seconds: float) -> None:
        """In debug mode, after each callback."""
        if seconds >= self.slow_callback_duration:
            base_events.logger.warning(  # type: ignore[attr-defined]
                "Executing %s took %.3f seconds",
                _format_handle(handle),
                seconds,
            )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # What asyncio reports in a finalizer comes when the callback's context is still entered.
        self._leave_context()
        super().call_exception_handler(context)

    # ---- descriptors ----

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        _check_watchable(self._number(fd))
        super().add_reader(fd, callback, *args)

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        _check_watchable(self._number(fd))
        super().add_writer(fd, callback, *args)

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle:
        self._check_closed()
        return self._add_watch(self._number(fd), 0, callback, *args)

    def _remove_reader(self, fd: Any) -> bool:
        return self._unwatch(fd, 0)

    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle:
        self._check_closed()
        return self._add_watch(self._number(fd), 1, callback, *args)

    def _remove_writer(self, fd: Any) -> bool:
        return self._unwatch(fd, 1)

    def _unwatch(self, fd: Any, is_writer: int) -> bool:
        if self.is_closed():
            return False
        number = self._number(fd)
        removed = self._remove_watch(number, is_writer)
        if self._objects and not self._watched(number):
            self._objects.pop(number, None)
        return removed

    def _number(self, fileobj: Any) -> int:
        """The descriptor of `fileobj`. An object that is closed by now has none any more, but may
        have to be removed: those that are watched are remembered."""
        if isinstance(fileobj, int):
            return fileobj
        if (number := _descriptor(fileobj)) >= 0:
            self._objects[number] = fileobj
            return number
        for number, known in self._objects.items():
            if known is fileobj:
                return number
        raise ValueError(f"Invalid file descriptor: {number}")

    # ---- transports ----

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        number = _descriptor(fd)
        if self._has_transport(number):
            raise RuntimeError(f"File descriptor {fd!r} is used by transport of this loop")

    async def create_connection(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        if options.get("sock") is not None:
            protocol_factory = _Given(protocol_factory)
        return await super().create_connection(protocol_factory, *args, **options)

    async def create_unix_connection(
        self, protocol_factory: Any, *args: Any, **options: Any
    ) -> Any:
        if options.get("sock") is not None:
            protocol_factory = _Given(protocol_factory)
        return await super().create_unix_connection(protocol_factory, *args, **options)

    async def _create_connection_transport(
        self, sock: socket.socket, protocol_factory: Any, *args: Any, **options: Any
    ) -> Any:
        def make() -> Any:
            try:
                return protocol_factory()
            except BaseException:
                if not isinstance(protocol_factory, _Given):
                    sock.close()
                raise

        return await super()._create_connection_transport(sock, make, *args, **options)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> SocketTransport:
        self._ensure_fd_no_transport(sock)
        return SocketTransport(self, sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: Any,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        if sock.family not in NAMED:  # Packets, netlink: addresses of many kinds.
            return super()._make_datagram_transport(sock, protocol, address, waiter, extra)
        return DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        **limits: Any,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        given: Any = waiter
        ssl_protocol = ssl_protocol_class()(
            self, protocol, sslcontext, given, server_side, server_hostname, **limits
        )
        SocketTransport(self, rawsock, ssl_protocol, extra=extra, server=server)
        return ssl_protocol._app_transport

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        options |= {"shell": shell, "stdin": stdin, "stdout": stdout, "stderr": stderr}
        return await make_transport(self, protocol, args, bufsize=bufsize, extra=extra, **options)

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        **limits: Any,
    ) -> Any:
        return await start_tls(
            self, transport, protocol, sslcontext, server_side, server_hostname, limits
        )

    # ---- signals: CPython's class wakes itself by a pair of sockets, made when one is wanted ----

    def _make_self_pipe(self) -> None:
        self._ssock: socket.socket | None = None
        self._csock: socket.socket | None = None

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            super()._close_self_pipe()

    def _add_callback_signalsafe(self, handle: asyncio.Handle) -> None:
        self.call_soon(handle._run)

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        if self._csock is None:
            self._check_closed()
            super()._make_self_pipe()
        _with_handlers.add(self)
        super().add_signal_handler(sig, callback, *args)


_with_handlers: weakref.WeakSet[EventLoop] = weakref.WeakSet()
"""The loops that have handled signals."""


def _in_child() -> None:
    """In a forked child no loop runs that could call them: SIGTERM ends it, and tells the parent's
    loop nothing."""
    for loop in tuple(_with_handlers):
        for number in tuple(loop._signal_handlers):
            loop.remove_signal_handler(number)


os.register_at_fork(after_in_child=_in_child)

EventLoop._own_methods()


def _start_runtime() -> Runtime:
    builder = RuntimeBuilder().shards(1)
    return builder._start(driven=True)


def new_event_loop() -> EventLoop:
    """A new loop, for ``loop_factory=``. It makes no ring and no thread before its first run."""
    return EventLoop()
