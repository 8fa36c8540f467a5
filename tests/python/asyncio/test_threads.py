"""One loop on several threads, one after the other: what is under way goes along."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

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
