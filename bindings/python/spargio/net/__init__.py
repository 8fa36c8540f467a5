"""Sockets. Every awaitable is one io_uring operation of the shard whose task awaits it. Addresses
are those of the socket module. Names are resolved on threads of their own: no shard waits."""

from __future__ import annotations

from ._addresses import InetAddress, UnixAddress
from ._resolve import resolve
from ._session import StreamSessionPolicy
from ._stream import Stream
from ._tcp import TcpListener, TcpStream
from ._udp import UdpSocket, UnixDatagram
from ._unix import PeerCredentials, UnixListener, UnixStream

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
)
