"""The fast engine: the SSL object of CPython's :class:`ssl.SSLObject`, used by OpenSSL's own
functions from native code, with our own BIO under it. It is there if ``_ssl`` is linked to OpenSSL
as a library of its own. The last call of a handshake is CPython's, so that errors are."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .._ffi.core import native
from .._ffi.types import Buffer
from ._errors import TruncatedError

if TYPE_CHECKING:
    from .._ffi.core import Exchange, TlsEngine

T = TypeVar("T")

_LIBRARIES = {20: "SSL", 13: "ASN1", 11: "X509", 6: "EVP", 4: "RSA", 16: "EC"}
_HANDSHAKE_RECORD = 22

_unused = ssl.MemoryBIO()
"""What an SSL object is made with, until ours takes its place."""


def _make_error(truncated: bool, library: int, reason: str | None) -> Exception:
    """As CPython words it."""
    if truncated:
        words = "the connection ended without the peer's close_notify"
        return TruncatedError(ssl.SSL_ERROR_EOF, words)
    words = reason or "the connection cannot go on"
    name = words.upper().replace(" ", "_")
    where = _LIBRARIES.get(library, "SSL")
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, f"[{where}: {name}] {words}")
    error.library, error.reason = where, name
    return error


class NotCaught(Exception):
    """The SSL object of a connection was not seen when it was made."""


def open_library() -> str | None:
    """Find OpenSSL and try it; why it cannot be used, or None."""
    import _ssl

    path = getattr(_ssl, "__file__", None)
    if not path:
        return "_ssl is part of the interpreter: its OpenSSL cannot be reached"
    reason = native.tls_open(path.encode() + b"\0", _make_error)
    return reason if reason is not None else _try()


def _try() -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    one = [native.exchange(0, 1, 1) for _ in range(3)]
    try:
        engine = NativeEngine(context, False, None, None, True, (one[0], one[1], one[2]))
    except NotCaught:
        return "_ssl uses another OpenSSL than the one that it is linked to"
    begun = not engine.handshake() and engine.take()[:1] == bytes((_HANDSHAKE_RECORD,))
    return None if begun else "the client's first message did not come out"


class NativeEngine:
    """One connection, with the methods of :class:`MemoryEngine`. `core` is its native part, whose
    awaitables do what is done often."""

    name = "native"

    __slots__ = ("_failure", "core", "ssl_object")

    def __init__(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        session: ssl.SSLSession | None,
        lenient: bool,
        turns: tuple[Exchange, Exchange, Exchange],
    ) -> None:
        native.tls_watch()
        self.ssl_object = context.wrap_bio(
            _unused,
            _unused,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session,
        )
        owner = getattr(self.ssl_object, "_sslobj", None)
        core = None if owner is None else native.tls_engine(owner, lenient, *turns)
        if core is None:
            raise NotCaught
        self.core: TlsEngine = core
        self._failure: Exception | None = None

    def feed(self, data: bytes) -> None:
        self.core.feed(data)

    def fed(self) -> int:
        return self.core.fed()

    def take(self) -> bytes:
        return self.core.take()

    def put_back(self, data: bytes) -> None:
        self.core.put_back(data)

    def has_output(self) -> bool:
        return self.core.has_output()

    def unused(self) -> bytes:
        return self.core.unused()

    def handshake(self) -> bool:
        """As far as it goes; whether it is done. False: feed more."""
        if self._failure is not None:
            raise self._failure
        self.core.lock()
        try:
            self.ssl_object.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLEOFError as error:
            words = "the connection ended within the handshake"
            self._failure = ssl.SSLEOFError(error.errno, words)
            raise self._failure from None
        except Exception as error:
            self._failure = error
            raise
        finally:
            self.core.unlock()

    def read(self, size: int) -> bytes | None:
        return self.core.read(size)

    def read_into(self, view: memoryview) -> int | None:
        return self.core.read_into(view)

    def write(self, view: Buffer) -> int:
        return self.core.write(view)

    def close_notify(self) -> None:
        self.core.close_notify()

    def unread(self, data: bytes) -> None:
        self.core.unread(data)

    def take_unread(self) -> bytes:
        return self.core.take_unread()

    def failed(self) -> bool:
        return self._failure is not None or self.core.failed()

    def close(self) -> None:
        self.core.close()

    def locked(self, function: Callable[[], T]) -> T:
        """Call it while nobody else uses the SSL object."""
        self.core.lock()
        try:
            return function()
        finally:
            self.core.unlock()
