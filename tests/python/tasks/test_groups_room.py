"""More children than a queue holds, waiting for room, and children that say when they are ready."""

from __future__ import annotations

import inspect
import sys
import threading
import time
from typing import Any

import pytest
import support

import spargio
from spargio import TaskPlacement
from spargio._ffi.core import native

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup

QUEUE = 4


async def nothing() -> None:
    pass


def test_a_group_takes_more_than_the_queue_holds() -> None:
    ran: list[int] = []

    async def child(n: int) -> None:
        ran.append(n)

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(child(n)) for n in range(1_000)]
            pinned = group.spawn(nothing(), placement=TaskPlacement.Pinned(0))
        assert all(job.done() for job in (*jobs, pinned))
        assert sorted(ran) == list(range(1_000))
        with pytest.raises(spargio.Overloaded):  # A plain spawn is bounded as before.
            for _ in range(QUEUE + 1):
                coroutine = nothing()
                handle.spawn_stealable(coroutine)
        coroutine.close()

    spargio.run(main, shards=1, stealable_queue_capacity=QUEUE)


def test_a_place_that_nobody_takes_goes_to_the_next() -> None:
    """Those that wait for room on another shard, and do not spawn, keep nobody waiting for it."""
    waiting = 20
    begun, blocked, go = 0, threading.Event(), threading.Event()

    async def blocks() -> None:
        blocked.set()
        go.wait()

    async def waits(handle: spargio.RuntimeHandle) -> None:
        nonlocal begun
        begun += 1
        await handle._runtime.room(1)

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            group.spawn(blocks(), placement=TaskPlacement.Pinned(1))
            blocked.wait()
            group.spawn(nothing(), placement=TaskPlacement.StealablePreferred(1))
            jobs = [
                group.spawn(waits(handle), placement=TaskPlacement.Pinned(0))
                for _ in range(waiting)
            ]
            while begun < waiting:
                await spargio.yield_now()
            began = time.monotonic()
            go.set()
            for job in jobs:
                await job
            # By chance a parked shard looks twice a second.
            assert time.monotonic() - began < waiting / 4 * 0.5

    spargio.run(main, shards=2, stealable_queue_capacity=1)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("what", ["group", "handle"])
def test_spawn_wait_goes_as_fast_as_they_begin(what: str, shards: int) -> None:
    begun = 0

    async def child() -> None:
        nonlocal begun
        begun += 1

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            spawner: Any = group if what == "group" else handle
            jobs = []
            for n in range(500):
                jobs.append(await spawner.spawn_wait(child(), name=str(n)))
                if shards == 1:
                    assert n + 1 - begun <= QUEUE  # Not one is anywhere but in the queue.
            for job in jobs:
                await job
            assert [job.name for job in jobs] == [str(n) for n in range(500)]
        assert begun == 500

    spargio.run(main, shards=shards, stealable_queue_capacity=QUEUE)


def test_many_wait_for_room() -> None:
    async def spawner(handle: spargio.RuntimeHandle) -> None:
        for _ in range(20):
            await handle.spawn_wait(nothing(), placement=TaskPlacement.StealablePreferred(0))

    async def main(handle: spargio.RuntimeHandle) -> None:
        shards = handle.shard_count()
        for job in [handle.spawn_pinned(n % shards, spawner(handle)) for n in range(50)]:
            await job
        await support.until(lambda: handle.stats_snapshot().stealable_executed == 1_000)

    for shards in (1, 2):
        spargio.run(main, shards=shards, stealable_queue_capacity=QUEUE)


def test_room_that_a_thief_makes() -> None:
    """The shard itself is stuck."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(20):
            at = TaskPlacement.StealablePreferred(0)
            job = await handle.spawn_wait(nothing(), placement=at)
        await job

    with spargio.Runtime.builder().shards(2).stealable_queue_capacity(QUEUE).build() as handle:
        with support.Blocker(handle, 0):
            handle.spawn_pinned(1, main(handle)).result(support.LIMIT_S)


@pytest.mark.parametrize("what", ["group", "handle"])
def test_a_cancelled_wait_for_room_has_spawned_nothing(what: str) -> None:
    coroutine = nothing()

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            spawner: Any = group if what == "group" else handle

            async def wait() -> None:
                for _ in range(QUEUE):
                    await spawner.spawn_wait(nothing())  # Suspends nobody: there is room.
                native.current_task().cancel()  # type: ignore[union-attr]
                await spawner.spawn_wait(coroutine)

            with pytest.raises(spargio.TaskCancelled):
                await handle.spawn_pinned(0, wait())
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
        assert handle.stats_snapshot().stealable_executed == QUEUE

    spargio.run(main, shards=1, stealable_queue_capacity=QUEUE)


# ---- start ----


def test_start_gives_what_the_child_says(options: dict[str, Any]) -> None:
    ended: list[str] = []

    async def server(name: str, *, task_status: spargio.TaskStatus[str]) -> None:
        await spargio.yield_now()
        task_status.started(f"{name} is ready")
        with pytest.raises(RuntimeError, match="called before"):
            task_status.started("again")
        await spargio.yield_now()
        ended.append(name)

    async def main() -> None:
        async with spargio.TaskGroup() as group:
            assert await group.start(server, "one") == "one is ready"
            assert await group.start(server, "two", name="named") == "two is ready"
        assert sorted(ended) == ["one", "two"]

    spargio.run(main, **options)


def test_start_raises_what_comes_before() -> None:
    async def fails(*, task_status: Any) -> None:
        await spargio.yield_now()
        raise ValueError("before")

    async def silent(*, task_status: Any) -> None:
        pass

    async def late(*, task_status: Any) -> None:
        task_status.started()
        raise ValueError("after")

    async def main() -> None:
        async with spargio.TaskGroup() as group:
            with pytest.raises(ValueError, match="before"):
                await group.start(fails)
            with pytest.raises(RuntimeError, match="without a call of task_status.started"):
                await group.start(silent)
            await group.spawn(nothing())  # The group is whole.
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                assert await group.start(late) is None
        assert [str(error) for error in caught.value.exceptions] == ["after"]

    spargio.run(main, shards=1)


def test_a_cancelled_start_ends_its_child() -> None:
    order: list[str] = []

    async def slow(*, task_status: Any) -> None:
        try:
            await spargio.sleep(support.LIMIT_S * 2)
        finally:
            await spargio.shield(spargio.yield_now())
            task_status.started()  # Nobody listens any more.
            order.append("child")

    async def main() -> None:
        async with spargio.TaskGroup() as group:
            with spargio.move_on_after(0.005) as limit:
                await group.start(slow)
            assert limit.cancelled_caught
            order.append("start")
        assert order == ["child", "start"]

    spargio.run(main, shards=1)


def test_a_child_that_fails_after_a_cancelled_start_is_told() -> None:
    async def fails(*, task_status: Any) -> None:
        try:
            await spargio.sleep(support.LIMIT_S * 2)
        finally:
            raise ValueError("in its clean-up")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                with spargio.move_on_after(0.005):
                    await group.start(fails)
        assert [str(error) for error in caught.value.exceptions] == ["in its clean-up"]

    spargio.run(main, shards=1)
