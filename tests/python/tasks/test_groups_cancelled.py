"""Task groups that are cancelled: by themselves, from outside, by time limits and signals."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from typing import Any

import pytest
import support

import spargio
from spargio._ffi.core import native

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


async def nothing() -> None:
    pass


def test_cancel_ends_the_block_without_an_error(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(support.forever()) for _ in range(20)]
            token = group.token
            handle.spawn_pinned(0, _call(group.cancel))
            await support.forever()
        assert token.is_cancelled()
        for job in jobs:
            with pytest.raises(spargio.TaskCancelled):
                await job
        await spargio.sleep(0)

        async with spargio.TaskGroup() as group:
            group.spawn(support.forever())
            threading.Timer(0.001, group.token.cancel).start()

    async def _call(function: Any) -> None:
        function()

    spargio.run(main, **options)


def test_a_cancelled_child_is_no_error() -> None:
    async def main() -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(support.forever()) for _ in range(5)]
            for job in jobs:
                job.cancel()
        assert all(job.cancelled() for job in jobs)

    spargio.run(main, shards=2)


def test_a_cancellation_from_outside_goes_on_when_all_have_ended(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async def grouped(waits: support.Waits, wait_in_body: bool) -> None:
            try:
                async with spargio.TaskGroup() as group:
                    for _ in range(10):
                        group.spawn(waits.run())
                    if wait_in_body:
                        await support.forever()
            finally:
                assert waits.cleaned == 10
            raise AssertionError("not reached")

        for wait_in_body in (True, False):
            waits = support.Waits()
            job = handle.spawn_stealable(grouped(waits, wait_in_body))
            await waits.until(10)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            assert waits.cleaned == 10

    spargio.run(main, **options)


def test_time_limits_around_and_inside() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            with spargio.timeout(0.01):
                async with spargio.TaskGroup() as group:
                    job = group.spawn(support.forever())
        assert job.cancelled()

        async with spargio.TaskGroup() as group:
            with pytest.raises(TimeoutError), spargio.timeout(0.005):
                await support.forever()
            group.spawn(nothing())

        # A child fails while the body waits under a time limit: the limit does not take it.
        with pytest.raises(ExceptionGroup):
            async with spargio.TaskGroup() as group:
                group.spawn(support.fail(KeyError()))
                with spargio.timeout(support.LIMIT_S):
                    await support.forever()

    spargio.run(main, shards=2)


def test_errors_and_a_cancellation_are_both_told() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        seen: list[str] = []
        waits = support.Waits()

        async def grouped() -> None:
            try:
                async with spargio.TaskGroup() as group:
                    group.spawn(waits.run(OSError("late")))
                    await support.forever()
            except ExceptionGroup:
                seen.append("errors")
            await spargio.sleep(0)
            seen.append("not reached")

        job = handle.spawn_stealable(grouped())
        await waits.until(1)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        assert seen == ["errors"]

        with pytest.raises(TimeoutError):
            with spargio.timeout(0.05):
                try:
                    async with spargio.TaskGroup() as group:
                        group.spawn(waits.run(OSError("late")))
                        await waits.until(2)
                except ExceptionGroup:
                    seen.append("errors")
                await support.forever()
        assert seen == ["errors", "errors"]

    spargio.run(main, shards=2)


@pytest.mark.parametrize("first", ["cancellation", "limit"])
@pytest.mark.parametrize("in_body", [True, False])
def test_a_time_limit_does_not_swallow_a_cancellation_from_outside(
    first: str, in_body: bool
) -> None:
    """Both come while the block waits for a child that takes its time to clean up."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        log: list[str] = []
        limit = spargio.timeout(support.LIMIT_S)
        cleaning: spargio.Future[None] = native.future()
        go_on: spargio.Future[None] = native.future()

        async def slow() -> None:
            try:
                await support.forever()
            finally:
                cleaning.set_result(None)
                await go_on

        async def grouped() -> None:
            try:
                with limit:
                    async with spargio.TaskGroup() as group:
                        group.spawn(slow())
                        log.append("waits")
                        if in_body:
                            await support.forever()
            except TimeoutError:
                log.append("limit")
                # The cancellation is told all the same, at the next await.
            await support.forever()

        job = handle.spawn_pinned(0, grouped())
        await support.until(lambda: log)
        await support.started(job)
        told = [job.cancel, limit._limit.expire]
        for tell in told if first == "cancellation" else told[::-1]:
            tell()
            await cleaning
            for _ in range(10):
                await spargio.yield_now()  # The group has it, and waits on.
        go_on.set_result(None)
        with pytest.raises(spargio.TaskCancelled):
            await job
        assert log == ["waits"]

    spargio.run(main, shards=1)


