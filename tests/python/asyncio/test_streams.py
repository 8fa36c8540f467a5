"""asyncio's streams on the loop: `read` is native, and the rest is asyncio's, on the same state."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from spargio.asyncio import _stream, run

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]
LIMIT_S = 30.0


def on_pair(body: Callable[..., Awaitable[Any]], **options: Any) -> Any:
    """`body(reader, writer, peer)`, with a socket at the other end."""

    async def main() -> Any:
        near, far = socket.socketpair()
        far.settimeout(LIMIT_S)
        reader, writer = await asyncio.open_connection(sock=near, **options)
        with far:
            try:
                return await asyncio.wait_for(body(reader, writer, far), LIMIT_S)
            finally:
                writer.close()
                with contextlib.suppress(OSError):  # What ended the connection.
                    await writer.wait_closed()

    return run(main())


def test_reads_in_pieces_and_mixed_with_lines() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> list[bytes]:
        far.sendall(b"0123456789line\nrest")
        found = [await reader.read(4), await reader.readexactly(6), await reader.readline()]
        found.append(await reader.read(100))
        far.shutdown(socket.SHUT_WR)
        found += [await reader.read(10), await reader.read(), await reader.read(0)]
        assert reader.at_eof()
        return found

    assert on_pair(body) == [b"0123", b"456789", b"line\n", b"rest", b"", b"", b""]


def test_a_read_is_taken_where_a_coroutine_is() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> list[bytes]:
        waiting = reader.read(1)
        assert asyncio.iscoroutine(waiting)
        found = []
        for start in (asyncio.create_task, asyncio.ensure_future, asyncio.gather):
            task = start(waiting)
            await asyncio.sleep(0)
            far.sendall(b"x")
            found.append(await task)
            waiting = reader.read(1)
        far.sendall(b"y")
        found.append(await waiting)
        with pytest.raises(RuntimeError, match="already awaited"):
            await waiting
        return found

    assert on_pair(body) == [b"x", b"x", [b"x"], b"y"]


def test_a_cancelled_read_loses_nothing() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> bytes:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(10), 0.001)
        task = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        far.sendall(b"kept")
        while not reader._buffer:
            await asyncio.sleep(0)
        task.cancel()  # Its data has come, and it was told so.
        with pytest.raises(asyncio.CancelledError):
            await task
        return bytes(await reader.read(10))

    assert on_pair(body) == b"kept"


def test_one_reads_at_a_time() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> bytes:
        first = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        for other in (reader.read(10), reader.readline(), reader.readexactly(3)):
            with pytest.raises(RuntimeError, match="already waiting for incoming data"):
                await other
        far.sendall(b"a")
        assert await first == b"a"
        line = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"read\(\) called while another coroutine"):
            await reader.read(10)
        far.sendall(b"b\n")
        return bytes(await line)

    assert on_pair(body) == b"b\n"


def test_a_reader_that_lags_stops_the_peer() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> int:
        whole = b"z" * 4_000_000
        sending = asyncio.get_running_loop().run_in_executor(None, far.sendall, whole)
        while writer.transport.is_reading():
            await asyncio.sleep(0)
        assert len(reader._buffer) <= 2 * 4096 + 256 * 1024
        size = 0
        while size < len(whole):
            piece = await reader.read(1 << 20)
            assert piece == b"z" * len(piece)
            size += len(piece)
        await sending
        return size

    assert on_pair(body, limit=4096) == 4_000_000


def test_an_exception_of_the_reader_ends_a_read() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> None:
        task = asyncio.ensure_future(reader.read(10))
        await asyncio.sleep(0)
        reader.set_exception(ValueError("gone"))
        for waiting in (task, reader.read(10), reader.readline()):
            with pytest.raises(ValueError, match="gone"):
                await waiting

    on_pair(body)


def test_drain_waits_for_a_peer_that_lags_and_says_that_it_is_gone() -> None:
    async def body(reader: Any, writer: Any, far: socket.socket) -> None:
        await writer.drain()
        writer.write(b"q" * 8_000_000)
        task = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        assert not task.done()
        size = 0
        loop = asyncio.get_running_loop()
        while size < 8_000_000:
            size += len(await loop.run_in_executor(None, far.recv, 1 << 20))
        await task
        far.close()
        assert await reader.read(10) == b""
        writer.write(b"lost")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                writer.write(b"lost")
                await writer.drain()
                await asyncio.sleep(0)

    on_pair(body)


@pytest.mark.parametrize("limit", [4.5, 1e6, float("inf"), 2**63, 2**80])
def test_a_limit_is_any_number_that_compares(limit: float) -> None:
    """asyncio compares it with lengths, and no more."""

    async def body(reader: Any, writer: Any, far: socket.socket) -> bytes:
        far.sendall(b"line\nrest")
        far.shutdown(socket.SHUT_WR)
        await reader.readexactly(1)
        return bytes(await reader.readline()) + bytes(await reader.read(100))

    assert on_pair(body, limit=limit) == b"ine\nrest"


@pytest.mark.parametrize(
    ("high", "low", "marks"),
    [
        (1000.5, 10.5, (10, 1000)),
        (float("inf"), 0, (0, 1 << 60)),
        (2**80, None, (1 << 60, 1 << 60)),
    ],
)
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_marks_of_a_transport_are_any_numbers_that_compare(
    kind: socket.SocketKind, high: Any, low: Any, marks: tuple[int, int]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair(socket.AF_UNIX, kind)
        transport: Any
        if kind == socket.SOCK_STREAM:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        else:
            transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=near)
        with far, contextlib.closing(transport):
            transport.set_write_buffer_limits(high, low)
            assert transport.get_write_buffer_limits() == marks

    run(main())


def test_a_connection_that_never_began_is_not_counted_as_ended(
    monkeypatch: pytest.MonkeyPatch, unraisables: Any
) -> None:
    """Its server counts those that it has: one too few, and it would end while one is open."""
    calls: list[str] = []

    def refuse(transport: object, protocol: object) -> None:
        raise MemoryError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        monkeypatch.setattr(type(server), "_detach", lambda *_: calls.append("detached"))
        monkeypatch.setattr(_stream, "adopt", refuse)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address, LIMIT_S) as client:
            client.setblocking(False)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(loop.sock_recv(client, 1), LIMIT_S) == b""
        server.close()

    run(main())
    gc.collect()
    assert calls == []
    assert {one.kind for one in unraisables.take()} <= {ResourceWarning}  # Nobody closed it.
