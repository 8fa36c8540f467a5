"""TLS on the asyncio loop: its transports use the engine of spargio.tls. CPython's own tests of it are run by
``python -m tests.conformance cpython ssl``."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
import support
from wire import Contexts

import spargio.asyncio
from spargio.asyncio import _tls

SIZES = [1, 1000, 16384, 16385, 65536, 300_000]


@pytest.fixture(autouse=True)
def fresh_choice(engine: str) -> Any:
    _tls.ssl_protocol_class.cache_clear()
    yield
    _tls.ssl_protocol_class.cache_clear()


async def whole(main: Coroutine[Any, Any, None]) -> None:
    """And what the servers' side does until the end of each connection."""
    await main
    for task in asyncio.all_tasks():
        if task.get_coro().__name__ == "echo":  # type: ignore[union-attr]
            await task


def run(main: Coroutine[Any, Any, None]) -> None:
    loop = spargio.asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(whole(main), support.LIMIT_S))
    finally:
        loop.close()


def is_native(writer: asyncio.StreamWriter) -> bool:
    protocol = writer.transport._ssl_protocol  # type: ignore[attr-defined]
    return isinstance(protocol, _tls.EngineProtocol)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def test_streams(versioned: Contexts, engine: str) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=versioned[0])
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=versioned[1], server_hostname="localhost"
        )
        assert is_native(writer) == (engine == "native" and sys.version_info >= (3, 11))
        for size in SIZES:
            data = bytes(range(256)) * (size // 256 + 1)
            writer.writelines([data[:size], b"and", b"more"])
            assert await reader.readexactly(size + 7) == data[:size] + b"andmore"
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        assert writer.get_extra_info("cipher") == writer.get_extra_info("ssl_object").cipher()
        assert writer.get_extra_info("peercert")["subjectAltName"]
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


class Into(asyncio.BufferedProtocol):
    """Reads into memory of its own."""

    def __init__(self) -> None:
        self.memory = bytearray(1000)
        self.got = bytearray()
        self.ended = asyncio.get_running_loop().create_future()

    def get_buffer(self, _: int) -> memoryview:  # type: ignore[override]
        return memoryview(self.memory)

    def buffer_updated(self, count: int) -> None:
        self.got += self.memory[:count]

    def eof_received(self) -> None:
        self.got += b"|"

    def connection_lost(self, error: BaseException | None) -> None:
        self.ended.set_result(error)


def test_a_protocol_with_buffers(contexts: Contexts) -> None:
    data = bytes(range(256)) * 1000

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(send, "127.0.0.1", 0, ssl=contexts[0])
        port = server.sockets[0].getsockname()[1]
        _, protocol = await asyncio.get_running_loop().create_connection(
            Into, "127.0.0.1", port, ssl=contexts[1], server_hostname="localhost"
        )
        assert await protocol.ended is None
        assert protocol.got == data + b"|"
        server.close()
        await server.wait_closed()

    run(main())


class Paused(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.arrived.set()

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost.set()


def test_pause_and_resume(contexts: Contexts) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=contexts[0])
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await asyncio.get_running_loop().create_connection(
            Paused, "127.0.0.1", port, ssl=contexts[1], server_hostname="localhost"
        )
        transport.pause_reading()
        transport.write(b"x" * 200_000)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert protocol.got == b""
        transport.resume_reading()
        while len(protocol.got) < 200_000:
            protocol.arrived.clear()
            await protocol.arrived.wait()
        assert protocol.got == b"x" * 200_000
        transport.close()
        await protocol.lost.wait()
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls came with 3.11")
def test_start_tls_on_streams(contexts: Contexts) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"ready\n")
        await reader.readline()
        await writer.start_tls(contexts[0])
        await echo(reader, writer)

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readline() == b"ready\n"
        writer.write(b"go\n")
        await writer.start_tls(contexts[1], server_hostname="localhost")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_start_tls_over_tls(contexts: Contexts) -> None:
    loop_limit = 5

    async def main() -> None:
        loop = asyncio.get_running_loop()
        inner_ready = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport

            def data_received(self, data: bytes) -> None:
                if data == b"go":
                    self.task = loop.create_task(self.upgrade())
                else:
                    self.transport.write(data.upper())  # type: ignore[attr-defined]

            async def upgrade(self) -> None:
                self.transport.write(b"yes")  # type: ignore[attr-defined]
                self.transport = await loop.start_tls(  # type: ignore[assignment]
                    self.transport,
                    self,
                    contexts[0],
                    server_side=True,  # type: ignore[arg-type]
                )
                inner_ready.set_result(None)

        server = await loop.create_server(Server, "127.0.0.1", 0, ssl=contexts[0])
        port = server.sockets[0].getsockname()[1]
        outer, protocol = await loop.create_connection(
            Paused, "127.0.0.1", port, ssl=contexts[1], server_hostname="localhost"
        )
        outer.write(b"go")
        await protocol.arrived.wait()
        inner = await loop.start_tls(outer, protocol, contexts[1], server_hostname="localhost")
        assert inner is not None
        await asyncio.wait_for(inner_ready, loop_limit)
        protocol.got = b""
        inner.write(b"a" * 100_000)
        while len(protocol.got) < 100_000:
            protocol.arrived.clear()
            await asyncio.wait_for(protocol.arrived.wait(), loop_limit)
        assert protocol.got == b"A" * 100_000
        inner.abort()
        await protocol.lost.wait()
        server.close()
        await server.wait_closed()

    if sys.version_info < (3, 11):
        pytest.skip("TLS in TLS came with 3.11")
    run(main())


def test_a_certificate_that_is_refused(contexts: Contexts) -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=contexts[0])
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=True, server_hostname="localhost")
        server.close()
        await server.wait_closed()

    run(main())
