"""A server: what accepts connections, and lives through what clients do."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from .._ffi.core import Future, native
from .._validate import at_least
from ..cancellation import CancellationToken
from ..errors import CancelledError, ClosedError, Overloaded
from ..groups import TaskGroup
from ..io import LimitExceeded
from ..placement import TaskPlacement
from ..time import timeout
from ._stream import Stream
from ._tcp import TcpListener
from ._unix import UnixListener

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

AnyListener = TcpListener | UnixListener
OnError = Callable[[Exception, Stream | None], object]

NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Of accept(2): there is none for one more connection just now."""

OF_THE_PEER = frozenset(
    (
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.ENOTCONN,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPIPE,
        errno.EPROTO,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
    )
)
"""What a peer or the network does to a connection; accept(2) tells of some of them too."""

_PAUSE_FIRST_S, _PAUSE_MAX_S = 0.01, 1.0
_TELL_AGAIN_S = 60.0


def is_of_the_peer(error: BaseException) -> bool:
    """Whether this is an end that connections have: a reset, an early end, a message too long."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_of_the_peer(one) for one in error.exceptions)
    if isinstance(error, (ClosedError, EOFError, TimeoutError, LimitExceeded)):
        return True
    return isinstance(error, OSError) and error.errno in OF_THE_PEER


class _Connections:
    """Counts those that are served. Any thread."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        self._waiting: list[Future[None]] = []

    def enter(self, *, anyway: bool = False) -> bool:
        with self._lock:
            if not anyway and self._most is not None and self._count >= self._most:
                return False
            self._count += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._count -= 1
            waiting, self._waiting = self._waiting, _NOBODY
        for future in waiting:
            future.set_result(None)

    async def until(self, wanted: Callable[[int], bool]) -> None:
        while True:
            # Nothing is made under the lock: a collection there might end a connection.
            future: Future[None] = native.future()
            waiting = [future]
            with self._lock:
                if wanted(self._count):
                    return
                waiting += self._waiting
                self._waiting = waiting
            try:
                await future
            except BaseException:
                with self._lock:
                    if future in self._waiting:
                        self._waiting.remove(future)
                raise

    async def room(self) -> None:
        most = self._most
        if most is not None:
            await self.until(lambda count: count < most)

    async def one_less(self, seconds: float) -> None:
        """Until one has ended, or so much time has passed."""
        with self._lock:
            now = self._count
        with suppress(TimeoutError), timeout(seconds):
            await self.until(lambda count: count < now)


_NOBODY: list[Future[None]] = []
"""Never changed."""


class _Server:
    def __init__(
        self,
        handler: Callable[[Any], Awaitable[object]],
        connections: _Connections,
        on_error: OnError | None,
        placement: TaskPlacement,
    ) -> None:
        import logging  # Now: there may be no descriptor left when it is needed.

        self._log = logging.getLogger("spargio.net")
        self._handler = handler
        self._connections = connections
        self._on_error = on_error
        self._placement = placement
        self._told = -_TELL_AGAIN_S
        self.group = TaskGroup()
        self.unbegun: set[Stream] = set()
        """Given to tasks that have not begun: cancelled then, they never do."""

    async def accept_from(self, listener: AnyListener) -> None:
        """Until it is cancelled, or the listener is closed."""
        pause = _PAUSE_FIRST_S
        while True:
            await self._connections.room()
            try:
                stream, _ = await listener.accept()
            except ClosedError:
                return
            except OSError as error:
                if error.errno in NO_RESOURCES:
                    self._short_of(error)
                    await self._connections.one_less(pause)
                    pause = min(pause * 2, _PAUSE_MAX_S)
                elif error.errno not in OF_THE_PEER:
                    raise
                continue
            pause = _PAUSE_FIRST_S
            await self._begin(stream)

    async def _begin(self, stream: Stream) -> None:
        try:
            # Another listener may have taken the last place.
            while not self._connections.enter():
                await self._connections.room()
        except CancelledError:  # It is here, so it is served.
            self._connections.enter(anyway=True)
            await self._spawn(stream)
            raise
        await self._spawn(stream)

    async def _spawn(self, stream: Stream) -> None:
        self.unbegun.add(stream)
        work = self._serve(stream)
        try:
            while True:
                try:
                    self.group.spawn(work, placement=self._placement, name=_name(self._handler))
                    return
                except Overloaded:  # The shard's queue is full, of whatever tasks.
                    await self._connections.one_less(_PAUSE_FIRST_S)
        except BaseException:
            work.close()
            self._connections.leave()
            raise

    async def _serve(self, stream: Stream) -> None:
        self.unbegun.discard(stream)
        try:
            async with stream:
                await self._handler(stream)
        except Exception as error:
            self._tell(error, stream)
        finally:
            self._connections.leave()

    def _tell(self, error: Exception, stream: Stream) -> None:
        if self._on_error is not None:
            self._on_error(error, stream)
        elif not is_of_the_peer(error):
            self._log.error(
                "%s failed for a connection, which is closed", _name(self._handler), exc_info=error
            )

    def _short_of(self, error: OSError) -> None:
        if self._on_error is not None:
            self._on_error(error, None)
            return
        if time.monotonic() - self._told < _TELL_AGAIN_S:
            return
        self._told = time.monotonic()
        self._log.warning(
            "new connections wait: accept: %s. The limit is that of open files (ulimit -n) or of "
            "memory; max_connections keeps below it",
            os.strerror(error.errno or 0),
        )


