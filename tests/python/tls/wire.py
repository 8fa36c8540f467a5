"""Peers of TLS streams: a pair of streams, and one that is led byte by byte over a plain socket."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import support

import spargio
from spargio import net, tls

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


class Names(NamedTuple):
    """Files with the server's chain, its key, and who issued it."""

    chain: Path
    key: Path
    trust: Path


@asynccontextmanager
async def pair(
    contexts: Contexts, *, server: dict[str, Any] | None = None, **client: Any
) -> AsyncIterator[tuple[tls.TlsStream[Any], tls.TlsStream[Any]]]:
    """Two TLS streams that are connected: the client, the server. Closed at the end."""
    one, other = net.UnixStream.pair()
    client.setdefault("server_hostname", "localhost")
    try:
        async with spargio.TaskGroup() as group:
            left = group.spawn(tls.wrap(one, contexts[1], **client))
            right = group.spawn(tls.wrap(other, contexts[0], server_side=True, **(server or {})))
    except BaseException:
        await one.close()
        await other.close()
        raise
    near, far = await left, await right
    try:
        yield near, far
    finally:
        await near.close()
        await far.close()


class Peer:
    """The other side, on an ordinary thread: each record is in its hands before it is sent."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server_side: bool, name: str | None
    ) -> None:
        sock.settimeout(support.LIMIT_S)
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=name
        )
        self.deliver: Callable[[bytes], None] = sock.sendall

    def flush(self) -> None:
        if data := self.outgoing.read():
            self.deliver(data)

    def step(self, function: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                result = function(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            except ssl.SSLError:
                with suppress(OSError):
                    self.flush()  # The alert.
                raise
            else:
                self.flush()
                return result

    def handshake(self) -> None:
        self.step(self.ssl.do_handshake)

    def read(self, size: int = 65536) -> bytes:
        data: bytes = self.step(self.ssl.read, size)
        return data

    def seal(self, data: bytes) -> bytes:
        """A record, or several, not sent."""
        self.ssl.write(data)
        return self.outgoing.read()

    def write(self, data: bytes) -> None:
        self.deliver(self.seal(data))

    def byte_by_byte(self, data: bytes) -> None:
        for index in range(len(data)):
            self.sock.sendall(data[index : index + 1])


def plain_pair() -> tuple[net.UnixStream, socket.socket]:
    """A spargio stream and a Python socket that are connected."""
    one, other = socket.socketpair()
    other.settimeout(support.LIMIT_S)
    return net.UnixStream.from_socket(one), other
