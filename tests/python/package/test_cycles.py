"""An exception that was handled goes away at once, with all that its frames hold: nothing is left to the
collector. (Where a frame of the program's own holds the handle that it awaits, the two hold each other, as
with futures of the standard library.)"""

from __future__ import annotations

import gc
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import support

import spargio
from spargio import boundary, fs, io, net, process, sync
from spargio import signal as signals
from spargio.time import Sleep

FOREVER_S = support.LIMIT_S * 10
TIMES = 10


async def fails(*_: object) -> None:
    await spargio.yield_now()
    raise ValueError


async def forever(*_: object) -> None:
    await spargio.sleep(FOREVER_S)


async def limited(work: Awaitable[Any]) -> None:
    with spargio.timeout(0.001):
        await work


# ---- groups ----


async def child_fails() -> None:
    async with spargio.TaskGroup() as group:
        group.spawn(fails())
        group.spawn(fails())
        group.spawn(forever())


async def block_fails() -> None:
    async with spargio.TaskGroup() as group:
        group.spawn(forever())
        raise ValueError


async def group_in_a_group() -> None:
    async with spargio.TaskGroup() as group:
        group.spawn(child_fails())


async def group_with_a_limit() -> None:
    with spargio.timeout(0.001):
        await child_of_a_group(forever())


async def child_of_a_group(work: Any) -> None:
    async with spargio.TaskGroup() as group:
        group.spawn(work)


async def cancelled_group() -> None:
    async def cancel() -> None:
        group.cancel()
        raise KeyError

    group = spargio.TaskGroup()
    async with group:
        group.spawn(forever())
        await spargio.current_handle().spawn_pinned(0, cancel())


async def spawn_into_a_closed_group() -> None:
    async with spargio.TaskGroup() as group:
        pass
    group.spawn(forever())


async def start_fails() -> None:
    async def child(*, task_status: object) -> None:
        raise ValueError

    async with spargio.TaskGroup() as group:
        await group.start(child)


async def start_in_silence() -> None:
    async def child(*, task_status: object) -> None:
        pass

    async with spargio.TaskGroup() as group:
        await group.start(child)


# ---- waits ----


async def lock() -> None:
    made = sync.Lock()
    async with made:
        await limited(made.acquire())


async def condition() -> None:
    async with (made := sync.Condition()):
        await limited(made.wait())


async def lagged() -> None:
    made = sync.broadcast(1)
    subscriber = made.subscribe()
    made.send(1)
    made.send(2)
    await subscriber.recv()


async def closed_channel() -> None:
    made = sync.channel(1)
    made[1].close()
    await made[0].send(1)


async def join() -> None:
    await spargio.current_handle().spawn_pinned(0, fails())


async def shielded() -> None:
    await spargio.shield(fails())


async def token() -> None:
    await spargio.CancellationToken().run(fails())


async def moved_limit() -> None:
    with spargio.timeout(FOREVER_S) as limit:
        limit.reschedule(0.001)
        await forever()


WAITS: list[Callable[[], Awaitable[Any]]] = [
    lambda: limited(forever()),
    lambda: limited(sync.Event().wait()),
    lambda: limited(sync.Barrier(2).wait()),
    lambda: limited(sync.channel(1)[1].recv()),
    lambda: limited(sync.watch(1).watch().changed()),
    lambda: limited(spargio.CancellationToken().cancelled()),
    lambda: limited(Sleep(FOREVER_S)),
    lambda: sync.OnceCell().get_or_init(fails),
]


# ---- threads ----


def raises(*_: object) -> None:
    raise ValueError


async def in_a_thread() -> None:
    await spargio.spawn_blocking(raises)


async def in_a_thread_that_waits() -> None:
    client, _server = boundary.channel(1)
    await spargio.spawn_blocking(lambda: client.try_call(1).wait_timeout(0.001))


# ---- boundary ----


async def overloaded() -> None:
    client, _server = boundary.channel(1)
    client.try_call(1)
    await client.call(2)


async def no_server() -> None:
    client, server = boundary.channel(1)
    server.close()
    await client.call(1)


async def no_answer_in_time() -> None:
    client, _server = boundary.channel(1)
    await client.call_with_timeout(1, 0.001)