def _name(handler: object) -> str:
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


async def serve(
    listeners: AnyListener | Iterable[AnyListener],
    handler: Callable[[Any], Awaitable[object]],
    *,
    max_connections: int | None = None,
    on_error: OnError | None = None,
    stop: CancellationToken | None = None,
    drain: float | None = 10.0,
    placement: TaskPlacement = TaskPlacement.Stealable,
) -> None:
    """Serve the connections of one listener or several: for each one a task runs
    ``handler(stream)``, and closes the stream when that ends::

        async def echo(stream):
            while data := await stream.recv(65536):
                await stream.write_all(data)

        await net.serve(await net.TcpListener.bind_all("localhost", 7001), echo)

    At most `max_connections` are served at a time (None: no limit), the next ones wait in the
    backlog. They wait as well while there are no descriptors or no memory for them (EMFILE, ENFILE,
    ENOBUFS, ENOMEM), or the shard's queue is full.

    What ends a handler ends its connection alone. Without `on_error`, the ends that connections
    have (resets, time limits, :class:`IncompleteReadError`, :class:`LimitExceeded`) are silent and
    other exceptions go to the log ("spargio.net"). ``on_error(error, stream)`` is called instead,
    on any shard, for each exception, and with None for the stream if accept(2) lacks a resource;
    what it raises ends the server.

    The call takes the listeners over and ends in one of three ways; they are closed then, and no
    handler runs any more:

    - the token `stop` is cancelled, or the listeners are closed: no more is accepted, handlers have
      `drain` seconds to end (None: no limit), are then cancelled, and the call returns;
    - it is cancelled (by Ctrl-C too): handlers are cancelled at once;
    - `on_error` or a listener fails: likewise, and that is raised, in an ``ExceptionGroup``.
    """
    mine = [listeners] if isinstance(listeners, (TcpListener, UnixListener)) else list(listeners)
    _check(mine, handler)
    most = None if max_connections is None else at_least("max_connections", max_connections, 1)
    connections = _Connections(most)
    server = _Server(handler, connections, on_error, placement)
    try:
        async with server.group as group:
            await _accept_until(stop, server, mine)
            with suppress(TimeoutError), timeout(drain):
                await connections.until(lambda count: count == 0)
                return
            group.cancel()
    finally:
        for one in (*mine, *server.unbegun):
            await one.close()


async def _accept_until(
    stop: CancellationToken | None, server: _Server, listeners: list[AnyListener]
) -> None:
    accepting = TaskGroup()
    key = None
    try:
        async with accepting:
            if stop is not None:
                key = stop._on_cancel(accepting.cancel)
            for listener in listeners:
                accepting.spawn(server.accept_from(listener), name="net.serve")
    finally:
        if stop is not None:
            stop._forget(key)
    for listener in listeners:
        await listener.close()


def _check(listeners: list[AnyListener], handler: object) -> None:
    for one in listeners:
        if not isinstance(one, (TcpListener, UnixListener)):
            raise TypeError(f"a listener is {one!r}: allowed is a TcpListener or a UnixListener")
    if not listeners:
        raise ValueError("listeners is empty: allowed is one or more")
    if not callable(handler):
        raise TypeError(f"handler is {handler!r}: allowed is an async function of a stream")
