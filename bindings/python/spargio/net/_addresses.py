"""Addresses as Python writes them, and as the kernel takes them (sockaddr, in network order)."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from .._validate import within, wrong

InetAddress = tuple[str, int] | tuple[str, int, int, int]
UnixAddress = str | bytes | bytearray | os.PathLike[str] | os.PathLike[bytes]
"""As the socket module has them: (host, port), (host, port, flowinfo, scope_id), or a Unix path,
where an abstract name is bytes that begin with a NUL."""
Address = Any
"""Of any family."""

ROOM = 128
"""Bytes of the largest address (sockaddr_storage)."""

_FAMILY = struct.Struct("=H")
_INET = struct.Struct("!H4s8x")
_INET6 = struct.Struct("!HI16s")
_SCOPE = struct.Struct("=I")
_UNIX_PATH_MAX = 108


def check_port(port: int) -> int:
    return within("port", port, 0, 65535)


def check_host(host: object, allowed: str = "a name or a numeric address") -> str:
    """``TypeError`` and ``ValueError`` for what is no host at all."""
    if isinstance(host, str) and host and "\0" not in host:
        return host
    every = "" if host else "; '0.0.0.0' or '::' is all addresses of this machine"
    if isinstance(host, str):
        raise ValueError(wrong("host", allowed, host, every))
    raise TypeError(wrong("host", f"a str, {allowed}", host, every))


def check_pair(address: object) -> tuple[Any, ...]:
    """An address as (host, port) or with flowinfo and scope_id; ``TypeError`` for anything else."""
    if isinstance(address, (tuple, list)) and 2 <= len(address) <= 4:
        return tuple(address)
    raise TypeError(wrong("address", "(host, port), or with flowinfo and scope_id", address))


def family_of(host: str) -> int:
    """AF_INET or AF_INET6 of a numeric address; ``ValueError`` for anything else."""
    check_host(host, "a numeric IPv4 or IPv6 address")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0] if family == socket.AF_INET6 else host)
        except OSError:
            continue
        return family
    raise ValueError(wrong("host", "a numeric IPv4 or IPv6 address", host))


def encode(family: int, address: Address) -> bytes:
    """A sockaddr. Hosts are numeric; an IPv6 one may name its interface: ``fe80::1%eth0``."""
    if family == socket.AF_UNIX:
        return _encode_unix(address)
    host, port, *more = check_pair(address)
    found = family_of(host)
    port = check_port(port)
    if found != family:
        names: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
        way = "; '::ffff:...' is an IPv4 address to it" if family == socket.AF_INET6 else ""
        raise ValueError(
            f"host must be an {names[family]} address, as the socket is one, got {host!r}, an "
            f"{names[found]} address{way}"
        )
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


def unix_name(path: object) -> bytes | str:
    """As the socket module takes it: a path may be any ``os.PathLike``."""
    if not isinstance(path, (str, bytes, bytearray, os.PathLike)):
        raise TypeError(wrong("a Unix address", "a path, or bytes that begin with a NUL", path))
    return bytes(path) if isinstance(path, (bytes, bytearray)) else os.fspath(path)


def _encode_unix(path: Address) -> bytes:
    name = os.fsencode(unix_name(path))
    if not name:
        raise ValueError("a Unix address must be a path or an abstract name, got none")
    abstract = name[0] == 0
    if not abstract and b"\0" in name:
        raise ValueError(wrong("path", "a name without NUL bytes", path))
    longest = _UNIX_PATH_MAX if abstract else _UNIX_PATH_MAX - 1
    if len(name) > longest:
        raise ValueError(f"a Unix address must have at most {longest} bytes, got {len(name)}")
    return _FAMILY.pack(socket.AF_UNIX) + name + (b"" if abstract else b"\0")


def decode(data: bytes | bytearray) -> Address:
    """The address in a sockaddr; None if there is none."""
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
