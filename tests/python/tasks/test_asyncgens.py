"""Async generators (PEP 525): dropped ones are closed by a task, the rest at the end of run."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import support

import spargio


class Numbers:
    """Makes generators and writes down when they are closed, after an await in their clean-up."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    async def count(self, name: str = "") -> AsyncIterator[int]:
        try:
            for n in range(1_000_000):
                yield n
                await spargio.yield_now()
        finally:
            await spargio.sleep(0.001)
            self.closed.append(name)


def test_one_that_is_dropped_half_way_is_closed(options: dict[str, Any]) -> None:
    numbers = Numbers()

    async def consume(name: str) -> None:
        async for n in numbers.count(name):
            if n == 3:
                break

    async def main(handle: spargio.RuntimeHandle) -> None:
        names = [str(n) for n in range(12)]
        for job in [handle.spawn_stealable(consume(name)) for name in names]:
            await job
        gc.collect()
        await support.until(lambda: len(numbers.closed) == 12)
        assert sorted(numbers.closed) == sorted(names)

    spargio.run(main, **options)


def test_one_that_is_kept_is_closed_at_the_end_of_run() -> None:
    numbers = Numbers()
    kept = []

    async def main() -> str:
        kept.append(numbers.count("kept"))
        assert await kept[0].__anext__() == 0
        return "result"

    assert spargio.run(main, shards=1) == "result"
    assert numbers.closed == ["kept"]
    with pytest.raises(StopAsyncIteration):
        kept[0].__anext__().send(None)


def test_one_of_a_main_that_raises_is_closed() -> None:
    numbers = Numbers()

    async def main() -> None:
        async for n in numbers.count("raised"):
            if n == 2:
                raise LookupError("main")

    with pytest.raises(LookupError, match="main"):
        spargio.run(main, shards=1)
    assert numbers.closed == ["raised"]


def test_one_of_a_cancelled_task_is_closed(options: dict[str, Any]) -> None:
    numbers = Numbers()

    async def consume() -> None:
        async for _ in numbers.count("cancelled"):
            await spargio.sleep(1000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_stealable(consume())
        await support.until(lambda: handle.stats_snapshot().timers_set >= 3)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        gc.collect()
        await support.until(lambda: numbers.closed == ["cancelled"])

    spargio.run(main, **options)


def test_tasks_that_are_left_end_before_their_generators_are_closed() -> None:
    """A generator is not pulled away under a task that is still in its loop."""
    numbers = Numbers()
    log: list[str] = []

    async def consume() -> None:
        try:
            async for _ in numbers.count("left"):
                await spargio.sleep(1000)
        except spargio.CancelledError:
            log.extend(numbers.closed or ["open"])
            raise

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_pinned(0, consume())
        await support.until(lambda: handle.stats_snapshot().timers_set >= 3)

    spargio.run(main, shards=1)
    assert (log, numbers.closed) == (["open"], ["left"])


def test_another_runtime_leaves_them_alone() -> None:
    numbers = Numbers()
    kept = []

    async def begin() -> int:
        kept.append(numbers.count("background"))
        return await kept[0].__anext__()

    async def go_on() -> int:
        return await kept[0].__anext__()

    async def end() -> None:
        await kept[0].aclose()

    async def other() -> None:
        pass

    with spargio.Runtime.builder().shards(1).build() as handle:
        assert handle.spawn_stealable(begin()).result(support.LIMIT_S) == 0
        spargio.run(other, shards=1)
        assert numbers.closed == []
        assert handle.spawn_stealable(go_on()).result(support.LIMIT_S) == 1
        handle.spawn_stealable(end()).result(support.LIMIT_S)
    assert numbers.closed == ["background"]


def test_the_runs_result_stands_where_a_clean_up_fails(unraisables: Any) -> None:
    async def fails() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ZeroDivisionError("in the clean-up")

    numbers = Numbers()
    kept = []

    async def main() -> str:
        kept.extend([fails(), numbers.count("other")])
        for generator in kept:
            await generator.__anext__()
        return "result"

    assert spargio.run(main, shards=1) == "result"
    assert numbers.closed == ["other"]
    assert [one.kind for one in unraisables.take()] == [ZeroDivisionError]


def test_a_clean_up_of_a_dropped_one_that_fails_is_reported(unraisables: Any) -> None:
    async def fails() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await spargio.sleep(0)
            raise ZeroDivisionError("in the clean-up")

    async def consume() -> None:
        async for _ in fails():
            break

    async def main(handle: spargio.RuntimeHandle) -> None:
        await handle.spawn_stealable(consume())
        gc.collect()
        await support.until(lambda: handle.stats_snapshot().tasks_ended >= 2)

    spargio.run(main, shards=1)
    assert [(one.kind, one.text) for one in unraisables.take()] == [
        (ZeroDivisionError, "in the clean-up")
    ]


def test_the_threads_hooks_are_as_before() -> None:
    before = sys.get_asyncgen_hooks()

    async def main() -> Any:
        return sys.get_asyncgen_hooks()

    inside = spargio.run(main, shards=1)
    assert sys.get_asyncgen_hooks() == before
    assert inside.firstiter is not None
    assert inside.finalizer is not None


def test_many_at_once_on_all_shards() -> None:
    numbers = Numbers()

    async def consume(name: str) -> int:
        async for n in numbers.count(name):
            if n == 5:
                return n
        raise AssertionError

    async def main(handle: spargio.RuntimeHandle) -> None:
        for round_number in range(5):
            names = [f"{round_number}/{n}" for n in range(100)]
            jobs = [handle.spawn_stealable(consume(name)) for name in names]
            assert [await job for job in jobs] == [5] * 100
        gc.collect()
        await support.until(lambda: len(numbers.closed) == 500)

    spargio.run(main, shards=4)
