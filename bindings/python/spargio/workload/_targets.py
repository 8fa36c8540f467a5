"""What a load is put on: a coroutine function, a TCP echo server, an HTTP server, a folder."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from importlib import import_module
from random import Random
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import spargio

__all__ = ("Files", "Function", "Http", "Operation", "Session", "Target", "TcpEcho", "target_of")

_BLOCK = 1 << 20


class Operation(NamedTuple):
    """What is to be done, and when it should begin."""

    number: int
    """From 0, in the order of arrival."""
    intended_ns: int
    """Of ``time.monotonic_ns()``."""
    name: str
    """From the mix."""
    size: int
    """Bytes of payload."""
    key: int
    """From the distribution of keys."""


class Session(Protocol):
    """One connection. One operation at a time."""

    async def perform(self, operation: Operation, /) -> int:
        """Do it; the result is the number of bytes moved. An exception is a failure."""

    async def close(self) -> None: ...


class Target(Protocol):
    """What makes sessions."""

    @property
    def name(self) -> str:
        """As on the command line."""

    async def connect(self) -> Session: ...


class Failed(Exception):
    """An answer that is no success; its text is the kind of error."""


def payload(size: int) -> memoryview:
    """So many bytes that do not compress, the same ones each time."""
    global _block
    if len(_block) < size:
        _block = Random(1).randbytes(max(size, _BLOCK))
    return memoryview(_block)[:size]


_block = b""


class Function:
    """A coroutine function of the program: ``module:function``. It is called with the
    :class:`Operation` if it takes an argument; an int that it returns is a number of bytes."""

    def __init__(self, function: Callable[..., Awaitable[Any]], name: str | None = None) -> None:
        import inspect

        if not callable(function):
            raise TypeError(f"function must be a coroutine function, got {function!r}")
        self._function = function
        self._takes_one = bool(inspect.signature(function).parameters)
        self.name = name or f"{function.__module__}:{getattr(function, '__qualname__', '?')}"

    @classmethod
    def named(cls, name: str) -> Function:
        """``ValueError`` if there is no such function."""
        module, _, path = name.partition(":")
        found: Any = import_module(module)
        for part in path.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise ValueError(f"target must name a function of {module}, got {path!r}") from None
        return cls(found, name)

    async def connect(self) -> Function:
        return self

    async def perform(self, operation: Operation, /) -> int:
        result = self._function(operation) if self._takes_one else self._function()
        moved = await result
        return moved if isinstance(moved, int) else 0

    async def close(self) -> None:
        pass


class TcpEcho:
    """A server that sends back what it gets: ``tcp://host:port``."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self.name = f"tcp://{host}:{port}"

    async def connect(self) -> _EchoSession:
        return _EchoSession(await spargio.net.TcpStream.connect(*self._address))


class _EchoSession:
    def __init__(self, stream: spargio.net.TcpStream) -> None:
        self._stream = stream

    async def perform(self, operation: Operation, /) -> int:
        size = operation.size
        if size <= 16384:
            await self._stream.write_all(payload(size))
            await self._stream.read_exactly(size)
        else:  # Both at once: neither side's buffers may hold all of it.
            async with spargio.TaskGroup() as group:
                group.spawn(self._stream.write_all(payload(size)))
                await self._stream.read_exactly(size)
        return 2 * size

    async def close(self) -> None:
        await self._stream.close()


class Http:
    """A server that speaks HTTP/1.1: ``http://host:port/path``. One GET per operation, on a
    connection that stays; ``{key}`` in the path is replaced. A status of 400 or more is a failure
    of the kind ``HTTP 503``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"url must be http://host[:port]/path, got {url!r}")
        self._address = parts.hostname, parts.port or 80
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.netloc
        self.name = url

    async def connect(self) -> _HttpSession:
        stream = await spargio.net.TcpStream.connect(*self._address)
        return _HttpSession(stream, self._host, self._path)


class _HttpSession:
    def __init__(self, stream: spargio.net.TcpStream, host: str, path: str) -> None:
        self._stream, self._path = stream, path
        self._rest = b""
        self._tail = f" HTTP/1.1\r\nHost: {host}\r\nUser-Agent: spargio\r\nAccept: */*\r\n\r\n"

    async def perform(self, operation: Operation, /) -> int:
        path = self._path.replace("{key}", str(operation.key))
        request = f"GET {path}{self._tail}".encode()
        await self._stream.write_all(request)
        head = await self._until(b"\r\n\r\n")
        status, headers = parse_head(head)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            size = await self._chunks()
        else:
            size = int(headers.get("content-length", "0"))
            await self._take(size)
        if status >= 400:
            raise Failed(f"HTTP {status}")
        if headers.get("connection", "").lower() == "close":
            raise ConnectionResetError("the server closes after each answer")
        return len(request) + len(head) + size

    async def _until(self, mark: bytes) -> bytes:
        data = self._rest
        while (end := data.find(mark)) < 0:
            data += await self._more()
        self._rest = data[end + len(mark) :]
        return data[: end + len(mark)]

    async def _take(self, size: int) -> None:
        have = len(self._rest)
        if have >= size:
            self._rest = self._rest[size:]
            return
        await self._stream.read_exactly(size - have)
        self._rest = b""

    async def _chunks(self) -> int:
        total = 0
        while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
            await self._take(size + 2)
            total += size
        await self._until(b"\r\n")
        return total

    async def _more(self) -> bytes:
        data = await self._stream.recv(65536)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        return data

    async def close(self) -> None:
        await self._stream.close()


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status, and headers with lower-case names."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split()
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise Failed("not an answer of HTTP/1.1")
    pairs = (line.partition(":") for line in lines if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


class Files:
    """The files of a folder, read whole: ``dir:/path``. The key chooses the file, modulo how many
    there are (at most 100,000, in the order of their names)."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = os.fspath(folder)
        self.name = f"dir:{self._folder}"
        paths = (
            os.path.join(place, name) for place, _, names in os.walk(self._folder) for name in names
        )
        self._paths = sorted(path for path in paths if os.path.isfile(path))[:100_000]
        if not self._paths:
            raise ValueError(f"folder must have files, got {self._folder!r}")

    async def connect(self) -> Files:
        return self

    async def perform(self, operation: Operation, /) -> int:
        path = self._paths[operation.key % len(self._paths)]
        return len(await spargio.fs.read(path))

    async def close(self) -> None:
        pass


def target_of(name: str) -> Target:
    """From a name as on the command line. ``ValueError`` for another form."""
    if name.startswith("tcp://"):
        parts = urlsplit(name)
        if parts.hostname and parts.port:
            return TcpEcho(parts.hostname, parts.port)
    elif name.startswith("http://"):
        return Http(name)
    elif name.startswith("dir:"):
        return Files(name.removeprefix("dir:"))
    elif ":" in name and "/" not in name:
        return Function.named(name)
    elif os.path.isdir(name):
        return Files(name)
    raise ValueError(
        "target must be module:function, tcp://host:port, http://host/path or dir:/folder, "
        f"got {name!r}"
    )
