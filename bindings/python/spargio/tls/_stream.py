"""A TLS connection: an engine that seals and opens records, and the stream they travel on."""

from __future__ import annotations

import socket
import ssl
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._carried import in_a_task
from .._ffi.core import native
from .._ffi.types import Buffer, Coro
from .._hints import Hints
from .._pieces import read_until
from .._resource import AsyncCloseable
from .._validate import at_least, view_of, wrong
from ..errors import (
    BusyError,
    ClosedError,
    IncompleteReadError,
    Overloaded,
    RuntimeClosed,
    SpargioError,
    bytes_written,
)
from ..io import AsyncStream
from ..net import Stream
from ..runtime import current_handle
from ..sync import Lock
from ..time import timeout as time_limit
from ._choice import make
from ._close import drain
from ._native import NativeEngine

if TYPE_CHECKING:
    from .._ffi.core import Descriptor, TlsEngine

S = TypeVar("S", bound=AsyncStream)
T = TypeVar("T")

_FLIGHT = 64 * 1024
"""Plaintext bytes that are sealed before they are sent: their records go out with one call."""

_ROOM = 68 * 1024
"""What one receive makes room for: 64 KiB of plaintext with their records."""


class TlsStream(Hints, AsyncCloseable, Generic[S]):
    """A stream of plaintext over `transport`, which carries the records. Made by :func:`wrap`,
    :func:`connect` and :class:`TlsListener`.

    One task at a time may read, one may write, on any shard, both at once too. A write while
    another task writes is refused with :class:`BusyError`. An operation that is cancelled loses no
    byte and tears no record: what a read had taken, the next read gets; what a write has sealed is
    sent all the same, and the exception has in its attribute ``bytes_written`` how many bytes of
    the data that is.

    The transport is the stream's: nobody else may read or write on it, until :meth:`unwrap` gives
    it back."""

    __slots__ = (
        "__weakref__",
        "_begun",
        "_closing",
        "_core",
        "_engine",
        "_handshake_timeout",
        "_io",
        "_ready",
        "_receiving",
        "_sending",
        "_shut",
        "_shutdown_timeout",
        "_transport",
        "_writing",
    )
    _instead = {  # noqa: RUF012
        "pending": "recv(max_bytes), which returns what is there first",
        "do_handshake": "handshake()",
        "read": "recv(max_bytes) or read_exactly(size)",
        "readexactly": "read_exactly(size)",
        "readuntil": "read_until(separator)",
        "readline": "read_until(), or spargio.io.BufReader(stream).read_line()",
        "receive": "recv(max_bytes)",
        "recv_exactly": "read_exactly(size)",
        "write": "write_all(data)",
        "writelines": "write_vectored(buffers)",
        "drain": "`await stream.write_all(data)`, which waits by itself",
        "send_all": "write_all(data)",
        "sendall": "write_all(data)",
        "write_eof": "shutdown()",
        "send_eof": "shutdown()",
        "aclose": "close()",
        "wait_closed": "`await stream.close()`",
        "get_extra_info": "transport.peer_addr, getpeercert(), cipher()",
        "peer_addr": "transport.peer_addr",
        "local_addr": "transport.local_addr",
    }

    def __init__(
        self,
        transport: S,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        session: ssl.SSLSession | None,
        *,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
        standard_compatible: bool,
    ) -> None:
        self._transport = transport
        self._handshake_timeout = handshake_timeout
        self._shutdown_timeout = shutdown_timeout
        self._begun = False
        self._ready = False
        self._closing = False
        self._shut = False
        self._receiving = Lock()
        self._sending = Lock()
        self._writing = native.exchange(0, 1, 1)
        turns = self._receiving._permits, self._sending._permits, self._writing
        self._engine = make(
            context, server_side, server_hostname, session, not standard_compatible, turns
        )
        # What is done often has awaitables of its own, if a socket carries the records.
        self._core: TlsEngine | None = None
        self._io: Descriptor | None = None
        if isinstance(self._engine, NativeEngine) and isinstance(transport, Stream):
            self._io = transport._io
            self._engine.core.set_aside(weakref.ref(self))

    def __repr__(self) -> str:
        state = "closed" if self._closing else self.version() or "before the handshake"
        return f"<TlsStream, {state}, over {self._transport!r}>"

    @property
    def transport(self) -> S:
        """What carries the records: for its addresses and options, not for its bytes."""
        return self._transport

    # ---- the handshake ----

    @in_a_task
    async def handshake(self) -> None:
        """Do the handshake, if it is not done: the first read or write does it otherwise. One task
        does it, others wait. ``ssl.SSLError`` if the peer or this side refuses (a
        ``ssl.SSLCertVerificationError`` for its certificate), ``TimeoutError`` after the
        `handshake_timeout` of the stream; the stream is of no use then."""
        if self._ready:
            return
        self._check()
        engine, io = self._engine, self._io
        if io is not None and isinstance(engine, NativeEngine):
            with time_limit(self._handshake_timeout):
                await self._shake_hands_natively(engine, io)
            return
        async with self._receiving:
            if not self._ready:
                with time_limit(self._handshake_timeout):
                    await self._shake_hands()

    async def _shake_hands_natively(self, engine: NativeEngine, io: Descriptor) -> None:
        core = engine.core
        if early := io.take_unread():
            core.feed(early)
        done = False
        while not done:
            await core.handshake(io)
            try:
                done = engine.handshake()
            except BaseException:
                await self._tell_why()
                raise
        self._ready = True
        self._core = core

    async def _shake_hands(self) -> None:
        engine = self._engine
        done = False
        if not self._begun and self.server_side:
            # The client speaks first. An attempt without its words ends in an exception.
            engine.feed(await self._transport.recv(_ROOM))
        self._begun = True
        while not done:
            try:
                done = engine.handshake()
            except BaseException:
                await self._tell_why()
                raise
            if engine.has_output():
                await self._flush()
            if not done:
                engine.feed(await self._transport.recv(_ROOM))
        self._ready = True

    async def _tell_why(self) -> None:
        """The peer gets the alert, if it takes it."""
        with suppress(OSError, SpargioError):
            await self._flush()

    def _has_failed(self) -> bool:
        return self._engine.failed()

    def _check(self) -> None:
        if self._closing:
            raise ClosedError("the TLS stream is closed")

    # ---- reading ----

    def recv(self, max_bytes: int) -> Coro[bytes]:
        """At least one byte and at most `max_bytes`; ``b""`` after the peer's close_notify.
        :class:`TruncatedError` if the connection ends without one, unless the stream was made
        with ``standard_compatible=False``: then that is an end like any other. Not more is opened
        than is asked for, but for the rest of one record."""
        core, io = self._core, self._io
        if core is not None and io is not None and max_bytes:
            return core.recv(io, max_bytes)
        return self._recv(max_bytes)

    async def _recv(self, max_bytes: int) -> bytes:
        size = at_least("max_bytes", max_bytes, 0)
        if size and not self._ready:
            self._check()
            await self.handshake()
            return await self.recv(size)
        return await self._reading(lambda: self._engine.read(size)) if size else b""

    def recv_into(self, buffer: Buffer) -> Coro[int]:
        """The same into a writable buffer; returns the number of bytes, 0 at the end."""
        core, io = self._core, self._io
        if core is not None and io is not None and len(memoryview(buffer)):
            return core.recv_into(io, buffer)
        return self._recv_into(buffer)

    async def _recv_into(self, buffer: Buffer) -> int:
        with memoryview(buffer) as whole, whole.cast("B") as view:
            if not len(view):
                return 0
            if view.readonly:
                raise TypeError(wrong("buffer", "one that can be written to", buffer))
            return await self._reading(lambda: self._engine.read_into(view))

    async def _reading(self, read: Callable[[], T | None]) -> T:
        engine = self._engine
        while True:
            self._check()
            if not self._ready:
                await self.handshake()
            seen = engine.fed()
            try:
                found = read()
            finally:
                if engine.has_output():  # The answer to a key update, an alert.
                    self._flush_aside()
            if found is not None:
                return found
            await self._pump(seen)

    async def _pump(self, seen: int) -> None:
        """More ciphertext, unless somebody else brought some since."""
        async with self._receiving:
            if self._engine.fed() == seen:
                data = await self._transport.recv(_ROOM)
                self._check()
                self._engine.feed(data)

    async def read_exactly(self, size: int) -> bytes:
        """`size` bytes; :class:`IncompleteReadError` with what came if the stream ends first."""
        size = at_least("size", size, 0)
        data = await self.recv(size)
        if len(data) == size:
            return data
        parts, count = [data], len(data)
        try:
            while count < size:
                data = await self.recv(size - count) if parts[-1] else b""
                if not data:
                    raise IncompleteReadError(b"".join(parts), size)
                parts.append(data)
                count += len(data)
        except IncompleteReadError:
            raise
        except BaseException:
            self.unread(b"".join(parts))
            raise
        return b"".join(parts)

    def read_until(self, separator: bytes = b"\n", *, limit: int = _FLIGHT) -> Coro[bytes]:
        """All up to and with `separator`. :class:`IncompleteReadError` if the stream ends first;
        ``ValueError`` if it does not come within `limit` bytes: they stay readable."""
        return read_until(self, separator, limit, _FLIGHT)

    def unread(self, data: bytes) -> None:
        """Reads get `data` first. For the one task that reads, and has read too far."""
        self._engine.unread(bytes(data))

    def take_unread(self) -> bytes:
        """What has been read and was not used, which the next read would get: after a cancelled
        ``read_exactly`` or ``read_until``, or ``unread``."""
        return self._engine.take_unread()

    # ---- writing ----

    async def send(self, data: Buffer) -> int:
        """Seal and send at most 64 KiB of `data`; returns the number of bytes taken."""
        view = view_of(data)[:_FLIGHT]
        await self.write_all(view)
        return len(view)

    def write_all(self, data: Buffer) -> Coro[None]:
        """Send all of `data`, in records of at most 16 KiB. What ends it early, an error or a
        cancellation, says in its attribute ``bytes_written`` how much was sealed: that is sent all
        the same, in the background if need be. ``ClosedError`` after :meth:`shutdown`."""
        core, io = self._core, self._io
        if core is not None and io is not None:
            return core.write_all(io, data)
        return self._write_all(data)

    async def _write_all(self, data: Buffer) -> None:
        view = view_of(data)
        done = 0
        if not self._writing.take_units(1):
            raise BusyError("another task writes to this stream: one may at a time")
        try:
            if not self._ready:
                await self.handshake()
            engine = self._engine
            while done < len(view):
                self._check_writable()
                seen = engine.fed()
                count = engine.write(view[done : done + _FLIGHT])
                done += count
                if engine.has_output():
                    await self._flush()
                if not count:
                    await self._pump(seen)
        except BaseException as error:
            error.bytes_written = done  # type: ignore[attr-defined]
            if self._engine.has_output():
                self._flush_aside()
            raise
        finally:
            self._writing.put_units(1)

    def _check_writable(self) -> None:
        self._check()
        if self._shut:
            raise ClosedError("the TLS stream is shut down for writing")

    async def write_vectored(self, buffers: Sequence[Buffer]) -> int:
        """Send several buffers, small ones in records together; returns the number of bytes, which
        is that of all. What ends it early has ``bytes_written``."""
        views = [view_of(buffer) for buffer in buffers]
        total = sum(map(len, views))
        if total <= _FLIGHT:
            await self.write_all(b"".join(views))
            return total
        written = 0
        batch: list[memoryview] = []
        try:
            for view in (*views, None):
                if batch and (view is None or sum(map(len, batch)) + len(view) > _FLIGHT):
                    joined = batch[0] if len(batch) == 1 else b"".join(batch)
                    await self.write_all(joined)
                    written += len(joined)
                    batch = []
                if view is not None:
                    batch.append(view)
        except BaseException as error:
            error.bytes_written = written + bytes_written(error)  # type: ignore[attr-defined]
            raise
        return written

    send_all_batch = write_vectored

    async def _flush(self) -> None:
        """Send what is sealed. One task at a time: the records keep their order. What a cancelled
        one leaves, the next one sends first."""
        engine = self._engine
        async with self._sending:
            while data := engine.take():
                try:
                    await self._transport.write_all(data)
                except BaseException as error:
                    engine.put_back(data[bytes_written(error) :])
                    raise

    def _flush_aside(self) -> None:
        """The same in a task of its own: this one has no time, or has been cancelled."""
        if self._closing:
            return
        work = self._flush_quietly()
        try:
            current_handle().spawn_pinned(native.current_shard(), work, name="tls")
        except (RuntimeClosed, Overloaded):
            work.close()  # The next write sends it.

    async def _flush_quietly(self) -> None:
        with suppress(OSError, SpargioError):  # The next operation finds it broken as well.
            await self._flush()

    # ---- the end ----

    async def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """Send close_notify: nothing is written any more. The peer reads the end; what it sends
        can still be read (with TLS 1.2 some peers end their side at once). `how` is
        ``socket.SHUT_WR``, others there are not."""
        if how != socket.SHUT_WR:
            raise ValueError(wrong("how", "socket.SHUT_WR, TLS has no other", how))
        await self.handshake()
        self._check()
        if not self._writing.take_units(1):
            raise BusyError("another task writes to this stream: one may at a time")
        try:
            if not self._shut:
                self._shut = True
                self._engine.close_notify()
            await self._flush()
        except BaseException:
            if self._engine.has_output():
                self._flush_aside()
            raise
        finally:
            self._writing.put_units(1)

    async def close(self) -> None:
        """Send close_notify, if the handshake is done and no write is under way, wait for at most
        the `shutdown_timeout` of the stream until it is sent, and close the transport; idempotent.
        Nothing is read any more: other tasks that wait on the stream get :class:`ClosedError`, and
        the peer's close_notify is not waited for; see :meth:`unwrap`. A cancellation leaves
        close_notify out, not the close."""
        first, self._closing = not self._closing, True
        core, self._core = self._core, None
        try:
            if first and self._ready and not self._engine.failed():
                io = self._io
                if core is None or io is None or not core.goodbye(io):
                    await self._say_goodbye()
        finally:
            self._engine.close()
            await self._transport.close()

    @in_a_task
    async def _say_goodbye(self) -> None:
        if not self._writing.take_units(1):
            return  # A write is cut: the peer is to know that this is no proper end.
        try:
            with time_limit(self._shutdown_timeout):
                if not self._shut:
                    self._shut = True
                    self._engine.close_notify()
                await self._flush()
                if self._receiving.try_acquire():
                    try:
                        await drain(self._transport)
                    finally:
                        self._receiving.release()
        except (OSError, SpargioError, TimeoutError):
            pass
        finally:
            self._writing.put_units(1)

    @in_a_task
    async def unwrap(self) -> S:
        """End TLS and give the transport back, still open: send close_notify and wait for the
        peer's, for at most the `shutdown_timeout` of the stream (``TimeoutError``). What the peer
        sent behind it, the transport's next read gets. ``RuntimeError`` if data comes before the
        peer's close_notify: it stays readable, read up to the end first."""
        with time_limit(self._shutdown_timeout):
            await self.shutdown()
            data = await self.recv(_FLIGHT)
            if data:
                self.unread(data)
                raise RuntimeError(
                    f"unwrap() with {len(data)} bytes or more that were not read: recv() has them"
                )
        self._closing = True
        self._core = None
        rest = self._engine.unused()
        if rest:
            unread: Callable[[bytes], object] = self._transport.unread  # type: ignore[attr-defined]
            unread(rest)
        return self._transport

    # ---- what was agreed ----

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """Python's own, for what is not here. Its methods that read, write or shake hands are the
        stream's: not to be called."""
        return self._engine.ssl_object

    def _ask(self, function: Callable[[ssl.SSLObject], T]) -> T:
        return self._engine.locked(lambda: function(self._engine.ssl_object))

    @property
    def context(self) -> ssl.SSLContext:
        """The context; an SNI callback may have changed it."""
        return self._ask(lambda one: one.context)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session, to be given to :func:`connect` or :func:`wrap` with the same context. With
        TLS 1.3 there is one that can be resumed after the first read, not before."""
        return self._ask(lambda one: one.session)

    @property
    def session_reused(self) -> bool:
        """Whether the handshake was a short one, from an earlier session."""
        return bool(self._ask(lambda one: one.session_reused))

    @property
    def server_side(self) -> bool:
        """Which side this is."""
        return self._ask(lambda one: one.server_side)

    @property
    def server_hostname(self) -> str | None:
        """The name that was asked for; None on the server's side."""
        return self._ask(lambda one: one.server_hostname)

    def version(self) -> str | None:
        """``"TLSv1.3"``; None before the handshake."""
        return self._ask(lambda one: one.version())

    def cipher(self) -> tuple[str, str, int] | None:
        """The cipher's name, the protocol that defines it, its secret bits; None before the
        handshake."""
        return self._ask(lambda one: one.cipher())

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """The ciphers that both sides have; None on the client's side."""
        return self._ask(lambda one: one.shared_ciphers())

    def selected_alpn_protocol(self) -> str | None:
        """The protocol that was agreed upon (RFC 7301); None if none was."""
        return self._ask(lambda one: one.selected_alpn_protocol())

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The peer's certificate, as :meth:`ssl.SSLSocket.getpeercert` gives it."""
        return self._ask(lambda one: one.getpeercert(binary_form))

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """Bytes that only the two ends of this connection know (RFC 5929)."""
        return self._ask(lambda one: one.get_channel_binding(cb_type))

    def verify_client_post_handshake(self) -> None:
        """Ask a TLS 1.3 client for its certificate after the handshake: the next write sends
        that."""
        self._ask(lambda one: one.verify_client_post_handshake())