def test_races_of_limits_failures_and_cancellations(options: dict[str, Any]) -> None:
    """A cancellation that is lost would leave its task waiting forever."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def child(steps: int, fails: bool) -> None:
        try:
            for _ in range(steps):
                await spargio.yield_now()
            if fails:
                raise KeyError
            await support.forever()
        finally:
            await spargio.yield_now()

    async def grouped(jobs: list[Any], plan: list[tuple[int, bool]], seconds: float) -> None:
        try:
            with spargio.timeout(seconds):
                async with spargio.TaskGroup() as group:
                    jobs += [group.spawn(child(*one)) for one in plan]
        except (TimeoutError, ExceptionGroup):
            pass
        finally:
            assert all(job.done() for job in jobs)
        await support.forever()

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(150):
            plan = [(chosen.randrange(20), chosen.random() < 0.1) for _ in range(4)]
            seconds = chosen.choice([0, 1e-5, 1e-4, 1e-3, 1000])
            jobs: list[Any] = []
            job = handle.spawn_stealable(grouped(jobs, plan, seconds))
            for _ in range(chosen.randrange(30)):
                await spargio.yield_now()
            job.cancel()
            with spargio.timeout(support.LIMIT_S), pytest.raises(spargio.TaskCancelled):
                await job
            assert all(one.done() for one in jobs)

    spargio.run(main, **options)


def test_100_000_children_are_cancelled_half_way(options: dict[str, Any]) -> None:
    count = 100_000
    given = {**options, "stealable_queue_capacity": count, "steal_budget": 4096}

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
                    await spargio.sleep(0)  # The pass ends: what is queued begins.
            jobs = [child.handle for child in list(group._children.values())]
            began = time.perf_counter()
            group.cancel()
        took_s = time.perf_counter() - began
        print(f"{took_s:.3f} s from cancel() to the end of the block, {len(jobs)} were left")
        assert count // 2 <= len(jobs)
        assert all(job.done() for job in jobs)
        if not support.free_threaded():  # There += of two shards may lose one.
            assert begun == ended
            assert begun > 0
        assert not group._children

    spargio.run(main, **given)


def test_children_that_never_begin(options: dict[str, Any]) -> None:
    """Cancelled one by one, or with the group: their coroutines are closed."""

    async def never() -> None:
        raise AssertionError

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(never()) for _ in range(10)]
            assert all(job.cancel() for job in jobs)
        assert all(job.cancelled() for job in jobs)
        async with spargio.TaskGroup() as group:
            jobs = [group.spawn(never()) for _ in range(10)]
            group.cancel()
        assert all(job.cancelled() for job in jobs)

    spargio.run(main, **{**options, "shards": 1})


def test_who_awaits_a_cancelled_sibling_is_no_error() -> None:
    async def main() -> None:
        async def joins(other: spargio.JoinHandle[None]) -> None:
            try:
                await support.forever()
            finally:
                await other

        for body_joins in (False, True):
            async with spargio.TaskGroup() as group:
                other = group.spawn(support.forever())
                await support.started(other, group.spawn(joins(other)))
                group.cancel()
                if body_joins:
                    await joins(other)
        # Without an end of the group it is one.
        with pytest.raises(ExceptionGroup) as caught:
            async with spargio.TaskGroup() as group:
                other = group.spawn(support.forever())
                other.cancel()
                await other
        assert [type(error) for error in caught.value.exceptions] == [spargio.TaskCancelled]

    spargio.run(main, shards=1)


def test_cancelled_before_it_is_entered() -> None:
    async def main() -> None:
        for cancel in (lambda g: g.cancel(), lambda g: g.token.cancel()):
            group = spargio.TaskGroup()
            cancel(group)
            async with group:
                await support.forever()
                raise AssertionError
            await spargio.sleep(0)

    spargio.run(main, shards=1)


def test_cancelled_by_a_signal_handler_at_any_point() -> None:
    """It may strike inside spawn() on the very thread that runs it."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)
    groups: list[spargio.TaskGroup] = []
    before = signal.signal(signal.SIGALRM, lambda *_: groups[-1].cancel())

    async def main() -> None:
        for _ in range(100):
            async with spargio.TaskGroup() as group:
                groups.append(group)
                signal.setitimer(signal.ITIMER_REAL, chosen.uniform(1e-5, 1e-3))
                while True:
                    for _ in range(50):
                        group.spawn(nothing())
                    await spargio.yield_now()
            assert not group._children

    try:
        spargio.run(main, shards=1)
    finally:
        signal.signal(signal.SIGALRM, before)
