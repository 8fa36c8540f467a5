"""Streams of the Unix family. An address is a path, or an abstract name: bytes that begin with a
NUL."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from .._carried import in_a_task
from .._records import dataclass
from ..time import timeout as time_limit
from ._addresses import UnixAddress, encode, unix_name
from ._connect import connect_descriptor, connect_given
from ._incoming import Incoming
from ._session import StreamSessionPolicy
from ._socket import Listener, check_kind, check_listens, fresh, fresh_pair
from ._stream import Stream

_UCRED = struct.Struct("=iII")


@dataclass(frozen=True)
class PeerCredentials:
    """The process at the other end, as of its connect or listen (SO_PEERCRED)."""

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
    @in_a_task
    async def connect(
        cls,
        path: UnixAddress,
        *,
        local_addr: UnixAddress | None = None,
        timeout: float | None = None,
    ) -> UnixStream:
        """Connect. ``IORING_OP_CONNECT``, Linux 5.5. Waits while the listener's backlog is full;
        ``TimeoutError`` after `timeout` seconds. `local_addr` is the name that the peer sees; a
        path stays when the stream is closed."""
        with time_limit(timeout):
            descriptor = await connect_descriptor(
                socket.AF_UNIX, socket.SOCK_STREAM, path, local_addr
            )
        return cls(descriptor)

    @classmethod
    @in_a_task
    async def connect_socket(
        cls, sock: socket.socket, path: UnixAddress, *, timeout: float | None = None
    ) -> UnixStream:
        """Connect a Python socket, which is taken over as by :meth:`from_socket`, and closed if the
        connect fails."""
        cls._check(sock)
        with time_limit(timeout):
            return cls(await connect_given(sock, path))

    @classmethod
    def pair(cls) -> tuple[UnixStream, UnixStream]:
        """Two that are connected to each other."""
        one, other = fresh_pair(socket.SOCK_STREAM)
        return cls.from_socket(one), cls.from_socket(other)

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, (socket.AF_UNIX,), socket.SOCK_STREAM, "a Unix stream socket")

    def peer_credentials(self) -> PeerCredentials:
        """Process, user and group of the peer."""
        data = self.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        assert isinstance(data, bytes)
        return PeerCredentials(*_UCRED.unpack(data))


class UnixListener(Listener):
    """A listening socket. Its path stays when it is closed: remove it before the next bind."""

    __slots__ = ()

    @classmethod
    async def bind(cls, path: UnixAddress, *, backlog: int = 1024) -> UnixListener:
        """Listen; ``OSError`` EADDRINUSE if the path is there already."""
        encode(socket.AF_UNIX, path)
        sock = fresh(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(unix_name(path))
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            error.filename = unix_name(path)
            raise
        return cls._of_our_own(sock)

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, (socket.AF_UNIX,), socket.SOCK_STREAM, "a listening Unix socket")
        check_listens(sock, "a listening Unix socket")

    @in_a_task
    async def accept(self, *, timeout: float | None = None) -> tuple[UnixStream, str | bytes]:
        """The next connection and the peer's address, "" if it has none."""
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
