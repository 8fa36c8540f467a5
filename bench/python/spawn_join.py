"""How long it takes to start an empty coroutine as a task and to wait for its end: one after the
other, and in batches of 64 that are all started before the first is awaited."""

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

BATCH: Final = 64


async def empty() -> None:
    pass


async def on_asyncio(seconds: float) -> Sample:
    async def one_by_one(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            await asyncio.create_task(empty())
        return perf_counter() - start

    async def in_batches(count: int) -> float:
        batches = count // BATCH
        start = perf_counter()
        for _ in range(batches):
            tasks = [asyncio.create_task(empty()) for _ in range(BATCH)]
            for task in tasks:
                await task
        return (perf_counter() - start) * count / (batches * BATCH)

    return {
        "ns": await worker.ns_per_operation(one_by_one, seconds),
        "ns_in_batches": await worker.ns_per_operation(in_batches, seconds),
    }


async def on_trio(seconds: float) -> Sample:
    """A nursery is how trio waits for a task: there is no handle to await."""
    import trio

    async def one_by_one(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(empty)
        return perf_counter() - start

    async def in_batches(count: int) -> float:
        batches = count // BATCH
        start = perf_counter()
        for _ in range(batches):
            async with trio.open_nursery() as nursery:
                for _ in range(BATCH):
                    nursery.start_soon(empty)
        return (perf_counter() - start) * count / (batches * BATCH)

    return {
        "ns": await worker.ns_per_operation(one_by_one, seconds),
        "ns_in_batches": await worker.ns_per_operation(in_batches, seconds),
    }


async def on_spargio(seconds: float, handle: spargio.RuntimeHandle) -> Sample:
    async def one_by_one(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            await handle.spawn_stealable(empty())
        return perf_counter() - start

    async def in_batches(count: int) -> float:
        batches = count // BATCH
        start = perf_counter()
        for _ in range(batches):
            jobs = [handle.spawn_stealable(empty()) for _ in range(BATCH)]
            for job in jobs:
                await job
        return (perf_counter() - start) * count / (batches * BATCH)

    return {
        "ns": await worker.ns_per_operation(one_by_one, seconds),
        "ns_in_batches": await worker.ns_per_operation(in_batches, seconds),
    }


RUNNERS: Final = loops.runners(on_asyncio, on_trio, on_spargio)

GROUP = Group(
    name="spawn_join",
    title="Spawn and join of an empty coroutine, ns",
    peers=loops.all_peers(),
    metrics=(
        Metric("ns", "one by one", unit="ns", headline=True),
        Metric("ns_in_batches", f"batches of {BATCH}", unit="ns", headline=True),
    ),
    targets=(
        Target("spawn + join, against asyncio", "ns", "asyncio", "peer/spargio", ">=", 6),
        Target(
            "spawn + join, against the fastest loop",
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
