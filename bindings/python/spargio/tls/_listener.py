"""The server's side: a listener whose connections are TLS, and a server of them."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from .. import net
from .._resource import AsyncCloseable
from .._validate import wrong
from ..cancellation import CancellationToken
from ..net import Stream, TcpListener, UnixListener
from ..placement import TaskPlacement
from ._connect import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, check_context, check_limits
from ._stream import TlsStream

_Self = TypeVar("_Self", bound="TlsListener")

AnyListener = TcpListener | UnixListener
OnError = Callable[[Exception, Any], object]


class TlsListener(AsyncCloseable):
    """A listener whose connections are TLS streams. It takes `listener` over. Close it, or use
    ``async with``. The parameters are those of :func:`wrap`."""

    def __init__(
        self,
        listener: AnyListener,
        context: ssl.SSLContext,
        *,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
        standard_compatible: bool = True,
    ) -> None:
        if not isinstance(listener, (TcpListener, UnixListener)):
            raise TypeError(wrong("listener", "a net.TcpListener or a net.UnixListener", listener))
        check_context(context)
        check_limits(handshake_timeout, shutdown_timeout)
        self._listener = listener
        self._context = context
        self._handshake_timeout = handshake_timeout
        self._shutdown_timeout = shutdown_timeout
        self._standard_compatible = standard_compatible

    def __repr__(self) -> str:
        return f"<TlsListener of {self._listener!r}>"

    @classmethod
    async def bind(
        cls: type[_Self],
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        backlog: int = 1024,
        reuse_port: bool = False,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
        standard_compatible: bool = True,
    ) -> _Self:
        """Listen over TCP, as :meth:`net.TcpListener.bind` does."""
        check_context(context)
        check_limits(handshake_timeout, shutdown_timeout)
        listener = await TcpListener.bind(host, port, backlog=backlog, reuse_port=reuse_port)
        return cls(
            listener,
            context,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
            standard_compatible=standard_compatible,
        )

    @property
    def listener(self) -> AnyListener:
        """What it listens with."""
        return self._listener

    @property
    def local_addr(self) -> Any:
        """The address here; with the port if 0 was asked for."""
        return self._listener.local_addr

    async def accept(self, *, timeout: float | None = None) -> tuple[TlsStream[Any], Any]:
        """The next connection and the peer's address. The handshake is not done yet, so that a slow
        client keeps nobody waiting: the stream's first read or write does it, or its
        :meth:`TlsStream.handshake`. ``TimeoutError`` if nobody connects for `timeout`
        seconds."""
        stream, address = await self._listener.accept(timeout=timeout)
        try:
            return self._wrapped(stream), address
        except BaseException:
            await stream.close()
            raise

    def _wrapped(self, stream: Stream) -> TlsStream[Stream]:
        return TlsStream(
            stream,
            self._context,
            server_side=True,
            server_hostname=None,
            session=None,
            handshake_timeout=self._handshake_timeout,
            shutdown_timeout=self._shutdown_timeout,
            standard_compatible=self._standard_compatible,
        )

    def _settings(self) -> tuple[object, ...]:
        return (
            self._context,
            self._handshake_timeout,
            self._shutdown_timeout,
            self._standard_compatible,
        )

    async def close(self) -> None:
        """Listen no more; idempotent. Connections that were accepted go on."""
        await self._listener.close()


async def serve(
    listeners: TlsListener | Iterable[TlsListener],
    handler: Callable[[TlsStream[Any]], Awaitable[object]],
    *,
    max_connections: int | None = None,
    on_error: OnError | None = None,
    stop: CancellationToken | None = None,
    drain: float | None = 10.0,
    placement: TaskPlacement = TaskPlacement.Stealable,
) -> None:
    """Serve the connections of one listener or several, as :func:`net.serve` does with the same
    parameters: a task for each one does the handshake, runs ``handler(stream)`` and closes the
    stream. Handshakes that fail (``ssl.SSLError``) and connections that are cut short
    (:class:`TruncatedError`) are ends that connections have: silent, unless `on_error` is given,
    which gets the transport."""
    mine = [listeners] if isinstance(listeners, TlsListener) else list(listeners)
    for one in mine:
        if not isinstance(one, TlsListener):
            raise TypeError(wrong("a listener", "a TlsListener", one))
    if not mine:
        raise ValueError("listeners must be one or more, got none")
    if not callable(handler):
        raise TypeError(wrong("handler", "an async function of a stream", handler))
    settings = mine[0]._settings()
    if any(one._settings() != settings for one in mine):
        raise ValueError("listeners must have one context and the same limits, got several")

    @functools.wraps(handler)
    async def secured(stream: Stream) -> None:
        encrypted = mine[0]._wrapped(stream)
        try:
            async with encrypted:
                await encrypted.handshake()
                await handler(encrypted)
        except ssl.SSLError:
            if on_error is not None or not encrypted._has_failed():
                raise

    await net.serve(
        [one._listener for one in mine],
        secured,
        max_connections=max_connections,
        on_error=on_error,
        stop=stop,
        drain=drain,
        placement=placement,
    )
