"""Listeners on all addresses of a name, with one port."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from ._resolve import Found, resolve

if TYPE_CHECKING:
    from ._tcp import TcpListener

_MISSING_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
"""A family or an address that this machine does not have."""

_PORTS_TRIED_MAX = 32


async def bind_all(
    kind: type[TcpListener], host: str | None, port: int, backlog: int, reuse_port: bool
) -> list[TcpListener]:
    if host:
        found = list(dict.fromkeys((family, tuple(at)) for family, at in await resolve(host, port)))
    else:
        found = [(socket.AF_INET6, ("::", port)), (socket.AF_INET, ("0.0.0.0", port))]
    for attempt in range(_PORTS_TRIED_MAX):
        try:
            return await _bind_each(kind, found, backlog, reuse_port)
        except OSError as error:
            # The port that was free for the first address may be taken for another.
            last = attempt == _PORTS_TRIED_MAX - 1
            if port or error.errno != errno.EADDRINUSE or last:
                raise
    raise AssertionError("unreachable")


async def _bind_each(
    kind: type[TcpListener], found: list[Found], backlog: int, reuse_port: bool
) -> list[TcpListener]:
    listeners: list[TcpListener] = []
    missing: OSError | None = None
    try:
        for family, address in found:
            port = address[1] or (listeners[0].local_addr[1] if listeners else 0)
            try:
                listener = kind.bind_addr(
                    (address[0], port, *address[2:]),
                    backlog=backlog,
                    reuse_port=reuse_port,
                    v6only=True,
                    family=family,
                )
            except OSError as error:
                if error.errno not in _MISSING_HERE:
                    raise
                missing = missing or error
            else:
                listeners.append(listener)
        if not listeners and missing is not None:
            raise missing
    except BaseException:
        for listener in listeners:
            await listener.close()
        raise
    finally:
        missing = None  # Its frame is this one.
    return listeners
