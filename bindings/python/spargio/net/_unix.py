"""Streams of the Unix family. An address is a path, or an abstract name: bytes that begin with a
NUL."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..time import timeout as time_limit
from ._addresses import UnixAddress, encode, unix_name
from ._incoming import Incoming
from ._session import StreamSessionPolicy
from ._socket import BaseSocket, adopt, check_kind, connect_descriptor, fresh
from ._stream import Stream

_UCRED = struct.Struct("=iII")


@dataclass(frozen=True)
class PeerCredentials:
    """Who is at the other end, as of its connect or listen (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class UnixStream(Stream):
    """A connected stream. See :class:`Stream`."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def local_addr(self) -> str | bytes: ...
        @property
        def peer_addr(self) -> str | bytes: ...

    @classmethod
    async def connect(cls, path: UnixAddress, *, timeout: float | None = None) -> UnixStream:
        """Connect. ``IORING_OP_CONNECT``, Linux 5.5."""
        with time_limit(timeout):
            descriptor = await connect_descriptor(socket.AF_UNIX, socket.SOCK_STREAM, path)
        return cls(descriptor)

    @classmethod
    def pair(cls) -> tuple[UnixStream, UnixStream]:
        """Two that are connected to each other."""
        one, other = socket.socketpair()
        return cls.from_socket(one), cls.from_socket(other)

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, (socket.AF_UNIX,), socket.SOCK_STREAM, "a Unix stream socket")

    def peer_credentials(self) -> PeerCredentials:
        """Process, user and group of the peer."""
        data = self.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        assert isinstance(data, bytes)
        return PeerCredentials(*_UCRED.unpack(data))


class UnixListener(BaseSocket):
    """A listening socket. Its path stays when it is closed: remove it before the next bind."""

    __slots__ = ()

    @classmethod
    async def bind(cls, path: UnixAddress, *, backlog: int = 1024) -> UnixListener:
        """Listen; ``OSError`` EADDRINUSE where the path is there already."""
        encode(socket.AF_UNIX, path)
        sock = fresh(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(unix_name(path))
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            error.filename = unix_name(path)
            raise
        return cls(adopt(sock))

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, (socket.AF_UNIX,), socket.SOCK_STREAM, "a listening Unix socket")

    async def accept(self, *, timeout: float | None = None) -> tuple[UnixStream, str | bytes]:
        """The next connection and the peer's address, "" where it has none."""
        with time_limit(timeout):
            stream = UnixStream(await self._io.accept())
        return stream, stream.peer_addr

    def incoming(self) -> Incoming[UnixStream, str | bytes]:
        """Connections one after another, for one task; see :class:`Incoming`."""
        return Incoming(self._io, UnixStream, lambda _: None)

    async def accept_with_session_policy(
        self, policy: StreamSessionPolicy
    ) -> tuple[UnixStream, str | bytes]:
        """The same; ``stream.session_shard`` is what `policy` chooses."""
        shard = policy.choose()
        stream, address = await self.accept()
        stream.session_shard = shard
        return stream, address

    async def accept_round_robin(self) -> tuple[UnixStream, str | bytes]:
        """The same with the next shard in turn."""
        return await self.accept_with_session_policy(StreamSessionPolicy.RoundRobin)
