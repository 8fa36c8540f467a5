"""What several tests of this folder use: waiting, coroutines, peers. Programs of their own: programs.py."""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

import spargio
from spargio import net

LIMIT_S = 30
"""The longest that anything here waits for something that must come."""

Pair = tuple[socket.socket, socket.socket]

BUILDER_OPTIONS = {
    "defaults": {},
    "1 shard": {"shards": 1},
    "4 shards": {"shards": 4},
    "lock_free": {"shards": 2, "stealable_queue_backend": "lock_free"},
    "msg_ring off": {"shards": 2, "msg_ring": False},
}


def free_threaded() -> bool:
    return not getattr(sys, "_is_gil_enabled", lambda: True)()


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """For what gives no event to wait for, such as a counter of the runtime."""
    deadline = time.monotonic() + LIMIT_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {LIMIT_S} s for {what}"
        time.sleep(0.0005)
    return value


async def until(condition: Callable[[], Any]) -> None:
    """The same inside a task."""
    with spargio.timeout(LIMIT_S):
        while not condition():
            await spargio.sleep(0.0002)


async def started(*jobs: spargio.JoinHandle[Any]) -> None:
    """Each of them has begun, and has since come to an await or its end (when on this shard)."""
    await until(lambda: all(job.shard is not None for job in jobs))
    await spargio.yield_now()


async def in_flight(handle: spargio.RuntimeHandle, count: int) -> None:
    """So many operations are under way, besides the sleep of this wait itself."""
    await until(lambda: handle.stats_snapshot().ops_in_flight >= count + 1)


async def cancelled_next() -> bool:
    """Whether a cancellation of this task comes at its next await, which this is."""
    try:
        await spargio.sleep(0)
    except spargio.CancelledError:
        return True
    return False


async def value(result: object) -> object:
    await spargio.yield_now()
    return result


async def forever() -> None:
    await spargio.sleep(1000)


async def fail(error: BaseException) -> None:
    raise error


async def still_works(handle: spargio.RuntimeHandle) -> None:
    for shard in range(handle.shard_count()):
        assert await handle.spawn_pinned(shard, value(shard)) == shard


def descriptors() -> dict[str, str]:
    """Open descriptors and what they are; the one that lists them is left out."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if not target.startswith("/proc/"):
            found[name] = target
    return found


class Waits:
    """Coroutines that wait forever, and how many of them do, and how many have cleaned up."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = self.cleaned = 0

    async def run(self, error: Exception | None = None) -> None:
        with self.lock:
            self.waiting += 1
        try:
            await spargio.sleep(1000)
        finally:
            await spargio.yield_now()  # Clean-up gets to run to its end.
            await spargio.sleep(0)
            with self.lock:
                self.cleaned += 1
            if error is not None:
                raise error

    async def until(self, count: int) -> None:
        await until(lambda: self.waiting == count)


class Blocker:
    """A task that holds its shard, outside the interpreter, until it is released."""

    def __init__(self, handle: spargio.RuntimeHandle, shard: int) -> None:
        self._go = threading.Event()
        self._held = threading.Event()
        self.job = handle.spawn_pinned(shard, self._hold(), name=f"blocker of {shard}")
        assert self._held.wait(LIMIT_S)

    async def _hold(self) -> None:
        self._held.set()
        assert self._go.wait(LIMIT_S)

    def release(self) -> None:
        self._go.set()
        self.job.result(LIMIT_S)

    def __enter__(self) -> Blocker:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextmanager
def peer() -> Iterator[tuple[str, int, Callable[[], socket.socket]]]:
    """A plain listening socket; gives host, port and what accepts on it."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)

        def accept() -> socket.socket:
            connection, _ = server.accept()
            connection.settimeout(LIMIT_S)
            accepted.append(connection)
            return connection

        host, port = server.getsockname()
        try:
            yield host, port, accept
        finally:
            for connection in accepted:
                connection.close()


@contextmanager
def dial(port: int, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A plain blocking client."""
    with socket.create_connection((host, port), LIMIT_S) as connection:
        yield connection


def reset(connection: socket.socket) -> None:
    """Ends it with a RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def in_thread(function: Callable[..., Any], *arguments: Any) -> Iterator[Result]:
    """Runs it beside the block, which ends only after it; what it raises is raised at the end."""
    outcome = Result()

    def whole() -> None:
        try:
            outcome.value = function(*arguments)
        except BaseException as error:
            outcome.error = error

    thread = threading.Thread(target=whole, daemon=True)
    thread.start()
    outcome.thread = thread
    yield outcome
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    if outcome.error is not None:
        raise outcome.error


class Result:
    value: Any = None
    error: BaseException | None = None
    thread: threading.Thread


async def connected(
    host: str, port: int, accept: Callable[[], socket.socket]
) -> tuple[net.TcpStream, socket.socket]:
    """A spargio stream and the plain socket at its other end."""
    stream = await net.TcpStream.connect(host, port)
    return stream, accept()


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes, or fewer at the end of the stream."""
    got = bytearray()
    while len(got) < size and (part := connection.recv(size - len(got))):
        got += part
    return bytes(got)


@dataclass(frozen=True)
class Unraisable:
    kind: type[BaseException]
    text: str
    object: Any


class Unraisables(list[Unraisable]):
    """What went to ``sys.unraisablehook``; a test that expects some takes them out."""

    def hook(self, args: sys.UnraisableHookArgs) -> None:
        # Not the exception itself: it may be part of garbage that is being cleared.
        where = args.object if isinstance(args.object, str) else repr(args.object)
        self.append(Unraisable(args.exc_type, str(args.exc_value), where))

    def take(self) -> list[Unraisable]:
        gc.collect()
        taken = list(self)
        self.clear()
        return taken


# ---- backends ----

ON_EPOLL = os.environ.get("SPARGIO_BACKEND") == "epoll"
"""The tests run on the other backend."""

needs_io_uring = pytest.mark.skipif(ON_EPOLL, reason="io_uring's own: the backend is epoll")
