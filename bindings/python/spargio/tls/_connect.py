"""How a TLS connection begins."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from .._carried import in_a_task
from .._validate import wrong
from ..io import AsyncStream
from ..net import TcpStream
from ..time import nanoseconds
from ..time import timeout as time_limit
from ._stream import TlsStream

if TYPE_CHECKING:
    from ..net import InetAddress

S = TypeVar("S", bound=AsyncStream)

HANDSHAKE_TIMEOUT = 60.0
SHUTDOWN_TIMEOUT = 30.0

_lock = threading.Lock()
_defaults: dict[tuple[str, ...], ssl.SSLContext] = {}


def _default_context(alpn: tuple[str, ...]) -> ssl.SSLContext:
    """One for all connections with these protocols: its certificates take some ms to load, and
    sessions belong to a context."""
    found = _defaults.get(alpn)
    if found is None:
        made = ssl.create_default_context()
        if alpn:
            made.set_alpn_protocols(list(alpn))
        found = _defaults.setdefault(alpn, made)
    return found


def check_limits(handshake_timeout: float | None, shutdown_timeout: float | None) -> None:
    """``TypeError`` or ``ValueError`` for what is no time limit."""
    for name, value in (
        ("handshake_timeout", handshake_timeout),
        ("shutdown_timeout", shutdown_timeout),
    ):
        if value is not None:
            nanoseconds(value, name)


def check_context(context: object) -> None:
    """``TypeError`` for what is no context."""
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(wrong("context", "an ssl.SSLContext", context))


def _protocols(alpn: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(alpn, (str, bytes)):
        raise TypeError(f'alpn must be several names, such as ["h2", "http/1.1"], got {alpn!r}')
    return tuple(alpn or ())


def begin(
    stream: S,
    context: ssl.SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    session: ssl.SSLSession | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
    standard_compatible: bool = True,
) -> TlsStream[S]:
    """The stream before its handshake."""
    check_context(context)
    check_limits(handshake_timeout, shutdown_timeout)
    if context.check_hostname and not server_side and not server_hostname:
        # An SSLObject would take a certificate for any name.
        raise ValueError(
            "server_hostname must be the server's name, because the context has check_hostname, "
            f"got {server_hostname!r}"
        )
    return TlsStream(
        stream,
        context,
        server_side,
        server_hostname,
        session,
        handshake_timeout=handshake_timeout,
        shutdown_timeout=shutdown_timeout,
        standard_compatible=standard_compatible,
    )


async def wrap(
    stream: S,
    context: ssl.SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    session: ssl.SSLSession | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
    standard_compatible: bool = True,
) -> TlsStream[S]:
    """TLS over `stream`, whose handshake is done when this returns. The stream is anything with
    ``recv``, ``write_all`` and ``close``: of TCP, of the Unix family, in memory, or another
    :class:`TlsStream`. What it has read already (a STARTTLS dialogue) belongs to the handshake. It
    is taken over: closed with the TLS stream, and when this fails.

    `server_hostname` is the name that the server's certificate must have, if `context` checks
    that; `session` that of an earlier connection with the same context. ``TimeoutError`` if the
    handshake takes longer than `handshake_timeout` seconds (None: no limit); `shutdown_timeout`
    bounds the end, see :meth:`TlsStream.close`. With ``standard_compatible=False`` a connection
    that ends without close_notify has ended like any other; see :class:`TruncatedError`.

    ``ssl.SSLError`` if the handshake fails, ``ssl.SSLCertVerificationError`` if the peer's
    certificate is not accepted."""
    made: TlsStream[S] | None = None
    try:
        made = begin(
            stream,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            session=session,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
            standard_compatible=standard_compatible,
        )
        await made.handshake()
    except BaseException:
        await (stream if made is None else made).close()
        raise
    return made


@in_a_task
async def connect(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    alpn: Iterable[str] | None = None,
    session: ssl.SSLSession | None = None,
    local_addr: InetAddress | None = None,
    timeout: float | None = None,
    shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
    standard_compatible: bool = True,
) -> TlsStream[TcpStream]:
    """Connect over TCP, as :meth:`net.TcpStream.connect` does, and do the handshake as a client.
    Without a context it is one with ``ssl.create_default_context()``'s settings, which all such
    connections share. The certificate must be for `server_hostname`, which is `host` if it is
    not given. `alpn` are the protocols to offer, the best first; with a context of the program's
    they are set on that (``context.set_alpn_protocols``). ``TimeoutError`` if name, connection
    and handshake take longer than `timeout` seconds (None: no limit of its own, the handshake has
    60 s). The rest is as :func:`wrap` has it."""
    protocols = _protocols(alpn)
    if context is not None:
        check_context(context)
    with time_limit(timeout):
        stream = await TcpStream.connect(host, port, local_addr=local_addr)
        try:
            with _lock:
                if context is None:
                    used = _default_context(protocols)
                else:
                    used = context
                    if protocols:
                        context.set_alpn_protocols(list(protocols))
                made = begin(
                    stream,
                    used,
                    server_hostname=host if server_hostname is None else server_hostname,
                    session=session,
                    shutdown_timeout=shutdown_timeout,
                    standard_compatible=standard_compatible,
                )
            await made.handshake()
        except BaseException:
            await stream.close()
            raise
    return made
