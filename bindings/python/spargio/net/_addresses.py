"""Addresses as Python writes them, and as the kernel takes them (sockaddr, in network order)."""

from __future__ import annotations

import os
import socket
import struct

from .._counts import within

InetAddress = tuple[str, int] | tuple[str, int, int, int]
UnixAddress = str | bytes | bytearray | os.PathLike[str] | os.PathLike[bytes]
Address = InetAddress | UnixAddress
"""As the socket module has them: (host, port), (host, port, flowinfo, scope_id), or a Unix path,
where an abstract name is bytes that begin with a NUL."""

ROOM = 128
"""Bytes of the largest address (sockaddr_storage)."""

_FAMILY = struct.Struct("=H")
_INET = struct.Struct("!H4s8x")
_INET6 = struct.Struct("!HI16s")
_SCOPE = struct.Struct("=I")
_UNIX_PATH_MAX = 108


def check_port(port: int) -> int:
    return within("port", port, 0, 65535)


def family_of(host: str) -> int:
    """AF_INET or AF_INET6 of a numeric address; ``ValueError`` for anything else."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0] if family == socket.AF_INET6 else host)
        except OSError:
            continue
        return family
    raise ValueError(f"host is {host!r}: allowed is a numeric IPv4 or IPv6 address")


def encode(family: int, address: Address) -> bytes:
    """A sockaddr. Hosts are numeric; an IPv6 one may name its interface: ``fe80::1%eth0``."""
    if family == socket.AF_UNIX:
        return _encode_unix(address)
    if not isinstance(address, (tuple, list)) or not 2 <= len(address) <= 4:
        raise TypeError(
            f"address is {address!r}: allowed is (host, port), or with flowinfo and scope_id"
        )
    host, port, *more = address
    if not isinstance(host, str):
        raise TypeError(f"host is {host!r}: allowed is a numeric address, a str")
    port = check_port(port)
    if family == socket.AF_INET:
        return _FAMILY.pack(family) + _INET.pack(port, socket.inet_pton(family, host))
    name, _, interface = host.partition("%")
    flow = within("flowinfo", more[0] if more else 0, 0, 0xFFFFF)
    scope = more[1] if len(more) > 1 else 0
    if interface:
        scope = int(interface) if interface.isdecimal() else socket.if_nametoindex(interface)
    scope = within("scope_id", scope, 0, 0xFFFFFFFF)
    packed = _INET6.pack(port, flow, socket.inet_pton(family, name))
    return _FAMILY.pack(family) + packed + _SCOPE.pack(scope)


def unix_name(path: Address) -> bytes | str:
    """As the socket module takes it: a path may be any ``os.PathLike``."""
    return bytes(path) if isinstance(path, (bytes, bytearray)) else os.fspath(path)


def _encode_unix(path: Address) -> bytes:
    name = os.fsencode(unix_name(path))
    if not name:
        raise ValueError("a Unix address is empty: allowed is a path or an abstract name")
    abstract = name[0] == 0
    if not abstract and b"\0" in name:
        raise ValueError(f"path is {path!r}: a path cannot contain a NUL byte")
    longest = _UNIX_PATH_MAX if abstract else _UNIX_PATH_MAX - 1
    if len(name) > longest:
        raise ValueError(f"a Unix address of {len(name)} bytes: allowed are {longest}")
    return _FAMILY.pack(socket.AF_UNIX) + name + (b"" if abstract else b"\0")


def decode(data: bytes | bytearray) -> Address:
    """The address in a sockaddr; None where there is none."""
    if len(data) < 2:
        return None
    (family,) = _FAMILY.unpack_from(data)
    if family == socket.AF_INET:
        port, host = _INET.unpack_from(data, 2)
        return socket.inet_ntop(family, host), port
    if family == socket.AF_INET6:
        port, flow, host = _INET6.unpack_from(data, 2)
        (scope,) = _SCOPE.unpack_from(data, 24)
        return socket.inet_ntop(family, host), port, flow, scope
    if family == socket.AF_UNIX:
        name = bytes(data[2:])
        if not name:
            return ""
        return name if name[0] == 0 else os.fsdecode(name.partition(b"\0")[0])
    return family, bytes(data[2:])
