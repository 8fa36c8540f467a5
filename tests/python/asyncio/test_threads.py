"""One loop on several threads, one after the other: what is under way goes along."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aio
import pytest

import spargio
import spargio.asyncio
import spargio.net

T = TypeVar("T")


def on_thread(function: Callable[[], T]) -> T:
    """Its result, or what it raises."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append((function(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    result, error = found[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class Collector(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.wanted = 0
        self.enough: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.enough is not None and len(self.received) >= self.wanted:
            self.enough.set_result(None)
            self.enough = None

    async def until(self, size: int) -> bytes:
        self.wanted = size
        if len(self.received) < size:
            self.enough = asyncio.get_running_loop().create_future()
            await self.enough
        return self.received


def test_a_connection_goes_on_where_the_loop_runs_next() -> None:
    loop = spargio.asyncio.new_event_loop()
    near, far = socket.socketpair()
    collector = Collector()

    async def connect() -> asyncio.Transport:
        transport, _ = await loop.create_connection(lambda: collector, sock=near)
        return transport

    transport = loop.run_until_complete(connect())
    for number in range(6):
        far.sendall(b"%d" % number * 10_000)  # Between two runs, too.
        size = (number + 1) * 10_000
        run = lambda: loop.run_until_complete(collector.until(size))  # noqa: E731, B023
        received = run() if number % 3 == 0 else on_thread(run)
        assert received == b"".join(b"%d" % n * 10_000 for n in range(number + 1))
    transport.close()
    far.close()
    on_thread(lambda: loop.run_until_complete(asyncio.sleep(0)))
    loop.close()


def test_a_reader_is_called_on_each_thread() -> None:
    loop = spargio.asyncio.new_event_loop()
    reading, writing = os.pipe()
    threads: list[int] = []

    def readable() -> None:
        os.read(reading, 1)
        threads.append(threading.get_ident())
        loop.stop()

    loop.add_reader(reading, readable)
    os.write(writing, b"1")
    loop.run_forever()
    os.write(writing, b"2")
    on_thread(loop.run_forever)
    os.write(writing, b"3")
    loop.run_forever()
    here = threading.get_ident()
    assert [one == here for one in threads] == [True, False, True]
    assert loop.remove_reader(reading)
    loop.close()
    os.close(reading)
    os.close(writing)


def test_any_thread_closes_it() -> None:
    loop = spargio.asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0))

    async def serve() -> asyncio.Server:
        return await loop.create_server(Collector, sock=listener)

    server = on_thread(lambda: loop.run_until_complete(serve()))
    server.close()
    on_thread(loop.close)
    assert loop.is_closed()


def test_another_thread_wakes_a_loop_that_moved() -> None:
    loop = spargio.asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    started = threading.Event()

    def run() -> None:
        loop.call_soon(started.set)
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    for _ in range(200):
        called = threading.Event()
        loop.call_soon_threadsafe(called.set)
        called.wait()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.skipif(
    os.environ.get("SPARGIO_BACKEND") == "epoll", reason="only rings are bound to a thread"
)
def test_operations_of_spargio_stay_with_their_thread() -> None:
    loop = spargio.asyncio.new_event_loop()
    near, far = socket.socketpair()

    async def receive() -> bytes:
        async with spargio.net.UnixStream.from_socket(near) as stream:
            return await stream.recv(10)

    async def begin() -> asyncio.Task[bytes]:
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    with pytest.raises(RuntimeError, match="under way on the thread that ran this loop before"):
        on_thread(lambda: loop.run_until_complete(asyncio.sleep(0)))
    far.sendall(b"here")
    assert loop.run_until_complete(task) == b"here"
    assert on_thread(lambda: loop.run_until_complete(asyncio.sleep(0, "there"))) == "there"
    loop.close()
    far.close()


# ---- the end, on another thread than the one that ran it ----


def threads() -> int:
    """But for the kernel's workers, which stay some seconds after their work."""
    names = []
    for number in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # It has just ended.
            names.append(Path(f"/proc/self/task/{number}/comm").read_text())
    return sum(not name.startswith("iou-") for name in names)


async def begin_all(kept: list[Any]) -> None:
    """Operations of spargio's own, each kind under way when the loop stops."""
    near, far = socket.socketpair()
    listener = await spargio.net.TcpListener.bind("127.0.0.1", 0)
    stream = spargio.net.UnixStream.from_socket(near)
    kept += [far, stream, listener]
    waiting = [stream.recv(10), listener.accept(), spargio.sleep(3600)]
    kept += [asyncio.ensure_future(one) for one in waiting]
    kept.append(asyncio.ensure_future(asyncio.wait_for(listener.accept(), 3600)))
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(Collector, sock=ours)
    kept += [transport, theirs]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(one.done() for one in kept if isinstance(one, asyncio.Task))


def stopped(how: str) -> list[Any]:
    """A loop that has stopped with all of it under way, and what must live as long."""
    kept: list[Any] = []
    loop = spargio.asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: None)  # Tasks that are pending.
    run = lambda: loop.run_until_complete(begin_all(kept))  # noqa: E731
    on_thread(run) if how == "after its thread" else run()
    return [loop, *kept]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("end", ["close", "drop"])
@pytest.mark.parametrize("how", ["beside its thread", "after its thread"])
def test_another_thread_ends_it_with_operations_under_way(
    how: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed, or dropped unclosed: nothing of it stays, whether or not its thread still lives."""
    failures: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", failures.append)

    def finish(found: list[Any]) -> None:
        if end == "close":
            found[0].close()
        found.clear()
        gc.collect()

    def once() -> None:
        found = stopped(how)
        on_thread(lambda: finish(found)) if how == "beside its thread" else finish(found)
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        once()
        before = aio.descriptors(), threads()
        for _ in range(5):
            once()
        assert aio.descriptors() == before[0]
        # A thread that was joined may be in the kernel's list a moment longer.
        limit = time.monotonic() + aio.LIMIT_S
        while threads() > before[1] and time.monotonic() < limit:
            time.sleep(0.001)
        assert threads() <= before[1]
    assert not failures


@pytest.mark.skipif(
    os.environ.get("SPARGIO_BACKEND") == "epoll", reason="only rings are bound to a thread"
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
def test_a_connection_that_came_after_the_run_leaves_no_descriptor() -> None:
    """An accept waits in the ring when it comes, and nobody enters that ring any more."""
    counts = set()
    for _ in range(4):
        with socket.socket() as client:
            found = stopped("beside its thread")
            listener = found[3]
            client.connect(("127.0.0.1", listener.local_addr[1]))
            on_thread(found[0].close)
            found.clear()
            del listener
            gc.collect()
        counts.add(aio.descriptors())
    assert len(counts) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_whose_ring_was_taken_ends_its_tasks() -> None:
    ended: list[str] = []
    loop = spargio.asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: None)  # A task that is pending.
    near, far = socket.socketpair()

    async def receive() -> None:
        stream = spargio.net.UnixStream.from_socket(near)
        try:
            await stream.recv(10)
        finally:
            ended.append("receive")

    async def begin() -> asyncio.Task[None]:
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    far.sendall(b"late")
    on_thread(loop.close)
    assert loop.is_closed()
    del task
    gc.collect()
    assert ended == ["receive"]
    far.close()
