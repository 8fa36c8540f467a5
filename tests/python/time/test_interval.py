"""Instants, sleeps that move, and ticks."""

from __future__ import annotations

import contextlib
import random
from time import monotonic
from typing import Any

import pytest
import support

import spargio
from spargio import MissedTickBehavior
from spargio.testing import MockClock


def test_instants() -> None:
    async def main() -> None:
        deadline = monotonic() + 0.01
        await spargio.sleep_until(deadline)
        assert monotonic() >= deadline
        await spargio.sleep_until(deadline - 100)
        with pytest.raises(TimeoutError), spargio.timeout_at(monotonic() + 0.005):
            await spargio.sleep(1000)
        with spargio.timeout_at(None):
            await spargio.sleep(0)
        with pytest.raises(TimeoutError), spargio.timeout_at(monotonic() - 1):
            await spargio.sleep(1000)

    spargio.run(main, shards=1)


def test_a_sleep_is_moved_while_tasks_wait(options: dict[str, Any]) -> None:
    async def wait(sleep: spargio.Sleep) -> float:
        await sleep
        return monotonic()

    async def main(handle: spargio.RuntimeHandle) -> None:
        sleep = spargio.Sleep(1000)
        jobs = [handle.spawn_stealable(wait(sleep)) for _ in range(5)]
        await support.started(*jobs)
        assert not sleep.is_elapsed()
        sleep.reset(monotonic() + 2000)
        deadline = monotonic() + 0.01
        sleep.reset(deadline)
        assert sleep.deadline == deadline
        for job in jobs:
            assert await job >= deadline
        assert sleep.is_elapsed()
        await sleep
        await spargio.Sleep.until(deadline)
        with pytest.raises(ValueError, match="seconds is -1"):
            spargio.Sleep(-1)

    spargio.run(main, **options)


def test_ticks_keep_their_schedule() -> None:
    async def main() -> None:
        start = monotonic() + 0.01
        ticks = spargio.interval_at(start, 0.005)
        due = [await ticks.tick() for _ in range(5)]
        assert due == [pytest.approx(start + n * 0.005) for n in range(5)]
        assert monotonic() >= due[-1]
        count = 0
        async for _ in spargio.interval(0.001):
            count += 1
            if count == 3:
                break
        with pytest.raises(ValueError, match="period is 0"):
            spargio.interval(0)

    spargio.run(main, shards=1)


@pytest.mark.parametrize("behavior", list(MissedTickBehavior))
def test_missed_ticks(behavior: MissedTickBehavior) -> None:
    """By a clock that only the test moves: a busy machine is late by more than a period."""
    period = 10.0

    async def main(clock: MockClock) -> None:
        ticks = spargio.interval(period, behavior)
        assert ticks.period == period
        clock.jump(5.5 * period)  # Five and a half periods late.
        assert await ticks.tick() == 0
        second = await ticks.tick()
        if behavior is MissedTickBehavior.BURST:
            assert (second, clock.time()) == (period, 5.5 * period)
            assert [await ticks.tick() for _ in range(4)] == [n * period for n in range(2, 6)]
            assert clock.time() == 5.5 * period
            assert await ticks.tick() == 6 * period == clock.time()
        elif behavior is MissedTickBehavior.DELAY:
            assert second == 6.5 * period == clock.time()
        else:
            assert second == 6 * period == clock.time()

    with MockClock() as clock:
        spargio.run(lambda: main(clock), shards=1)


def test_a_cancelled_wait_takes_no_tick() -> None:
    async def main() -> None:
        start = monotonic() + 0.5
        ticks = spargio.interval_at(start, 1000)
        with pytest.raises(TimeoutError), spargio.timeout(0.001):
            await ticks.tick()
        assert await ticks.tick() == start

    spargio.run(main, shards=1)


def test_instants_count_from_where_they_are_used() -> None:
    async def main() -> None:
        deadline = monotonic() + 0.5
        sleep, limit = spargio.sleep_until(deadline), spargio.timeout_at(deadline)
        await spargio.sleep_until(deadline)
        began = monotonic()
        await sleep
        with pytest.raises(TimeoutError), limit:
            await spargio.sleep(1000)
        assert monotonic() - began < 0.5

    spargio.run(main, shards=1)


def test_what_is_no_instant() -> None:
    nan = float("nan")

    async def main() -> None:
        for wrong in (
            lambda: spargio.timeout_at(nan),
            lambda: spargio.Sleep.until(nan),
            lambda: spargio.Sleep(1).reset(nan),
            lambda: spargio.interval_at(nan, 1),
            lambda: spargio.interval_at(0, nan),
        ):
            with pytest.raises(ValueError, match="nan"):
                wrong()
        with pytest.raises(ValueError, match="nan"):
            await spargio.sleep_until(nan)
        with pytest.raises(TimeoutError), spargio.timeout(0.001):
            await spargio.sleep_until(float("inf"))
        with spargio.timeout_at(float("inf")):
            await spargio.sleep_until(float("-inf"))

    spargio.run(main, shards=1)


def test_a_sleep_that_is_moved_again_and_again(options: dict[str, Any]) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def wait(sleep: spargio.Sleep) -> None:
        await sleep

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(50):
            sleep = spargio.Sleep(1000)
            jobs = [handle.spawn_stealable(wait(sleep)) for _ in range(4)]
            for _ in range(chosen.randrange(5)):
                sleep.reset(monotonic() + 1000)
                await spargio.yield_now()
            jobs[0].cancel()
            sleep.reset(monotonic())
            with contextlib.suppress(spargio.TaskCancelled):
                await jobs[0]
            for job in jobs[1:]:
                await job

    spargio.run(main, **options)
