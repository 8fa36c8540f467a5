"""100,000 tasks that sleep, all at once: for 0 to 1 s, a different time each, in shuffled order.
The end is that of the longest sleep for every peer, so what counts is the CPU time per timer: to
start the task, to set the timer, to fire it, to end the task; and how late they are."""

from __future__ import annotations

import asyncio
import functools
import random
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import loops
import worker
from harness import Group, Metric, Sample
from processes import MeasurementFailed

if TYPE_CHECKING:
    import spargio

TIMERS: Final = 100_000
QUICK_TIMERS: Final = 5_000
LONGEST_S: Final = 1.0
SEED: Final = 20_240_607


def delays(seconds: float) -> list[float]:
    """Short measurements take fewer, and shorter ones."""
    count, longest = (TIMERS, LONGEST_S) if seconds >= 0.5 else (QUICK_TIMERS, seconds)
    found = [longest * n / count for n in range(count)]
    random.Random(SEED).shuffle(found)
    return found


class Lateness:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleeper(self, sleep: Callable[[float], Awaitable[object]], delay: float) -> None:
        start = perf_counter()
        await sleep(delay)
        self.seconds.append(perf_counter() - start - delay)


async def sample(
    run_all: Callable[[list[float], Lateness], Awaitable[None]], seconds: float
) -> Sample:
    wanted = delays(seconds)
    late = Lateness()
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = perf_counter()
    await run_all(wanted, late)
    took = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    if len(late.seconds) != len(wanted):
        raise MeasurementFailed(f"{len(late.seconds)} of {len(wanted)} timers fired")
    ordered = sorted(late.seconds)
    # The loops of libuv and of asyncio round to a millisecond; more than that is a broken timer.
    if ordered[0] < -0.002:
        raise MeasurementFailed(f"a timer fired {-ordered[0] * 1e3:.1f} ms before its time")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_us": cpu / len(wanted) * 1e6,
        "wall_ms": took * 1e3,
        "late_p50_us": ordered[len(ordered) // 2] * 1e6,
        "late_p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
    }


async def on_asyncio(seconds: float) -> Sample:
    async def run_all(wanted: list[float], late: Lateness) -> None:
        tasks = [asyncio.create_task(late.sleeper(asyncio.sleep, delay)) for delay in wanted]
        for task in tasks:
            await task

    return await sample(run_all, seconds)


async def on_trio(seconds: float) -> Sample:
    import trio

    async def run_all(wanted: list[float], late: Lateness) -> None:
        async with trio.open_nursery() as nursery:
            for delay in wanted:
                nursery.start_soon(late.sleeper, trio.sleep, delay)

    return await sample(run_all, seconds)


async def on_spargio(seconds: float, handle: spargio.RuntimeHandle) -> Sample:
    import spargio

    async def run_all(wanted: list[float], late: Lateness) -> None:
        jobs = []
        for delay in wanted:
            sleeper = late.sleeper(spargio.sleep, delay)
            while True:
                try:
                    jobs.append(handle.spawn_stealable(sleeper))
                    break
                except spargio.Overloaded:  # The queue is full of those that have not begun.
                    await spargio.yield_now()
        for job in jobs:
            await job

    return await sample(run_all, seconds)


RUNNERS: Final = loops.runners(on_asyncio, on_trio, on_spargio)

GROUP = Group(
    name="timers",
    title=f"{TIMERS:,} sleeping tasks, per task",
    peers=loops.all_peers(),
    metrics=(
        Metric("cpu_us", "CPU us", 2, unit="us of CPU", headline=True),
        Metric("wall_ms", "all of them, ms", ratio=False),
        Metric("late_p50_us", "late p50 us", ratio=False),
        Metric("late_p99_us", "late p99 us", ratio=False),
    ),
    targets=(),
    prepare=functools.partial(worker.single_threaded, Path(__file__)),
)

if __name__ == "__main__":
    worker.main(RUNNERS)
