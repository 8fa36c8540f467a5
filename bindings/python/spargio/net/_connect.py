"""A connected socket: from which address, over which socket, and what is no connection."""

from __future__ import annotations

import errno
import os
import socket
import struct

from .._ffi import opcodes
from .._ffi.core import Descriptor, native
from ..time import sleep
from ._addresses import Address, encode, unix_name
from ._socket import adopt, fresh

_LINGER_NONE = struct.pack("=ii", 1, 0)
_PORT = slice(2, 4)  # In a sockaddr of both internet families.
_RETRY_FIRST_S, _RETRY_MAX_S = 0.001, 0.05


def bound(family: int, kind: int, local: Address | None) -> socket.socket:
    """A socket of our own, bound to `local` if that is an address."""
    sock = fresh(family, kind)
    if local is None:
        return sock
    try:
        encode(family, local)  # Says what is wrong with it.
        sock.bind(unix_name(local) if family == socket.AF_UNIX else tuple(local))
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            error.filename = readable(family, local)
        raise
    return sock


async def connect_descriptor(
    family: int, kind: int, address: Address, local: Address | None = None
) -> Descriptor:
    """A connected socket of our own. ``IORING_OP_CONNECT``, Linux 5.5."""
    where = encode(family, address)
    descriptor = adopt(bound(family, kind, local))
    port_asked_for = local is not None and family != socket.AF_UNIX and local[1] != 0
    try:
        await connect(descriptor, where)
        if family != socket.AF_UNIX and not port_asked_for and _is_itself(descriptor, where):
            # Reset: the service that may come is to find its port free.
            descriptor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = readable(family, address)
        await descriptor.close()
        raise
    return descriptor


async def connect_given(sock: socket.socket, address: Address) -> Descriptor:
    """The same with a socket of the caller's, which is taken over, and closed if it fails."""
    where = encode(sock.family, address)
    family, descriptor = sock.family, adopt(sock)
    try:
        await connect(descriptor, where)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = readable(family, address)
        await descriptor.close()
        raise
    return descriptor


async def connect(descriptor: Descriptor, where: bytes) -> None:
    """connect(2). A nonblocking Unix socket is told at once that the listener has no room just now,
    and of no event when it has (connect(2), EAGAIN): it asks again."""
    pause = _RETRY_FIRST_S
    while True:
        try:
            await native.submit(
                opcodes.CONNECT, descriptor, len(where), where, 0, 0, 0, None, opcodes.NUMBER
            )
            return
        except BlockingIOError:
            if where[:2] != _UNIX:
                raise
        await sleep(pause)
        pause = min(pause * 2, _RETRY_MAX_S)


_UNIX = struct.pack("=H", socket.AF_UNIX)


def _is_itself(descriptor: Descriptor, where: bytes) -> bool:
    """The kernel may give a client the very port that it asks for, and connect it to itself: nobody
    listens there."""
    own = descriptor.sockaddr(0)
    if own[_PORT] != where[_PORT]:
        return False
    try:
        return own == descriptor.sockaddr(1)
    except OSError:  # The peer has gone already.
        return False


def readable(family: int, address: Address) -> bytes | str:
    return unix_name(address) if family == socket.AF_UNIX else f"{address[0]}:{address[1]}"
