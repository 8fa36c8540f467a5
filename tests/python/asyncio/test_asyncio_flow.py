"""Flow control, ends of streams, buffered protocols, and the order in which a protocol is called."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import socket
from pathlib import Path
from typing import Any

import aio
import pytest

from spargio.asyncio import run


class Flow(aio.Recorder):
    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


# ---- flow control ----


def test_the_marks_are_exact_and_take_effect_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected(Flow)
        transport.set_write_buffer_limits(high=1 << 30)
        while transport.get_write_buffer_size() == 0:
            transport.write(bytes(65536))
            await asyncio.sleep(0)
        protocol.calls.clear()
        size = transport.get_write_buffer_size()
        transport.set_write_buffer_limits(high=size + 10, low=size)
        transport.write(bytes(10))  # At the mark: not above it.
        assert "pause" not in protocol.calls
        transport.write(b"x")
        assert protocol.calls == ["pause"]
        transport.write(b"x")
        assert protocol.calls == ["pause"]
        assert transport.get_write_buffer_limits() == (size, size + 10)
        received = 0
        while "resume" not in protocol.calls:
            received += len(await loop.sock_recv(theirs, 4096))
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() <= size
        transport.set_write_buffer_limits(high=0)
        protocol.calls.clear()
        transport.write(bytes(1 << 20))
        assert protocol.calls == ["pause"]
        transport.abort()
        await protocol.closed
        assert "resume" not in protocol.calls  # It is over: nothing may be written any more.
        theirs.close()

    run(main())


@pytest.mark.parametrize(
    ("high", "low"), ((-1, None), (10, 20), (None, -5)), ids=("negative", "reversed", "low")
)
def test_wrong_marks(high: int | None, low: int | None) -> None:
    async def main() -> None:
        transport, protocol, theirs = await aio.connected(Flow)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=high, low=low)
        transport.close()
        await protocol.closed
        theirs.close()

    run(main())


def test_a_protocol_may_close_in_its_flow_callbacks() -> None:
    class Closes(Flow):
        def pause_writing(self) -> None:
            super().pause_writing()
            self.transport.abort()

    async def main() -> None:
        transport, protocol, theirs = await aio.connected(Closes)
        while not transport.is_closing():
            transport.write(bytes(65536))
        assert await protocol.closed is None
        assert protocol.calls == ["made", "pause", "lost"]
        theirs.close()

    run(main())


def test_nothing_is_delivered_after_pause_or_close() -> None:
    """Though the kernel has handed over more: with pauses it comes after the resume."""

    class Pauses(aio.Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            assert not paused
            paused.append(1)
            self.transport.pause_reading()

    paused: list[int] = []

    async def main() -> None:
        transport, protocol, theirs = await aio.connected(Pauses)
        expected = bytearray()
        for n in range(200):
            theirs.send(b"%d," % n)
            expected += b"%d," % n
        theirs.shutdown(socket.SHUT_WR)
        while len(protocol.data) < len(expected):
            await aio.until(lambda: paused)
            await asyncio.sleep(0.001)
            assert "eof" not in protocol.calls
            paused.clear()
            transport.resume_reading()
        assert protocol.data == expected
        await protocol.closed
        assert protocol.calls[-2:] == ["eof", "lost"]
        theirs.close()

        class Closes(aio.Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.close()

        _, protocol, theirs = await aio.connected(Closes)
        for _ in range(50):
            theirs.send(b"x")
        await protocol.closed
        assert protocol.calls == ["made", "data", "lost"]
        theirs.close()

    run(main())


def test_a_pause_in_connection_made_holds() -> None:
    class Paused(aio.Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        transport, protocol, theirs = await aio.connected(Paused)
        theirs.send(b"x")
        await asyncio.sleep(0.01)
        assert protocol.calls == ["made"] and not transport.is_reading()
        transport.resume_reading()
        transport.resume_reading()
        await aio.until(lambda: protocol.data)
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        await protocol.closed
        theirs.close()

    run(main())


# ---- ends ----


def test_eof_received_decides_who_closes() -> None:
    class KeepsOpen(aio.Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            return True

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected(KeepsOpen)
        theirs.shutdown(socket.SHUT_WR)
        await aio.until(lambda: "eof" in protocol.calls)
        transport.write(b"still")
        assert await loop.sock_recv(theirs, 10) == b"still"
        transport.close()
        await protocol.closed
        assert protocol.calls == ["made", "eof", "lost"]
        theirs.close()
        transport, protocol, theirs = await aio.connected()
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        await protocol.closed
        assert protocol.calls == ["made", "data", "eof", "lost"]
        theirs.close()

    run(main())


def test_write_eof_comes_after_what_was_written() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected()
        assert transport.can_write_eof()
        size = 3_000_000
        transport.write(bytes(size))
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.write(b"x")
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.writelines([b"x"])
        received = 0
        while data := await loop.sock_recv(theirs, 1 << 20):
            received += len(data)
        assert received == size
        theirs.send(b"answer")
        await aio.until(lambda: protocol.data == b"answer")
        theirs.close()
        await protocol.closed

    run(main())


def test_close_sends_what_was_written_and_abort_does_not() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected()
        transport.write(bytes(3_000_000))
        transport.close()
        assert transport.is_closing() and "lost" not in protocol.calls
        received = 0
        while data := await loop.sock_recv(theirs, 1 << 20):
            received += len(data)
        assert received == 3_000_000 and await protocol.closed is None
        theirs.close()
        transport, protocol, theirs = await aio.connected()
        transport.write(bytes(3_000_000))
        transport.abort()
        assert "lost" not in protocol.calls  # Never from inside a call of the protocol's own.
        assert await protocol.closed is None
        theirs.close()

    run(main())


def test_writes_after_the_end_are_counted_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        transport, protocol, theirs = await aio.connected()
        theirs.close()
        transport.write(b"x")
        await protocol.closed
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(20):
                transport.write(b"x")
        assert "socket.send() raised exception" in caplog.text
        transport.close()
        transport.abort()
        assert protocol.calls.count("lost") == 1

    run(main())


def test_a_broken_pipe_is_told_once() -> None:
    """Also to one that never reads."""

    class Deaf(aio.Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        transport, protocol, theirs = await aio.connected(Deaf)
        transport.write(bytes(1 << 22))
        theirs.close()
        error = await asyncio.wait_for(protocol.closed, aio.LIMIT_S)
        assert isinstance(error, (BrokenPipeError, ConnectionResetError))
        assert protocol.calls == ["made", "lost"]

    run(main())


def test_a_reset_is_the_argument_of_connection_lost() -> None:
    import struct

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            _, protocol = await loop.create_connection(aio.Recorder, *listener.getsockname())
            peer, _ = listener.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            assert isinstance(await protocol.closed, ConnectionResetError)

    run(main())


# ---- what is handed over ----


@pytest.mark.parametrize("data", (b"x" * 10, bytearray(10), memoryview(bytes(10)), memoryview(b"")))
def test_what_may_be_written(data: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected()
        transport.write(data)
        transport.writelines([data, data])
        transport.writelines(iter([data]))
        transport.writelines([])
        transport.write(b"end")
        received = b""
        while not received.endswith(b"end"):
            received += await loop.sock_recv(theirs, 100)
        assert received == bytes(data) * 4 + b"end"
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError, match="bytes-like"):
                transport.write(wrong)
        transport.close()
        await protocol.closed
        theirs.close()

    run(main())


def test_a_buffered_protocol_gets_its_own_buffers() -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(1000)
            self.data = bytearray()
            self.hints: list[int] = []

        def connection_made(self, transport: Any) -> None:
            self.closed = asyncio.get_running_loop().create_future()

        def get_buffer(self, hint: int) -> bytearray:
            self.hints.append(hint)
            return self.buffer

        def buffer_updated(self, count: int) -> None:
            self.data += self.buffer[:count]

        def connection_lost(self, error: BaseException | None) -> None:
            self.closed.set_result(error)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await aio.connected(Buffered)
        data = os.urandom(1_500_000)
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, data))
        await aio.until(lambda: len(protocol.data) == len(data))
        await sending
        assert protocol.data == data and all(hint == -1 or hint > 0 for hint in protocol.hints)
        other = aio.Recorder()
        other.connection_made(transport)
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        theirs.send(b"x")
        await aio.until(lambda: other.data == b"x")
        theirs.close()
        await other.closed

    run(main())


@pytest.mark.parametrize("wrong", (b"bytes", bytearray(), None), ids=("fixed", "empty", "none"))
def test_a_buffer_that_does_not_serve_ends_the_connection(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(asyncio.BufferedProtocol):
        def connection_made(self, transport: Any) -> None:
            self.closed = asyncio.get_running_loop().create_future()

        def get_buffer(self, hint: int) -> Any:
            return wrong

        def buffer_updated(self, count: int) -> None:
            raise AssertionError

        def connection_lost(self, error: BaseException | None) -> None:
            self.closed.set_result(error)

    async def main() -> None:
        _, protocol, theirs = await aio.connected(Broken)
        theirs.send(b"x")
        assert await protocol.closed is not None
        theirs.close()

    run(main())
    assert "get_buffer() call failed" in caplog.text


# ---- sendfile ----


def test_sendfile_and_writes_keep_their_order(tmp_path: Path) -> None:
    data = os.urandom(2_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, protocol = await loop.create_connection(
                aio.Recorder, *listener.getsockname()
            )
            peer, _ = listener.accept()
            peer.setblocking(False)
            received = bytearray()

            async def receive() -> None:
                while chunk := await loop.sock_recv(peer, 1 << 18):
                    received.extend(chunk)

            receiving = asyncio.ensure_future(receive())
            transport.write(b"before")
            with path.open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(transport, file, 1000, 1_500_000))
                await asyncio.sleep(0)
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    transport.write(b"between")
                assert await sending == 1_500_000
                assert file.tell() == 1_501_000
            transport.write(b"after")
            transport.close()
            await receiving
            assert received == b"before" + data[1000:1_501_000] + b"after"
            peer.close()
            await protocol.closed

    run(main())


# ---- contexts ----


def test_every_callback_of_a_protocol_runs_in_the_context_of_its_maker() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: dict[str, str] = {}

    class Looks(Flow):
        def __getattribute__(self, name: str) -> Any:
            if name.endswith(("_received", "_made", "_lost", "_writing")):
                seen[name] = variable.get()
            return super().__getattribute__(name)

        def data_received(self, data: bytes) -> None:
            seen["in data_received"] = variable.get()
            super().data_received(data)

        def connection_lost(self, error: BaseException | None) -> None:
            seen["in connection_lost"] = variable.get()
            super().connection_lost(error)

        def eof_received(self) -> None:
            seen["in eof_received"] = variable.get()

        def resume_writing(self) -> None:
            seen["in resume_writing"] = variable.get()
            super().resume_writing()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable.set("maker")
        transport, protocol, theirs = await aio.connected(Looks)
        variable.set("later")
        theirs.send(b"x")
        await aio.until(lambda: protocol.data)
        transport.write(bytes(1 << 21))
        left = 1 << 21
        while left:
            left -= len(await loop.sock_recv(theirs, 1 << 20))
        await aio.until(lambda: "resume" in protocol.calls)
        theirs.close()
        await protocol.closed
        assert variable.get() == "later"

    run(main())
    inside = {name: value for name, value in seen.items() if name.startswith("in ")}
    assert inside == dict.fromkeys(inside, "maker") and len(inside) == 4
