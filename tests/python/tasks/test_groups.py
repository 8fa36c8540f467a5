"""Task groups: who is cancelled, who is told, and that nobody is left."""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
import weakref
from collections.abc import Generator
from typing import Any

import pytest
import support

import spargio

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


async def nothing() -> None:
    pass


def test_a_group_waits_for_its_children(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        done: list[int] = []

        async def work(n: int) -> int:
            await spargio.sleep(0)
            done.append(n)
            return n

        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(work(n), name=f"work {n}") for n in range(50)]
            pinned = group.spawn_with_placement(spargio.TaskPlacement.Pinned(0), work(50))
        assert sorted(done) == list(range(51))
        assert [await job for job in jobs] == list(range(50))
        assert pinned.shard == 0
        assert jobs[3].name == "work 3"
        with pytest.raises(
            RuntimeError, match="TaskGroup must be open for a spawn, got one that is closed"
        ):
            group.spawn(nothing())
        with pytest.raises(RuntimeError, match="entered once"):
            async with group:
                pass

    spargio.run(main, **options)


def test_a_failure_cancels_the_others_and_is_told(options: dict[str, Any]) -> None:
    cleaned: list[str] = []

    async def clean() -> None:
        try:
            await support.forever()
        finally:
            await spargio.sleep(0)  # Clean-up gets to run.
            cleaned.append("child")

    async def main() -> None:
        try:
            async with spargio.TaskGroup() as group:
                await support.started(*[group.spawn(clean()) for _ in range(3)])
                group.spawn(support.fail(KeyError("one")))
                try:
                    await support.forever()
                finally:
                    cleaned.append("body")
        except ExceptionGroup as caught:
            assert [repr(error) for error in caught.exceptions] == ["KeyError('one')"]
        else:
            raise AssertionError
        assert sorted(cleaned) == ["body", "child", "child", "child"]
        await spargio.sleep(0)  # No cancellation is left over.

    spargio.run(main, **options)


def test_several_failures_and_the_bodys_own() -> None:
    async def main() -> None:
        waits = support.Waits()
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                group.spawn(waits.run(OSError("child")))
                await waits.until(1)
                raise ValueError("body")
        assert {type(error) for error in caught.value.exceptions} == {ValueError, OSError}

    spargio.run(main, shards=2)


def test_nested_groups() -> None:
    async def inner(n: int) -> None:
        async with spargio.TaskGroup() as group:
            group.spawn(support.forever() if n else support.fail(ValueError("deep")))
            group.spawn(support.forever())

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                for n in range(4):
                    group.spawn(inner(n))
        (deep,) = caught.value.exceptions
        assert isinstance(deep, ExceptionGroup)
        assert str(deep.exceptions[0]) == "deep"

    spargio.run(main, shards=3)


def test_a_group_of_servers_does_not_grow() -> None:
    async def main() -> None:
        async with spargio.TaskGroup() as group:
            for _ in range(1_000):
                await group.spawn(nothing())
            await support.until(lambda: not group._children)

    spargio.run(main, shards=2)


def test_all_have_ended_after_the_block(options: dict[str, Any]) -> None:
    async def main() -> None:
        for _ in range(300):
            async with spargio.TaskGroup() as group:
                jobs = [group.spawn(nothing()) for _ in range(4)]
            assert all(job.done() for job in jobs)

    spargio.run(main, **options)


def test_spawns_into_a_group_that_ends() -> None:
    async def main() -> None:
        told: list[str] = []

        async def adds(group: spargio.TaskGroup) -> None:
            try:
                await support.forever()
            finally:
                late = nothing()
                try:
                    group.spawn(late)
                except RuntimeError as error:
                    told.append(str(error))
                assert inspect.getcoroutinestate(late) == inspect.CORO_CLOSED

        async def insists(group: spargio.TaskGroup) -> None:
            try:
                await support.forever()
            finally:
                group.spawn(nothing())

        async with spargio.TaskGroup() as group:
            await support.started(group.spawn(adds(group)), group.spawn(insists(group)))
            group.cancel()
            group.spawn(nothing())  # What follows from the cancellation is no error.
        assert told == ["a TaskGroup must be open for a spawn, got one that is ending"]

        fresh = spargio.TaskGroup()
        with pytest.raises(
            RuntimeError, match="TaskGroup must be open for a spawn, got one that is not entered"
        ):
            fresh.spawn(nothing())
        # The error of a group that this one knows nothing of is one.
        with pytest.raises(ExceptionGroup):
            async with spargio.TaskGroup() as other:
                other.spawn(insist_on(group))

    async def insist_on(group: spargio.TaskGroup) -> None:
        group.spawn(nothing())

    spargio.run(main, shards=1)


def test_what_is_no_coroutine_is_refused_at_once() -> None:
    class Answer:
        def __await__(self) -> Generator[Any, None, int]:
            yield from spargio.yield_now().__await__()
            return 42

    async def main() -> None:
        async with spargio.TaskGroup() as group:
            with pytest.raises(TypeError, match="not the function"):
                group.spawn(nothing)  # type: ignore[arg-type]
            job = group.spawn(Answer())  # type: ignore[arg-type]
        assert await job == 42

    spargio.run(main, shards=1)


def test_an_error_that_the_body_had_from_a_child_is_told_once(options: dict[str, Any]) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                await group.spawn(support.fail(KeyError("one")))
        assert len(caught.value.exceptions) == 1

    spargio.run(main, **options)


def test_the_runtime_shuts_down_under_a_group() -> None:
    waits = support.Waits()

    async def grouped() -> None:
        async with spargio.TaskGroup() as group:
            for _ in range(10):
                group.spawn(waits.run())

    async def main(handle: spargio.RuntimeHandle) -> None:
        handle.spawn_stealable(grouped())
        await waits.until(10)

    spargio.run(main, shards=2)
    assert waits.cleaned == 10


def test_nothing_holds_a_group_that_ended() -> None:
    async def main() -> None:
        for fails in (False, True):
            held = await one(fails)
            gc.collect()
            assert held() is None

    async def one(fails: bool) -> weakref.ref[spargio.TaskGroup]:
        with contextlib.suppress(ExceptionGroup):
            async with spargio.TaskGroup() as group:
                group.spawn(support.fail(KeyError()) if fails else nothing())
        return weakref.ref(group)

    spargio.run(main, shards=1)
