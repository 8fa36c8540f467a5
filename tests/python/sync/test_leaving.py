"""Leaving a queue costs the same wherever one stands in it: of n that wait, all are cancelled, from the
last to the first, from the first to the last, and at random. Measured in CPU time of the shard's thread, n
against 4 n: a search would take 16 times as long."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import support

import spargio
from spargio import boundary, net, sync
from spargio.time import Sleep

FEW, MANY = 2_000, 8_000
MOST = 9.0

Waits = Callable[[], Callable[[], Awaitable[Any]]]


def lock() -> Any:
    made = sync.Lock()
    assert made.try_acquire()
    return made.acquire


def semaphore() -> Any:
    return sync.Semaphore(0, most=1).acquire


def reader() -> Any:
    made = sync.RwLock()

    async def wait() -> None:
        async with made.read():
            pass

    made.write()
    assert made._free.take_units(1 << 30)
    return wait


def condition() -> Any:
    made = sync.Condition()

    async def wait() -> None:
        async with made:
            await made.wait()

    return wait


def event() -> Any:
    return sync.Event().wait


def barrier() -> Any:
    return sync.Barrier(10 * MANY).wait


def receiving() -> Any:
    made = sync.channel(1)
    return lambda: made[1].recv()


def sending() -> Any:
    made = sync.channel(1)
    made[0].try_send(0)
    return lambda: made[0].send(1)


def broadcast() -> Any:
    made = sync.broadcast(1)
    return lambda: made.subscribe().recv()


def watch() -> Any:
    made = sync.watch(0)
    return lambda: made.watch().changed()


def sleep() -> Any:
    made = Sleep(support.LIMIT_S * 10)

    async def wait() -> None:
        await made

    return wait


def time_limit() -> Any:
    async def wait() -> None:
        with spargio.timeout(support.LIMIT_S * 10):
            await spargio.sleep(support.LIMIT_S * 10)

    return wait


def token() -> Any:
    return spargio.CancellationToken().cancelled


def child_token() -> Any:
    made = spargio.CancellationToken()
    return lambda: made.child().cancelled()


def join() -> Any:
    target = spargio.current_handle().spawn_pinned(0, sync.Event().wait())

    async def wait() -> None:
        await target

    return wait


def boundary_call() -> Any:
    made = boundary.channel(2 * MANY)

    async def wait() -> None:
        await made[0].call(1)

    return wait


def boundary_answer() -> Any:
    made = boundary.channel(1)
    ticket = made[0].try_call(1)

    async def wait() -> None:
        made[1]  # It is held.
        await ticket

    return wait


def boundary_request() -> Any:
    made = boundary.channel(1)
    return lambda: made[1].recv()


def message() -> Any:
    return lambda: _awaited(spargio.ShardCtx.current().next_event())


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


KINDS = [
    lock,
    semaphore,
    reader,
    condition,
    event,
    barrier,
    receiving,
    sending,
    broadcast,
    watch,
    sleep,
    time_limit,
    token,
    child_token,
    join,
    boundary_call,
    boundary_answer,
    boundary_request,
    message,
]


def in_order(jobs: list[Any], order: str) -> list[Any]:
    if order == "first":
        return jobs
    if order == "last":
        return jobs[::-1]
    return random.Random(7).sample(jobs, len(jobs))


async def cost(make: Waits, count: int, order: str) -> float:
    """CPU seconds of the cancellation of `count` that wait."""
    handle, wait = spargio.current_handle(), make()
    jobs = [handle.spawn_pinned(0, wait()) for _ in range(count)]  # type: ignore[arg-type]
    for _ in range(4):
        await spargio.sleep(0)
    began = time.thread_time()
    for job in in_order(jobs, order):
        job.cancel()
    for job in jobs:
        with pytest.raises(spargio.TaskCancelled):
            await job
    return time.thread_time() - began


async def measure(make: Waits, order: str) -> None:
    await cost(make, 200, order)
    ratio = 0.0
    for _ in range(3):  # Caches and the collector have a part in it: the best of three.
        ratio = await cost(make, MANY, order) / await cost(make, FEW, order)
        if ratio < MOST:
            return
    pytest.fail(f"4 times as many cost {ratio:.1f} times as much")


ORDERS = pytest.mark.parametrize("order", ["last", "first", "random"])


@ORDERS
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_leaving_is_linear(make: Waits, order: str) -> None:
    spargio.run(lambda: measure(make, order), shards=1)


@ORDERS
@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_operations_of_one_descriptor(
    backend: str, order: str, pair: support.Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARGIO_BACKEND", backend)

    async def main() -> None:
        async with net.UnixStream.from_socket(pair[0].dup()) as stream:
            await measure(lambda: lambda: _awaited(stream.recv(1)), order)

    spargio.run(main, shards=1)
