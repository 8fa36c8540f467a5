"""TCP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from .._carried import in_a_task
from .._ffi.core import Descriptor
from .._validate import within
from ..time import timeout as time_limit
from ._addresses import Address, InetAddress, check_pair, check_port, encode, family_of
from ._bind import bind_all
from ._connect import connect_descriptor, connect_given
from ._incoming import Incoming
from ._resolve import race, resolve
from ._session import StreamSessionPolicy
from ._socket import Listener, check_kind, check_listens, fresh
from ._stream import Stream

_INET = (socket.AF_INET, socket.AF_INET6)


def _opener(local: InetAddress | None) -> Callable[[int, Address], Awaitable[TcpStream]]:
    async def open_one(family: int, address: Address) -> TcpStream:
        descriptor = await connect_descriptor(family, socket.SOCK_STREAM, address, local)
        descriptor.set_nodelay(1)
        return TcpStream(descriptor)

    return open_one


class TcpStream(Stream):
    """A connected TCP socket, TCP_NODELAY set. See :class:`Stream`."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def local_addr(self) -> InetAddress: ...
        @property
        def peer_addr(self) -> InetAddress: ...

    @classmethod
    @in_a_task
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        local_addr: InetAddress | None = None,
        timeout: float | None = None,
    ) -> TcpStream:
        """Connect to a name or a numeric address. Of several addresses the first that answers is
        taken, as RFC 8305 says. ``IORING_OP_CONNECT``, Linux 5.5. ``socket.gaierror`` if the
        name is not known, ``TimeoutError`` after `timeout` seconds, ``ConnectionRefusedError`` and
        other ``OSError`` from the kernel. `local_addr`, numeric (host, port), is the address to
        connect from, port 0 for any; only addresses of its family are tried."""
        with time_limit(timeout):
            addresses = await resolve(host, port)
            if local_addr is not None:
                family = family_of(check_pair(local_addr)[0])
                addresses = [found for found in addresses if found[0] == family]
                if not addresses:
                    raise OSError(
                        errno.EAFNOSUPPORT,
                        f"no address of {host!r} has the family of local_addr = {local_addr!r}",
                    )
            return await race(addresses, _opener(local_addr), TcpStream.close)

    @classmethod
    @in_a_task
    async def connect_addr(
        cls,
        address: InetAddress,
        *,
        local_addr: InetAddress | None = None,
        timeout: float | None = None,
    ) -> TcpStream:
        """Connect to a numeric address, (host, port) or (host, port, flowinfo, scope_id)."""
        with time_limit(timeout):
            return await _opener(local_addr)(family_of(check_pair(address)[0]), address)

    @classmethod
    @in_a_task
    async def connect_socket(
        cls, sock: socket.socket, address: InetAddress, *, timeout: float | None = None
    ) -> TcpStream:
        """Connect a Python socket to a numeric address: one that is bound, or has options that must
        be set before (SO_BINDTODEVICE, SO_MARK, SO_RCVBUF). It is taken over as by
        :meth:`from_socket`, and closed if the connect fails."""
        cls._check(sock)
        with time_limit(timeout):
            descriptor = await connect_given(sock, address)
        descriptor.set_nodelay(1)
        return cls(descriptor)

    @classmethod
    async def connect_with_session_policy(
        cls, host: str, port: int, policy: StreamSessionPolicy, *, timeout: float | None = None
    ) -> TcpStream:
        """The same as :meth:`connect`; ``stream.session_shard`` is what `policy` chooses."""
        shard = policy.choose()
        stream = await cls.connect(host, port, timeout=timeout)
        stream.session_shard = shard
        return stream

    @classmethod
    async def connect_round_robin(
        cls, host: str, port: int, *, timeout: float | None = None
    ) -> TcpStream:
        """The same with the next shard in turn."""
        policy = StreamSessionPolicy.RoundRobin
        return await cls.connect_with_session_policy(host, port, policy, timeout=timeout)

    @classmethod
    async def connect_many_round_robin(
        cls, host: str, port: int, count: int, *, timeout: float | None = None
    ) -> list[TcpStream]:
        """`count` connections, one after the other; all or an error, then none is left open."""
        policy = StreamSessionPolicy.RoundRobin
        return await cls.connect_many_with_session_policy(
            [(host, port)] * count, policy, timeout=timeout
        )

    @classmethod
    async def connect_many_with_session_policy(
        cls,
        targets: Iterable[tuple[str, int]],
        policy: StreamSessionPolicy,
        *,
        timeout: float | None = None,
    ) -> list[TcpStream]:
        """One connection to each target; all or an error, then none is left open."""
        streams: list[TcpStream] = []
        try:
            for host, port in targets:
                streams.append(
                    await cls.connect_with_session_policy(host, port, policy, timeout=timeout)
                )
        except BaseException:
            for stream in streams:
                await stream.close()
            raise
        return streams

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, _INET, socket.SOCK_STREAM, "a TCP socket")

    def set_nodelay(self, enabled: bool) -> None:
        """TCP_NODELAY: send at once, do not wait for more."""
        self._io.set_nodelay(bool(enabled))

    def set_keepalive(
        self,
        enabled: bool,
        *,
        idle: int | None = None,
        interval: int | None = None,
        count: int | None = None,
    ) -> None:
        """SO_KEEPALIVE: ask a silent peer after `idle` seconds, then each `interval` seconds, and
        give up after `count` unanswered times; None leaves the system's value."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(enabled))
        for option, value in (
            (socket.TCP_KEEPIDLE, idle),
            (socket.TCP_KEEPINTVL, interval),
            (socket.TCP_KEEPCNT, count),
        ):
            if value is not None:
                self.setsockopt(socket.IPPROTO_TCP, option, value)


class TcpListener(Listener):
    """A listening TCP socket, SO_REUSEADDR set. Close it, or use ``async with``."""

    __slots__ = ("_local",)

    def __init__(self, descriptor: Descriptor) -> None:
        super().__init__(descriptor)
        self._local: InetAddress = super().local_addr

    @property
    def local_addr(self) -> InetAddress:
        """The address here, also after a close; with the port if 0 was asked for."""
        return self._local

    @classmethod
    async def bind(
        cls,
        host: str,
        port: int,
        *,
        backlog: int = 1024,
        reuse_port: bool = False,
        v6only: bool | None = None,
    ) -> TcpListener:
        """Listen on a name's first address or a numeric one; port 0 takes a free one, which
        ``local_addr`` has. `v6only` None leaves the system's value. For all addresses of a name
        such as "localhost" see :meth:`bind_all`."""
        family, address = (await resolve(host, port))[0]
        return cls.bind_addr(
            address, backlog=backlog, reuse_port=reuse_port, v6only=v6only, family=family
        )

    @classmethod
    async def bind_all(
        cls, host: str | None, port: int, *, backlog: int = 1024, reuse_port: bool = False
    ) -> list[TcpListener]:
        """A listener on each address of a name, so that IPv4 and IPv6 reach it; host None or ""
        is every address of the machine. All have the same port, port 0 takes one that is free for
        all. Addresses that this machine does not have are left out; ``OSError`` if none is left.
        :func:`serve` takes them together."""
        return await bind_all(cls, host, port, backlog, reuse_port)

    @classmethod
    def bind_addr(
        cls,
        address: InetAddress,
        *,
        backlog: int = 1024,
        reuse_port: bool = False,
        v6only: bool | None = None,
        family: int | None = None,
    ) -> TcpListener:
        """The same for a numeric address; does not wait."""
        check_port(check_pair(address)[1])
        backlog = within("backlog", backlog, 0, (1 << 31) - 1)
        found = family_of(address[0]) if family is None else family
        encode(found, address)  # Says what is wrong with it.
        sock = fresh(found, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if v6only is not None and found == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
            sock.bind(address)
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            error.filename = f"{address[0]}:{address[1]}"
            raise
        return cls._of_our_own(sock)

    @classmethod
    def _check(cls, sock: socket.socket) -> None:
        check_kind(sock, _INET, socket.SOCK_STREAM, "a listening TCP socket")
        check_listens(sock, "a listening TCP socket")

    @in_a_task
    async def accept(self, *, timeout: float | None = None) -> tuple[TcpStream, InetAddress]:
        """The next connection and the peer's address. ``IORING_OP_ACCEPT``, Linux 5.5.
        ``TimeoutError`` after `timeout` seconds."""
        if timeout is None:
            return await self._accept(None)
        with time_limit(timeout):
            return await self._accept(None)

    def incoming(self) -> Incoming[TcpStream, InetAddress]:
        """Connections one after another, for one task::

            async with listener.incoming() as connections:
                async for stream, address in connections:
                    ...

        See :class:`Incoming`."""
        return Incoming(self._io, TcpStream, lambda descriptor: descriptor.set_nodelay(1))

    async def accept_round_robin(self) -> tuple[TcpStream, InetAddress]:
        """The same; ``stream.session_shard`` is the next shard in turn."""
        return await self._accept(StreamSessionPolicy.RoundRobin)

    async def accept_with_session_policy(
        self, policy: StreamSessionPolicy
    ) -> tuple[TcpStream, InetAddress]:
        """The same with the shard that `policy` chooses."""
        return await self._accept(policy)

    async def _accept(self, policy: StreamSessionPolicy | None) -> tuple[TcpStream, InetAddress]:
        shard = None if policy is None else policy.choose()
        while True:
            descriptor = await self._io.accept()
            stream = TcpStream(descriptor, shard)
            try:
                descriptor.set_nodelay(1)
                return stream, stream.peer_addr
            except OSError:
                # The peer was gone before it was accepted; the listener goes on.
                await stream.close()
