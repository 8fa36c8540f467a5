"""What the package's Python code takes apart, or puts together for the kernel: socket addresses, statx,
SQEs, options, the environment, the demo's wire format. Bad values are a ValueError or TypeError."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any

from data import Data

import spargio
from spargio import net
from spargio._cli.demo_service import Service
from spargio._cli.demo_wire import HEADER, WireError, check_name
from spargio._ffi.core import native
from spargio._ffi.sqe import FIELDS, Sqe
from spargio.fs import _metadata
from spargio.net import _addresses
from spargio.options import OPTION_NAMES, IdleStrategy, RuntimeBuilder

HOSTS = [
    "127.0.0.1",
    "::1",
    "fe80::1%1",
    "fe80::1%lo",
    "0.0.0.0",
    "::",
    "::ffff:1.2.3.4",
    "localhost",
]


def numeric(family: int, host: str) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def addresses(data: Data) -> None:
    family = data.choose([socket.AF_INET, socket.AF_INET6])
    host = data.choose(HOSTS) if data.flag() else data.text()
    parts = [data.anything() if data.number() % 8 == 0 else data.integer() for _ in range(3)]
    address: Any = (host, *parts[: data.number() % 4])
    if data.number() % 16 == 0:
        address = data.anything()
    try:
        found = _addresses.family_of(host)
        assert numeric(found, host.partition("%")[0] if found == socket.AF_INET6 else host)
    except ValueError:
        assert not numeric(socket.AF_INET, host) and not numeric(socket.AF_INET6, host)
    try:
        encoded = _addresses.encode(family, address)
    except (ValueError, TypeError, OSError):
        return
    decoded = _addresses.decode(encoded)
    assert _addresses.encode(family, decoded) == encoded
    # The kernel's own view of the same bytes: a socket that is bound to it, where it can be.
    if family == socket.AF_INET and decoded[0].startswith("127."):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            with contextlib.suppress(OSError):
                sock.bind((decoded[0], 0))
                name = _addresses.encode(family, sock.getsockname())
                assert _addresses.decode(name) == sock.getsockname()


def unix(data: Data) -> None:
    name: Any = b"\0" + data.take(120) if data.flag() else data.anything([data.text(), data.blob()])
    try:
        encoded = _addresses.encode(socket.AF_UNIX, name)
    except (ValueError, TypeError):
        return
    decoded = _addresses.decode(encoded)
    assert _addresses.encode(socket.AF_UNIX, decoded) == encoded
    if encoded[2] != 0:
        assert decoded == os.fsdecode(name)
        return
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(decoded)
        except OSError:
            return
        assert sock.getsockname() == decoded


def from_the_kernel(data: Data) -> None:
    """Any family. An address of the internet is whole, others may end anywhere."""
    family = data.choose([socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, data.number(2)])
    raw = struct.pack("=H", family) + data.take(126)
    whole = {socket.AF_INET: 16, socket.AF_INET6: 28}.get(family, 0)
    decoded = _addresses.decode(raw.ljust(whole, b"\0"))
    assert isinstance(decoded, (tuple, str, bytes))
    assert _addresses.decode(raw[: data.number() % 2]) is None


def statx(data: Data) -> None:
    raw = bytearray(data.take(_metadata.SIZE).ljust(_metadata.SIZE, b"\0"))
    for at in (136, 140):  # The kernel's device numbers have 32 bits in all.
        raw[at + 3] &= 0x7F
    found = _metadata.parse(raw)
    mode, size = struct.unpack_from("=H", raw, 28)[0], struct.unpack_from("=Q", raw, 40)[0]
    assert (found.mode, found.size, found.mask) == (mode, size, struct.unpack_from("=I", raw)[0])
    assert found.inode == struct.unpack_from("=Q", raw, 32)[0]
    assert os.major(found.device) == struct.unpack_from("=I", raw, 136)[0]
    assert os.minor(found.device) == struct.unpack_from("=I", raw, 140)[0]
    assert sum([found.is_file(), found.is_dir(), found.is_symlink()]) <= 1
    assert (found.created_ns is None) == (not found.mask & _metadata.BIRTH)


def sqe(data: Data) -> None:
    names = [*FIELDS]
    entry = Sqe()
    for _ in range(data.number() % 8):
        name = data.choose(names) if data.number() % 16 else data.text()
        value: Any = data.integer() if data.number() % 8 else data.anything()
        try:
            setattr(entry, name, value)
        except (ValueError, TypeError, AttributeError):
            continue
        bits, signed = FIELDS[name]
        assert getattr(entry, name) == int(value) == value
        assert not isinstance(value, int) or -(1 << bits - 1) * signed <= value < 1 << bits
    given: Any = entry if data.number() % 8 else data.anything()
    try:
        native.submit_sqe(given, data.anything() if data.number() % 8 == 0 else ())
    except (ValueError, TypeError, BufferError) as error:
        assert "expected" in str(error) or str(error)
        return
    if given is entry:
        assert ctypes.string_at(ctypes.addressof(entry) + 32, 8) == bytes(8)  # user_data


def options(data: Data) -> None:
    builder = RuntimeBuilder()
    for _ in range(data.number() % 6):
        name = data.choose(OPTION_NAMES)
        how = data.number() % 6
        value: Any = data.integer() if how < 3 else data.anything()
        if how == 4:
            value = [data.integer() for _ in range(data.number() % 5)]
        if how == 5:
            value = data.choose(
                [
                    *(
                        True,
                        False,
                        "mutex",
                        "lock_free",
                        "epoll",
                        "auto",
                        "spin",
                        data.text(),
                        "abc",
                    ),
                    IdleStrategy.sleep(data.anything()),
                    IdleStrategy(data.anything()),
                ]
            )
        # NotImplementedError is an iterable's own; OSError is of a file of options that cannot be read.
        with contextlib.suppress(ValueError, TypeError, NotImplementedError, OSError):
            builder.apply(**{name: value})
    with contextlib.suppress(ValueError):
        assert builder.address()


def environment(data: Data) -> None:
    value = data.text().replace("\0", "")
    before = os.environ.get("SPARGIO_BACKEND")
    os.environ["SPARGIO_BACKEND"] = value
    try:
        RuntimeBuilder().address()
        assert value in ("", "auto", "io_uring", "epoll"), value
    except ValueError as error:
        assert value not in ("", "auto", "io_uring", "epoll"), error
    finally:
        del os.environ["SPARGIO_BACKEND"]
        if before is not None:
            os.environ["SPARGIO_BACKEND"] = before


class Started:
    runtime: spargio.Runtime | None = None
    folder: tempfile.TemporaryDirectory[str] | None = None


def wire(data: Data) -> None:
    """One connection to the demo's service, with what the input says."""
    if Started.runtime is None:
        Started.runtime = RuntimeBuilder().shards(1).build()
        Started.folder = tempfile.TemporaryDirectory(prefix="spargio-fuzz-")
    assert Started.folder is not None
    content = data.blob()
    name = data.blob()
    size = len(content) if data.number() % 4 else data.number(8)
    name_size = len(name) if data.number() % 4 else data.number(2)
    raw = HEADER.pack(size, name_size) + name + content
    if data.number() % 4 == 0:
        raw = raw[: data.number(2)]
    service = Service(Path(Started.folder.name))

    async def main() -> bytes:
        ours, theirs = net.UnixStream.pair()
        async with ours:

            async def served() -> None:  # As net.serve does it.
                async with theirs:
                    await service.receive(theirs)  # type: ignore[arg-type]

            job = spargio.current_handle().spawn_stealable(served())
            with contextlib.suppress(OSError):  # It may leave early.
                await ours.write_all(raw)
                await ours.shutdown()
            answer = b""
            with contextlib.suppress(OSError):
                while piece := await ours.recv(64):
                    answer += piece
            await job
        return answer

    answer = Started.runtime.handle().spawn_stealable(main()).result(20)
    assert len(service.stored) + len(service.problems) == 1
    given_size, given_name_size = HEADER.unpack(raw[:10].ljust(10, b"\0"))
    given_name = raw[10 : 10 + given_name_size]
    rest = raw[10 + given_name_size :]
    try:
        check_name(given_name)
        good = len(raw) >= 10 and len(given_name) == given_name_size and len(rest) >= given_size
    except WireError:
        good = False
    assert (given_name in service.stored) == good, service.problems
    if good:
        assert answer == hashlib.sha256(rest[:given_size]).digest()
    else:
        assert answer == b""
    assert not good or service.stored[given_name].path.read_bytes() == rest[:given_size]
    service.clear()


PARTS = [
    addresses,
    addresses,
    unix,
    from_the_kernel,
    statx,
    sqe,
    options,
    options,
    environment,
    wire,
]


def one(raw: bytes) -> None:
    data = Data(raw)
    data.choose(PARTS)(data)


def finish() -> None:
    if Started.runtime is not None:
        Started.runtime.shutdown()
    if Started.folder is not None:
        Started.folder.cleanup()