async def served_by(serve: Callable[[boundary.Request], object]) -> None:
    client, server = boundary.channel(1)

    async def take() -> None:
        serve(await server.recv())

    spargio.current_handle().spawn_pinned(0, take())
    await client.call(1)


async def answered_with_an_error() -> None:
    await served_by(lambda request: request.respond(ValueError("no")))


async def request_dropped() -> None:
    await served_by(lambda request: None)


async def no_request_in_time() -> None:
    await boundary.channel(1)[1].recv_timeout(0.001)


# ---- files, sockets, children ----


async def walk() -> None:
    async for _ in fs.walk("/nonexistent"):
        pass


async def race() -> None:
    from spargio.net._resolve import race as connect_race

    async def refuse(family: int, address: object) -> Any:
        await spargio.yield_now()
        raise ConnectionRefusedError

    async def drop(_: object) -> None: ...

    await connect_race([(2, ("127.0.0.1", n)) for n in range(4)], refuse, drop)


async def buffered_write() -> None:
    one, other = io.duplex()
    await other.close()
    writer = io.BufWriter(one)
    await writer.write_all(b"x")
    await writer.flush()


async def signal_wait() -> None:
    async with signals.stream(signal.SIGUSR2) as stream:
        await limited(stream.recv())


async def dropped_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await spargio.yield_now()

    async for _ in numbers():
        raise ValueError


async def accept() -> None:
    async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
        await limited(listener.accept())


async def output_in_time() -> None:
    await limited(process.Command("sleep", str(FOREVER_S)).output())


SYSTEM: list[Callable[[], Awaitable[Any]]] = [
    lambda: fs.File.open("/nonexistent/x"),
    lambda: fs.read("/nonexistent/x"),
    lambda: fs.write("/nonexistent/x", b""),
    lambda: fs.metadata("/nonexistent/x"),
    lambda: fs.rename("/nonexistent/x", "/nonexistent/y"),
    lambda: fs.read_dir("/nonexistent/x"),
    lambda: fs.remove_dir_all("/nonexistent/x"),
    lambda: net.TcpStream.connect("127.0.0.1", 1),
    lambda: net.TcpStream.connect("localhost", 1),
    lambda: net.TcpStream.connect("nonexistent.invalid", 1),
    lambda: net.UnixStream.connect("/nonexistent/x"),
    lambda: process.Command("/nonexistent/x").spawn(),
    lambda: process.Command("/nonexistent/x").status(),
    lambda: process.Command("/nonexistent/x").output(),
]

# What ends on a thread of a pool is let go of there: without a GIL, at the next collection.
ON_THREADS = [
    in_a_thread,
    in_a_thread_that_waits,
    walk,
    output_in_time,
    *SYSTEM,
]
CASES: list[Callable[[], Awaitable[Any]]] = [
    child_fails,
    block_fails,
    group_in_a_group,
    group_with_a_limit,
    cancelled_group,
    spawn_into_a_closed_group,
    start_fails,
    start_in_silence,
    lock,
    condition,
    lagged,
    closed_channel,
    join,
    shielded,
    token,
    moved_limit,
    *WAITS,
    overloaded,
    no_server,
    no_answer_in_time,
    answered_with_an_error,
    request_dropped,
    no_request_in_time,
    race,
    buffered_write,
    signal_wait,
    dropped_generator,
    accept,
    *ON_THREADS,
]


def named(case: object) -> str | None:
    name: str = case.__name__  # type: ignore[attr-defined]
    return None if name == "<lambda>" else name


async def attempt(case: Callable[[], Awaitable[Any]]) -> None:
    try:
        await case()
    except Exception:
        return
    pytest.fail("it was to raise")


@pytest.mark.parametrize("case", CASES, ids=named)
def test_nothing_is_left_to_the_collector(case: Callable[[], Awaitable[Any]]) -> None:
    if support.free_threaded() and case in ON_THREADS:
        pytest.skip("objects of other threads go away at the next collection")

    async def main() -> None:
        await attempt(case)
        await spargio.sleep(0.002)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(TIMES):
                await attempt(case)
            await spargio.sleep(0.01)
            gc.collect()
            left = Counter(type(one).__name__ for one in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert sum(left.values()) < TIMES, left

    spargio.run(main, shards=1)
