"""What runs and what it waits for: `handle.tasks()`, `task.stack()`, `current_task()`."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import support

import spargio
from spargio._tasks import TaskInfo


async def inner() -> None:
    await spargio.sleep(support.LIMIT_S)


async def outer() -> None:
    await inner()


async def settled(handle: spargio.RuntimeHandle, name: str) -> TaskInfo:
    """Of the task of that name, once it waits."""
    while True:
        for one in await handle.tasks(support.LIMIT_S):
            if one.name == name and one.state == "waiting":
                return one
        await spargio.sleep(0.001)


def test_what_a_task_waits_for() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        listener = await spargio.net.TcpListener.bind("127.0.0.1", 0)
        lock = spargio.sync.Lock()
        await lock.acquire()
        sleeper = handle.spawn_pinned(1, outer(), name="sleeper")
        jobs = {
            "acceptor": listener.accept(),
            "locked": lock.acquire(),
            "joiner": joins(sleeper),
        }
        handles = [handle.spawn_pinned(0, job, name=name) for name, job in jobs.items()]
        found = await settled(handle, "sleeper")
        assert found.shard == 1
        assert found.waits_for.startswith("sleep, ")
        assert found.waits_for.endswith(" s left")
        assert 0 <= found.age < support.LIMIT_S
        assert [line.split(", in ")[1].split("\n")[0] for line in found.stack] == ["outer", "inner"]
        assert "accept of socket" in (await settled(handle, "acceptor")).waits_for
        assert "acquire" in (await settled(handle, "locked")).waits_for
        assert "JoinHandle 'sleeper'" in (await settled(handle, "joiner")).waits_for
        names = {one.name for one in await handle.tasks()}
        assert names >= {"sleeper", *jobs}
        for one in (*handles, sleeper):
            one.cancel()
        await listener.close()

    spargio.run(main, shards=2)


async def joins(other: spargio.JoinHandle[Any]) -> None:
    await other


def test_from_an_ordinary_thread() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        job = handle.spawn_pinned(1, outer())
        while not (found := handle.tasks().result(support.LIMIT_S)):
            pass
        assert [one.name for one in found] == ["outer"]
        while len(stack := job.stack()) < 2:
            pass
        assert "in outer" in stack[0]
        assert "in inner" in stack[1]
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            job.result(support.LIMIT_S)
        assert job.stack() == []


def test_the_stack_of_the_task_itself_and_of_its_neighbours() -> None:
    async def asks(handle: spargio.RuntimeHandle) -> None:
        me = spargio.current_task()
        assert me is not None
        assert me.name == "me"
        own = me.stack()
        assert "in test_the_stack" in own[-1] or "asks" in own[-1]
        assert "me.stack()" in own[-1]
        neighbour = handle.spawn_pinned(0, outer())
        while not neighbour.stack():
            await spargio.yield_now()
        assert "in inner" in neighbour.stack()[-1]
        other = handle.spawn_pinned(1, outer())
        while other.shard is None:
            await spargio.sleep(0.001)
        with pytest.raises(RuntimeError, match="which must not wait"):
            other.stack()
        neighbour.cancel()
        other.cancel()

    async def main(handle: spargio.RuntimeHandle) -> None:
        await handle.spawn_pinned(0, asks(handle), name="me")

    assert spargio.current_task() is None
    spargio.run(main, shards=2)


def test_through_generators_and_wrappers() -> None:
    async def generator() -> AsyncIterator[int]:
        await inner()
        yield 1

    async def iterates() -> None:
        async for _ in generator():
            pass

    class Wrapped:
        def __await__(self) -> Any:
            return inner().__await__()

    async def wrapped() -> None:
        await Wrapped()

    async def main(handle: spargio.RuntimeHandle) -> None:
        for function in (iterates, wrapped):
            job = handle.spawn(function(), name=function.__name__)
            found = await settled(handle, function.__name__)
            assert "in inner" in found.stack[-1]
            assert found.waits_for.startswith("sleep")
            job.cancel()

    spargio.run(main, shards=1)


def test_a_blocked_shard_says_where() -> None:
    release = threading.Event()

    async def blocks() -> None:
        release.wait(support.LIMIT_S)

    async def main(handle: spargio.RuntimeHandle) -> None:
        blocker = handle.spawn_pinned(1, blocks())
        while blocker.shard is None:
            await spargio.sleep(0.001)
        found = await handle.tasks(timeout=0.2)
        release.set()
        (one,) = (one for one in found if one.shard == 1)
        assert one.state == "blocked"
        assert any("in blocks" in line or "blocks\n" in line for line in one.stack)
        await blocker

    spargio.run(main, shards=2)


def test_debug_mode_says_where_it_was_made() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, outer(), name="made")
        found = await settled(handle, "made")
        assert any("in main" in line or ".main\n" in line for line in found.spawned_at)
        job.cancel()

    spargio.run(main, shards=1, debug=True)


def test_while_tasks_come_and_go() -> None:
    """Tasks that end during the look, on all shards."""

    async def short() -> None:
        await spargio.yield_now()

    with spargio.Runtime.builder().shards(3).build() as handle:
        end = time.monotonic() + 0.5
        looks = 0
        while time.monotonic() < end:
            jobs = [handle.spawn(short()) for _ in range(50)]
            handle.tasks(support.LIMIT_S).result(support.LIMIT_S)
            looks += 1
            for job in jobs:
                job.result(support.LIMIT_S)
        assert looks
