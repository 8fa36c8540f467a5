"""Task groups, tokens, scopes, shields: who is cancelled, who is told, and that nobody is left."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import threading
import time
import weakref
from typing import Any

import pytest
import support

import spargio

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


async def nothing() -> None:
    pass


async def forever() -> None:
    await spargio.sleep(1000)


async def fail(error: Exception) -> None:
    raise error


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
        with pytest.raises(RuntimeError, match="TaskGroup that is closed"):
            group.spawn(nothing())
        with pytest.raises(RuntimeError, match="entered once"):
            async with group:
                pass

    spargio.run(main, **options)


def test_a_failure_cancels_the_others_and_is_told(options: dict[str, Any]) -> None:
    cleaned: list[str] = []

    async def clean() -> None:
        try:
            await forever()
        finally:
            await spargio.sleep(0)  # Clean-up gets to run.
            cleaned.append("child")

    async def main() -> None:
        try:
            async with spargio.TaskGroup() as group:
                for _ in range(3):
                    group.spawn(clean())
                await spargio.sleep(0.001)
                group.spawn(fail(KeyError("one")))
                try:
                    await forever()
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
    async def late(error: Exception) -> None:
        try:
            await forever()
        finally:
            raise error

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                group.spawn(late(OSError("child")))
                await spargio.sleep(0.001)
                raise ValueError("body")
        assert {type(error) for error in caught.value.exceptions} == {ValueError, OSError}

    spargio.run(main, shards=2)


def test_cancel_ends_the_block_without_an_error(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(forever()) for _ in range(20)]
            token = group.token
            handle.spawn_pinned(0, _call(group.cancel))
            await forever()
        assert token.is_cancelled()
        for job in jobs:
            with pytest.raises(spargio.TaskCancelled):
                await job
        await spargio.sleep(0)

        async with spargio.TaskGroup() as group:
            group.spawn(forever())
            threading.Timer(0.001, group.token.cancel).start()

    async def _call(function: Any) -> None:
        function()

    spargio.run(main, **options)


def test_a_cancelled_child_is_no_error() -> None:
    async def main() -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(forever()) for _ in range(5)]
            for job in jobs:
                job.cancel()
        assert all(job.cancelled() for job in jobs)

    spargio.run(main, shards=2)


def test_a_cancellation_from_outside_goes_on_when_all_have_ended(options: dict[str, Any]) -> None:
    ended: list[int] = []

    async def child(n: int) -> None:
        try:
            await forever()
        finally:
            await spargio.sleep(0)
            ended.append(n)

    async def main(handle: spargio.RuntimeHandle) -> None:
        async def grouped(wait_in_body: bool) -> None:
            async with spargio.TaskGroup() as group:
                for n in range(10):
                    group.spawn(child(n))
                if wait_in_body:
                    await forever()
            raise AssertionError("not reached")

        for wait_in_body in (True, False):
            ended.clear()
            job = handle.spawn_stealable(grouped(wait_in_body))
            await spargio.sleep(0.005)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            assert len(ended) <= 10

    spargio.run(main, **options)


def test_time_limits_around_and_inside() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            with spargio.timeout(0.01):
                async with spargio.TaskGroup() as group:
                    job = group.spawn(forever())
        assert job.cancelled()

        async with spargio.TaskGroup() as group:
            with pytest.raises(TimeoutError), spargio.timeout(0.005):
                await forever()
            group.spawn(nothing())

        # A child fails while the body waits under a time limit: the limit does not take it.
        with pytest.raises(ExceptionGroup):
            async with spargio.TaskGroup() as group:
                group.spawn(fail(KeyError()))
                with spargio.timeout(support.LIMIT_S):
                    await forever()

    spargio.run(main, shards=2)


def test_errors_and_a_cancellation_are_both_told() -> None:
    async def late() -> None:
        try:
            await forever()
        finally:
            raise OSError("late")

    async def main(handle: spargio.RuntimeHandle) -> None:
        seen: list[str] = []

        async def grouped() -> None:
            try:
                async with spargio.TaskGroup() as group:
                    group.spawn(late())
                    await forever()
            except ExceptionGroup:
                seen.append("errors")
            await spargio.sleep(0)
            seen.append("not reached")

        job = handle.spawn_stealable(grouped())
        await spargio.sleep(0.005)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        assert seen == ["errors"]

        with pytest.raises(TimeoutError):
            with spargio.timeout(0.005):
                try:
                    async with spargio.TaskGroup() as group:
                        group.spawn(late())
                except ExceptionGroup:
                    seen.append("errors")
                await forever()
        assert seen == ["errors", "errors"]

    spargio.run(main, shards=2)


def test_nested_groups() -> None:
    async def inner(n: int) -> None:
        async with spargio.TaskGroup() as group:
            group.spawn(forever() if n else fail(ValueError("deep")))
            group.spawn(forever())

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                for n in range(4):
                    group.spawn(inner(n))
        (deep,) = caught.value.exceptions
        assert isinstance(deep, ExceptionGroup)
        assert str(deep.exceptions[0]) == "deep"

    spargio.run(main, shards=3)


def test_a_refused_spawn_leaves_the_group_whole() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            accepted = 0
            coroutine = nothing()
            try:
                while True:
                    group.spawn(coroutine)
                    accepted += 1
                    coroutine = nothing()
            except spargio.Overloaded:
                coroutine.close()
        assert accepted >= 4
        stats = handle.stats_snapshot()
        assert stats.stealable_executed == accepted

    spargio.run(main, shards=1, stealable_queue_capacity=4)


def test_a_group_of_servers_does_not_grow() -> None:
    async def main() -> None:
        async with spargio.TaskGroup() as group:
            for _ in range(1_000):
                await group.spawn(nothing())
            await support.until(lambda: not group._children)

    spargio.run(main, shards=2)


def test_100_000_children_are_cancelled_half_way(options: dict[str, Any]) -> None:
    count = 100_000
    given = {**options, "stealable_queue_capacity": count}

    async def main(handle: spargio.RuntimeHandle) -> None:
        begun = ended = 0

        async def child(n: int) -> None:
            nonlocal begun, ended
            begun += 1
            try:
                if n % 2:
                    await spargio.sleep(1000)
            finally:
                ended += 1

        async with spargio.TaskGroup() as group:
            for n in range(count):
                group.spawn(child(n))
                if n % 1000 == 999:
                    await spargio.yield_now()
            began = time.perf_counter()
            group.cancel()
        took_s = time.perf_counter() - began
        print(f"{took_s:.3f} s from cancel() to the end of the block")
        if not support.free_threaded():  # There += of two shards may lose one.
            assert begun == ended
        assert not group._children

    spargio.run(main, **given)


# ---- tokens ----


def test_a_token_is_told_once_to_all(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        token = spargio.CancellationToken()
        child = token.child()
        grandchild = child.child()
        jobs = [handle.spawn_stealable(one.cancelled()) for one in (token, child, grandchild) * 3]
        await support.until(lambda: len(grandchild._calls) == 3 and len(token._calls) == 4)
        child.cancel()
        assert (token.is_cancelled(), child.is_cancelled()) == (False, True)
        assert grandchild.is_cancelled()
        for n, job in enumerate(jobs):
            if n % 3:
                await job
        assert not any(job.done() for job in jobs[::3])
        token.cancel()
        token.cancel()
        for job in jobs:
            await job
        await token.cancelled()
        assert token.child().is_cancelled()

    spargio.run(main, **options)


def test_children_that_nobody_holds_are_forgotten() -> None:
    token = spargio.CancellationToken()
    for _ in range(100):
        token.child().child()
    gc.collect()
    assert not token._calls
    kept = token.child()
    gone = weakref.ref(token.child())
    gc.collect()
    assert gone() is None
    token.cancel()
    assert kept.is_cancelled()


def test_run_until_cancelled(options: dict[str, Any]) -> None:
    async def value() -> int:
        await spargio.sleep(0)
        return 5

    async def main(handle: spargio.RuntimeHandle) -> None:
        token = spargio.CancellationToken()
        assert await token.run(value()) == 5
        with pytest.raises(KeyError):
            await token.run(fail(KeyError()))
        job = handle.spawn_stealable(token.run(forever()))
        await support.started(job)
        threading.Timer(0.001, token.cancel).start()
        with pytest.raises(spargio.TaskCancelled, match="the token was cancelled"):
            await job
        with pytest.raises(spargio.TaskCancelled):
            await token.run(forever())  # Cancelled before.
        assert not token._calls
        await spargio.sleep(0)

    spargio.run(main, **options)


def test_tokens_under_races(options: dict[str, Any]) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(300):
            token = spargio.CancellationToken()
            jobs = [handle.spawn_stealable(work(token)) for _ in range(3)]
            for _ in range(chosen.randrange(4)):
                await spargio.yield_now()
            canceller = handle.spawn_pinned(handle.shard_count() - 1, cancel(token))
            jobs[0].cancel()
            for job in jobs:
                with contextlib.suppress(spargio.TaskCancelled):
                    assert await job == "slept"
            await canceller
            assert not token._calls

    async def work(token: spargio.CancellationToken) -> str:
        return await token.run(naps())

    async def naps() -> str:
        for _ in range(3):
            await spargio.sleep(0)
        return "slept"

    async def cancel(token: spargio.CancellationToken) -> None:
        token.cancel()

    spargio.run(main, **options)


def test_a_shield() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        done = []

        async def precious() -> int:
            await spargio.sleep(0.005)
            done.append(1)
            return 7

        assert await spargio.shield(precious()) == 7
        job = handle.spawn_stealable(spargio.shield(precious()))
        await support.started(job)
        await spargio.sleep(0.001)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        await support.until(lambda: len(done) == 2)  # It went on.

    spargio.run(main, shards=2)
