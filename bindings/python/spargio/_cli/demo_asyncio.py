"""The demo's service on spargio's asyncio loop: connections are asyncio's streams, files are read
and written by spargio.fs in the same tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import spargio
from spargio.asyncio import new_event_loop

from .demo_service import Service
from .demo_wire import CHUNK_BYTES

T = TypeVar("T")


class Stream:
    """What the service uses of a stream, over asyncio's reader and writer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read_exactly(self, size: int) -> bytes:
        return await self._reader.readexactly(size)

    async def recv_into(self, buffer: memoryview) -> int:
        data = await self._reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    async def write_all(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Acceptor:
    """A listening service; `failed` is set if a connection's task fails."""

    def __init__(self, service: Service) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._service = service
        self._server: asyncio.Server

    async def begin(self, host: str, port: int) -> int:
        """The port that it listens on."""
        self._server = await asyncio.start_server(
            self._connected, host, port, limit=CHUNK_BYTES, backlog=1024
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._service.receive(Stream(reader, writer))
        except Exception as error:
            if not self.failed.done():
                self.failed.set_exception(error)
        finally:
            writer.close()

    async def end(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        self.failed.cancel()


def run(work: Coroutine[Any, Any, T]) -> tuple[T, spargio.RuntimeStats]:
    """Runs it on a new loop; returns its result and the counters of the loop's shard."""
    loop = new_event_loop()
    try:
        result = loop.run_until_complete(work)
        return result, spargio.RuntimeStats.from_cbor(_runtime(loop).stats())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _runtime(loop: Any) -> Any:
    return loop._runtime
