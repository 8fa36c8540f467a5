"""Sockets. Every awaitable is one io_uring operation of the shard whose task awaits it. Addresses
are those of the socket module. Names are resolved on threads of their own: no shard waits."""

from __future__ import annotations

from .._lazy import lazy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._addresses import InetAddress, UnixAddress
    from ._resolve import resolve
    from ._serve import serve
    from ._session import StreamSessionPolicy
    from ._stream import Stream
    from ._tcp import TcpListener, TcpStream
    from ._udp import UdpSocket, UnixDatagram
    from ._unix import PeerCredentials, UnixListener, UnixStream
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "._resolve": ("resolve",),
            "._serve": ("serve",),
            "._session": ("StreamSessionPolicy",),
            "._stream": ("Stream",),
            "._tcp": ("TcpListener", "TcpStream"),
            "._udp": ("UdpSocket", "UnixDatagram"),
            "._unix": ("PeerCredentials", "UnixListener", "UnixStream"),
            "._addresses": ("InetAddress", "UnixAddress"),
            "._incoming": (),
            "._socket": (),
            "._connect": (),
            "._bind": (),
        },
    )

__all__ = (
    "InetAddress",
    "PeerCredentials",
    "Stream",
    "StreamSessionPolicy",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixAddress",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "resolve",
    "serve",
)
