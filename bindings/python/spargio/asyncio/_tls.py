"""TLS transports of the loop: CPython's ``SSLProtocol`` with its states, limits and flow control,
over the engine of :mod:`spargio.tls` if that is the native one. What is read and written goes
through OpenSSL's own functions, from a buffer that the connections of a loop share."""

from __future__ import annotations

import functools
import ssl
import threading
from asyncio import sslproto
from typing import TYPE_CHECKING, Any

from .._ffi.core import native

if TYPE_CHECKING:
    from .._ffi.core import TlsEngine

_ALL = 1 << 20
_Base: Any = sslproto.SSLProtocol
_STATES: Any = getattr(sslproto, "SSLProtocolState", None)


class _Incoming:
    """In place of CPython's memory BIO: what its methods ask of it."""

    __slots__ = ("_core",)

    def __init__(self, core: TlsEngine) -> None:
        self._core = core

    def write(self, data: Any) -> None:
        self._core.feed(bytes(data))

    @property
    def pending(self) -> int:
        return self._core.input()


class _Outgoing:
    __slots__ = ("_core", "read")

    def __init__(self, core: TlsEngine) -> None:
        self._core = core
        self.read = core.take

    @property
    def pending(self) -> int:
        return self._core.output()


class _Shared(threading.local):
    """Where ciphertext comes to: one buffer for each thread that runs a loop. The transport fills
    it and tells in one step."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(256 * 1024))


_shared = _Shared()


class EngineProtocol(_Base):  # type: ignore[misc]
    """``SSLProtocol`` on the native engine."""

    max_size = 0  # It makes no buffer of its own.

    def __init__(self, *args: Any, **keywords: Any) -> None:
        native.tls_watch()
        super().__init__(*args, **keywords)
        owner = getattr(self._sslobj, "_sslobj", None)
        core = None if owner is None else native.tls_engine(owner, True, None, None, None)
        if core is None:  # A finalizer made another connection in between.
            self.max_size = _Base.max_size
            self._core: TlsEngine | None = None
            return
        self._core = core
        self._incoming, self._outgoing = _Incoming(core), _Outgoing(core)

    def get_buffer(self, n: int) -> memoryview:
        if self._core is None:
            view: memoryview = super().get_buffer(n)
            return view
        return _shared.view

    def buffer_updated(self, nbytes: int) -> None:
        core = self._core
        if core is None:
            super().buffer_updated(nbytes)
            return
        came = _shared.view[:nbytes]
        if (
            self._state is not _STATES.WRAPPED
            or self._app_reading_paused
            or self._app_protocol_is_buffer
        ):
            core.feed(bytes(came))
            if self._state is _STATES.DO_HANDSHAKE:
                self._do_handshake()
            elif self._state is _STATES.WRAPPED:
                self._do_read()
            elif self._state is _STATES.FLUSHING:
                self._do_flush()
            elif self._state is _STATES.SHUTDOWN:
                self._do_shutdown()
            return
        try:
            plain = core.receive(came)
            if plain is not None:
                self._app_protocol.data_received(plain)
        except Exception as error:
            self._fatal_error(error, "Fatal error on SSL protocol")
            return
        # The end, an error, the answer to what came, what waits to be written.
        self._do_read()

    def _do_handshake(self) -> None:
        core = self._core
        if core is not None and not core.shake():
            self._process_outgoing()
            return
        super()._do_handshake()

    def _do_read__copied(self) -> None:
        core = self._core
        if core is None:
            super()._do_read__copied()
            return
        pieces = []
        data: bytes | None = None
        try:
            while data := core.read(_ALL):
                pieces.append(data)
        finally:  # What was read before an error counts.
            if pieces:
                self._app_protocol.data_received(
                    pieces[0] if len(pieces) == 1 else b"".join(pieces)
                )
        if data is not None:
            self._call_eof_received()
            self._start_shutdown()

    def _do_read__buffered(self) -> None:
        core = self._core
        if core is None:
            super()._do_read__buffered()
            return
        buffer = self._app_protocol_get_buffer(self._get_read_buffer_size())
        count = core.read_into(buffer)
        if count:
            self._app_protocol_buffer_updated(count)
            self._loop.call_soon(self._do_read)
        elif count is not None:
            self._call_eof_received()
            self._start_shutdown()

    def _do_write(self) -> None:
        core = self._core
        if core is None:
            super()._do_write()
            return
        backlog = self._write_backlog
        while backlog:
            data = backlog[0]
            count = core.write(data)
            self._write_buffer_size -= count
            if count < len(data):
                backlog[0] = memoryview(data)[count:]
                break
            del backlog[0]
        self._process_outgoing()


@functools.cache
def ssl_protocol_class() -> Any:
    """CPython's own if the native engine is not available, and on Python 3.10, whose class is
    another one."""
    if _STATES is None:
        return _Base
    from ..tls import engine

    return EngineProtocol if engine().name == "native" else _Base


async def start_tls(
    loop: Any,
    transport: Any,
    protocol: Any,
    sslcontext: Any,
    server_side: bool,
    server_hostname: str | None,
    limits: dict[str, Any],
) -> Any:
    """As ``loop.start_tls``. The handshake begins in the next turn, after the transport has gone
    over to it; what a stream has read already belongs to it."""
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter = loop.create_future()
    ssl_protocol = ssl_protocol_class()(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side,
        server_hostname,
        call_connection_made=False,
        **limits,
    )
    reader = getattr(protocol, "_stream_reader", None)
    if reader is not None and reader._buffer:  # A stream read too far.
        ssl_protocol._incoming.write(bytes(reader._buffer))
        reader._buffer.clear()
    transport.pause_reading()  # Nothing may come to the new protocol before it has begun.
    transport.set_protocol(ssl_protocol)
    calls = (
        loop.call_soon(ssl_protocol.connection_made, transport),
        loop.call_soon(transport.resume_reading),
    )
    try:
        await waiter
    except BaseException:
        transport.close()
        for call in calls:
            call.cancel()
        raise
    return ssl_protocol._app_transport
