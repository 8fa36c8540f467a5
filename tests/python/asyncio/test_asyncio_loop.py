"""The asyncio loop: what CPython's own tests (tests/conformance) do not ask. spargio's awaitables in tasks
of asyncio's, the stream transport under load, threads, signals, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import spargio
from spargio import fs, net
from spargio.asyncio import EventLoop, new_event_loop, run

LIMIT_S = 30.0


# ---- spargio's awaitables in tasks of asyncio's ----


def test_files_are_read_without_a_thread(tmp_path: Path) -> None:
    paths = [tmp_path / str(n) for n in range(200)]
    for n, path in enumerate(paths):
        path.write_bytes(b"x" * n)

    async def main() -> None:
        before = threading.active_count()
        assert await fs.read(paths[7]) == b"x" * 7
        found = [len(data) async for _, data in fs.read_many(paths) if isinstance(data, bytes)]
        assert found == list(range(200))
        several = await asyncio.gather(*(fs.read(path) for path in paths[:50]))
        assert [len(data) for data in several] == list(range(50))
        with pytest.raises(FileNotFoundError):
            await fs.read(tmp_path / "nothing")
        assert threading.active_count() == before

    run(main())


def test_a_cancelled_receive_loses_nothing() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        stream = net.UnixStream.from_socket(ours)
        with theirs:
            for n in range(50):
                receiving = asyncio.ensure_future(stream.recv(100))
                await asyncio.sleep(0)
                theirs.send(b"%d" % n)
                receiving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await receiving
                assert await stream.recv(100) == b"%d" % n
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.recv(1), 0.01)
        assert await stream.recv(1) == b""
        await stream.close()

    run(main())


def test_a_runtime_in_the_background_answers_a_loop_in_the_foreground() -> None:
    async def double(number: int) -> int:
        await spargio.yield_now()
        return 2 * number

    async def fail() -> None:
        raise LookupError("there")

    async def main(handle: spargio.RuntimeHandle) -> None:
        assert await handle.spawn_stealable(double(21)) == 42
        answers = [handle.spawn_stealable(double(n)) for n in range(20)]
        assert await asyncio.gather(*answers) == [2 * n for n in range(20)]
        with pytest.raises(LookupError, match="there"):
            await handle.spawn_pinned(1, fail())
        assert await handle.spawn_blocking(lambda: 5) == 5

    with spargio.Runtime.builder().shards(2).build() as handle:
        run(main(handle))


def test_on_another_loop_an_await_says_what_is_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="outside a spargio task"):
            await fs.read(tmp_path)

    asyncio.run(main())


# ---- running ----


def test_a_loop_may_be_made_here_and_run_there(loop: EventLoop) -> None:
    ran: list[int] = []

    def other() -> None:
        ran.append(loop.run_until_complete(asyncio.sleep(0.001, 1)))
        ran.append(loop.run_until_complete(asyncio.sleep(0, 2)))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(LIMIT_S)
    assert ran == [1, 2]


def test_a_loop_that_never_ran_is_closed() -> None:
    loop = new_event_loop()
    loop.call_soon(print)
    loop.call_later(1, print)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


def test_a_loop_that_is_dropped_goes_away() -> None:
    loop = new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.call_later(100, loop.stop)  # A cycle through the loop's own timers.
    gone = weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()
    assert gone() is None


def test_a_callback_may_end_the_program(loop: EventLoop) -> None:
    later: list[str] = []

    def leave() -> None:
        raise SystemExit(3)

    loop.call_soon(leave)
    loop.call_soon(later.append, "kept")
    with pytest.raises(SystemExit):
        loop.run_forever()
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert later == ["kept"]


def test_ctrl_c_ends_a_run_that_waits(loop: EventLoop) -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert loop.run_until_complete(asyncio.sleep(0, "again")) == "again"


def test_threads_wake_it_and_nothing_is_lost(loop: EventLoop) -> None:
    count, threads = 2000, 4
    seen: list[tuple[int, int]] = []

    def take(who: int, n: int) -> None:
        seen.append((who, n))
        if len(seen) == count * threads:
            loop.stop()

    def send(who: int) -> None:
        for n in range(count):
            loop.call_soon_threadsafe(take, who, n)

    senders = [threading.Thread(target=send, args=(who,)) for who in range(threads)]
    for one in senders:
        one.start()
    loop.run_forever()
    for one in senders:
        one.join(LIMIT_S)
    for who in range(threads):
        assert [n for by, n in seen if by == who] == list(range(count))


def test_a_patched_clock_moves_the_timers(loop: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 1000)
    fired: list[float] = []
    loop.call_at(real() + 999, lambda: (fired.append(1), loop.stop()))
    loop.run_forever()
    assert fired == [1]


def test_handles_are_asyncios(loop: EventLoop) -> None:
    handle = loop.call_soon(print, 1, 2, 3, 4, 5)
    timer = loop.call_later(5, print, "x")
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert repr(handle).startswith("<Handle print(")
    assert timer.when() > loop.time()
    assert weakref.ref(handle)() is handle
    handle.cancel()
    timer.cancel()
    assert handle.cancelled() and "cancelled" in repr(timer)
    assert loop.call_later(1, print) < loop.call_later(2, print)
    for wrong in (float("nan"),):
        with pytest.raises(ValueError, match="nan"):
            loop.call_later(wrong, print)


# ---- streams ----


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> None:
        self.transport.close()


@pytest.mark.parametrize("size", (1, 1000, 20_000, 1 << 20, 5_000_000))
@pytest.mark.parametrize("connections", (1, 8))
def test_every_byte_comes_back(size: int, connections: int) -> None:
    """Small messages by provided buffers, large ones by the loop's own: whatever the mode, each byte once."""
    data = os.urandom(min(size, 65536)) * (size // min(size, 65536))

    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(data)
            await writer.drain()
            assert await reader.readexactly(len(data)) == data
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await asyncio.wait_for(asyncio.gather(*(talk(port) for _ in range(connections))), LIMIT_S)
        server.close()
        await server.wait_closed()

    run(main())


def test_many_writes_keep_their_order() -> None:
    pieces = [b"%06d" % n * (1 + n % 7) for n in range(5000)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        got = bytearray()

        class Reader(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                got.extend(data)

            def connection_lost(self, error: Exception | None) -> None:
                done.set_result(error)

        done: asyncio.Future[Exception | None] = loop.create_future()
        await loop.create_connection(Reader, sock=theirs)
        writer, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        for n, piece in enumerate(pieces):
            if n % 3:
                writer.write(bytearray(piece))  # May be changed afterwards.
            else:
                writer.writelines([piece[:2], memoryview(piece)[2:]])
            if n % 500 == 0:
                await asyncio.sleep(0)
        writer.close()
        assert await asyncio.wait_for(done, LIMIT_S) is None
        assert bytes(got) == b"".join(pieces)

    run(main())


def test_a_protocol_is_paused_and_resumed_at_the_marks() -> None:
    calls: list[str] = []

    class Writer(asyncio.Protocol):
        def pause_writing(self) -> None:
            calls.append("pause")

        def resume_writing(self) -> None:
            calls.append("resume")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(Writer, sock=ours)
        transport.set_write_buffer_limits(high=100_000, low=1000)
        sent = 0
        while not calls:  # Synchronously, by the write that goes above the mark.
            transport.write(bytes(50_000))
            sent += 50_000
        assert transport.get_write_buffer_size() > 100_000
        with theirs:
            theirs.setblocking(False)
            left = sent
            while left:
                left -= len(await loop.sock_recv(theirs, 1 << 20))
        assert calls == ["pause", "resume"]
        transport.close()
        await asyncio.sleep(0)

    run(main())


def test_a_paused_transport_keeps_what_came() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        got: list[bytes] = []

        class Reader(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                got.append(data)
                self.transport.pause_reading()
                self.transport.pause_reading()

            def connection_made(self, transport: Any) -> None:
                self.transport = transport

        transport, _ = await loop.create_connection(Reader, sock=theirs)
        with ours:
            for n in range(20):
                ours.send(b"%d" % n)
                await asyncio.sleep(0.002)
            assert got == [b"0"]
            while b"".join(got) != b"".join(b"%d" % n for n in range(20)):
                assert not transport.is_reading()
                transport.resume_reading()
                await asyncio.sleep(0.001)
        transport.abort()
        await asyncio.sleep(0)

    run(main())


def test_a_protocol_that_raises_loses_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[BaseException | None] = []

    class Bad(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise LookupError("bad")

        def connection_lost(self, error: Exception | None) -> None:
            lost.append(error)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        await loop.create_connection(Bad, sock=theirs)
        with ours:
            ours.send(b"1")
            ours.setblocking(False)
            assert await asyncio.wait_for(loop.sock_recv(ours, 1), LIMIT_S) == b""

    run(main())
    assert len(lost) == 1 and isinstance(lost[0], LookupError)
    assert "data_received() call failed" in caplog.text


def test_loops_that_come_and_go_leave_nothing() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        waiting = asyncio.create_task(reader.read())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(len, b"")
        writer.close()
        await writer.wait_closed()
        server.close()

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        run(main())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # It leaves open what it is about.
def test_a_loop_that_is_closed_in_the_middle_holds_nothing(tmp_path: Path) -> None:
    """Data on its way to a protocol, a write that waits for room, an await of spargio's operations:
    the operations end with the loop, and nothing of them keeps it alive."""

    async def main(streams: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        for ours in streams:
            transport, _ = await loop.create_connection(Echo, sock=ours)
            transport.write(bytes(1 << 22))
        kept.append(asyncio.ensure_future(spargio.sleep(1000)))
        await asyncio.sleep(0)

    pairs = [socket.socketpair() for _ in range(4)]
    kept: list[asyncio.Future[None]] = []
    loop = new_event_loop()
    loop.set_exception_handler(lambda _, context: None)  # "Task was destroyed but it is pending".
    loop.run_until_complete(main([ours for ours, _ in pairs]))
    for _, theirs in pairs:
        theirs.send(b"x" * 1000)
    loop.close()
    gone = weakref.ref(loop)
    kept.clear()
    del loop
    gc.collect()
    assert gone() is None
    for ours, theirs in pairs:
        ours.close()
        theirs.close()
