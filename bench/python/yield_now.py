"""How long it takes to let the others run: `asyncio.sleep(0)`, `trio.sleep(0)` and
`spargio.yield_now()`, in one task alone, and in 64 tasks that take turns (where a loop that polls
the kernel on every turn shares that cost among them)."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import loops
import worker
from harness import Group, Metric, Sample, Target

if TYPE_CHECKING:
    import spargio

TASKS: Final = 64


async def on_asyncio(seconds: float) -> Sample:
    async def yields(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def alone(count: int) -> float:
        start = perf_counter()
        await yields(count)
        return perf_counter() - start

    async def in_turns(count: int) -> float:
        start = perf_counter()
        tasks = [asyncio.create_task(yields(count // TASKS)) for _ in range(TASKS)]
        for task in tasks:
            await task
        return (perf_counter() - start) * count / (count // TASKS * TASKS)

    return {
        "ns": await worker.ns_per_operation(alone, seconds),
        "ns_in_turns": await worker.ns_per_operation(in_turns, seconds),
    }


async def on_trio(seconds: float) -> Sample:
    import trio

    async def yields(count: int) -> None:
        for _ in range(count):
            await trio.sleep(0)

    async def alone(count: int) -> float:
        start = perf_counter()
        await yields(count)
        return perf_counter() - start

    async def in_turns(count: int) -> float:
        start = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(TASKS):
                nursery.start_soon(yields, count // TASKS)
        return (perf_counter() - start) * count / (count // TASKS * TASKS)

    return {
        "ns": await worker.ns_per_operation(alone, seconds),
        "ns_in_turns": await worker.ns_per_operation(in_turns, seconds),
    }


async def on_spargio(seconds: float, handle: spargio.RuntimeHandle) -> Sample:
    import spargio

    async def yields(count: int) -> None:
        for _ in range(count):
            await spargio.yield_now()

    async def alone(count: int) -> float:
        start = perf_counter()
        await yields(count)
        return perf_counter() - start

    async def in_turns(count: int) -> float:
        start = perf_counter()
        jobs = [handle.spawn_stealable(yields(count // TASKS)) for _ in range(TASKS)]
        for job in jobs:
            await job
        return (perf_counter() - start) * count / (count // TASKS * TASKS)

    return {
        "ns": await worker.ns_per_operation(alone, seconds),
        "ns_in_turns": await worker.ns_per_operation(in_turns, seconds),
    }


RUNNERS: Final = loops.runners(on_asyncio, on_trio, on_spargio)

GROUP = Group(
    name="yield_now",
    title="One yield to the scheduler, ns",
    peers=loops.all_peers(),
    metrics=(
        Metric("ns", "1 task", unit="ns", headline=True),
        Metric("ns_in_turns", f"{TASKS} tasks in turn", unit="ns", headline=True),
    ),
    targets=(
        Target("yield, against asyncio", "ns", "asyncio", "peer/spargio", ">=", 12),
        Target(
            "yield, against the fastest loop",
            "ns",
            (*loops.names(), "trio"),
            "peer/spargio",
            ">=",
            3,
        ),
    ),
    prepare=functools.partial(worker.single_threaded, Path(__file__)),
)

if __name__ == "__main__":
    worker.main(RUNNERS)
