"""What an asyncio loop costs where no kernel is asked for anything: callbacks, timers and tasks of
the same program on every loop. A value is CPU time of the process, and the least of several runs of
one process: what others do on the machine makes a run longer, never shorter."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import process_time_ns
from typing import Any, Final

import asyncio_loops
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Sample, Settings, Target

BATCH: Final = 1000
TASKS: Final = 64
RUNS: Final = 9
"""Of a measurement, at the least; the shortest one counts."""

Program = Callable[[int], Awaitable[int]]
"""Does about so many operations, and returns how many they were."""


async def call_soon(count: int) -> int:
    """Batches of a thousand, each scheduled by the last callback of the one before."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    left = count // BATCH

    def callback() -> None:
        pass

    def batch() -> None:
        nonlocal left
        if left == 0:
            ended.set_result(None)
            return
        left -= 1
        for _ in range(BATCH - 1):
            loop.call_soon(callback)
        loop.call_soon(batch)

    batch()
    await ended
    return count // BATCH * BATCH


async def call_soon_chain(count: int) -> int:
    """One callback a turn."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            ended.set_result(None)

    loop.call_soon(step)
    await ended
    return count


async def call_soon_3(count: int) -> int:
    """With three arguments."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    left = count // BATCH

    def callback(one: int, two: int, three: int) -> None:
        pass

    def batch() -> None:
        nonlocal left
        if left == 0:
            ended.set_result(None)
            return
        left -= 1
        for _ in range(BATCH - 1):
            loop.call_soon(callback, 1, 2, 3)
        loop.call_soon(batch)

    batch()
    await ended
    return count // BATCH * BATCH


async def threadsafe_own(count: int) -> int:
    """call_soon_threadsafe() from the loop's own thread."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    left = count // BATCH

    def callback() -> None:
        pass

    def batch() -> None:
        nonlocal left
        if left == 0:
            ended.set_result(None)
            return
        left -= 1
        for _ in range(BATCH - 1):
            loop.call_soon_threadsafe(callback)
        loop.call_soon(batch)

    batch()
    await ended
    return count // BATCH * BATCH


async def threadsafe_other(count: int) -> int:
    """call_soon_threadsafe() from another thread."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    left = count

    def callback() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            ended.set_result(None)

    def produce() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(callback)

    thread = threading.Thread(target=produce)
    thread.start()
    await ended
    thread.join()
    return count


async def timer(count: int) -> int:
    """call_later() and cancel()."""
    loop = asyncio.get_running_loop()

    def callback() -> None:
        pass

    for _ in range(count // BATCH):
        for _ in range(BATCH):
            loop.call_later(10, callback).cancel()
        await asyncio.sleep(0)
    return count // BATCH * BATCH


async def sleep_0(count: int) -> int:
    for _ in range(count):
        await asyncio.sleep(0)
    return count


async def sleep_0_in_turns(count: int) -> int:
    tasks = [asyncio.create_task(sleep_0(count // TASKS)) for _ in range(TASKS)]
    for task in tasks:
        await task
    return count // TASKS * TASKS


async def _nothing() -> None:
    pass


async def task(count: int) -> int:
    for _ in range(count):
        await asyncio.create_task(_nothing())
    return count


async def task_in_batches(count: int) -> int:
    for _ in range(count // TASKS):
        tasks = [asyncio.create_task(_nothing()) for _ in range(TASKS)]
        for one in tasks:
            await one
    return count // TASKS * TASKS


PROGRAMS: Final[dict[str, tuple[Program, str, float]]] = {
    # The title, and how many times less than uvloop's time it should take (CPython 3.13).
    "call_soon": (call_soon, "call_soon, 1,000 a turn", 1.8),
    "call_soon_chain": (call_soon_chain, "call_soon, one a turn", 1.8),
    "call_soon_3": (call_soon_3, "call_soon with three arguments", 1.6),
    "threadsafe_own": (threadsafe_own, "call_soon_threadsafe from the loop's thread", 1.7),
    "threadsafe_other": (threadsafe_other, "call_soon_threadsafe from another thread", 1.7),
    "timer": (timer, "a timer made and cancelled", 3.0),
    "sleep_0": (sleep_0, "asyncio.sleep(0), one task", 2.2),
    "sleep_0_in_turns": (sleep_0_in_turns, f"asyncio.sleep(0), {TASKS} tasks in turn", 1.4),
    "task": (task, "create_task and await, one by one", 1.6),
    "task_in_batches": (task_in_batches, f"create_task and await, batches of {TASKS}", 1.4),
}


async def least_ns(program: Program, seconds: float) -> float:
    """CPU time of one operation."""
    count, found = BATCH, []
    await program(count)
    while True:
        start = process_time_ns()
        done = await program(count)
        took = process_time_ns() - start
        if took < seconds * 1e9 / RUNS / 2:
            count *= 2
            continue
        found.append(took / done)
        if len(found) == RUNS:
            return min(found)


def measured(what: str, peer: str, seconds: float) -> Sample:
    program, _, _ = PROGRAMS[what]
    return {"ns": asyncio_loops.run(peer, least_ns(program, seconds))}


@contextlib.contextmanager
def prepare(what: str, settings: Settings) -> Iterator[Measure]:
    # The row with two threads needs both.
    cpus = None if what == "threadsafe_other" else {processes.two_cpus()[0]}

    def measure(peer: str) -> Sample:
        seconds = str(settings.seconds)
        command = processes.python(
            Path(__file__), "--what", what, "--peer", peer, "--seconds", seconds
        )
        return worker.parse(processes.run(command, cpus=cpus, seconds=60 + 20 * settings.seconds))

    yield measure


def group_of(what: str) -> Group:
    _, title, factor = PROGRAMS[what]
    return Group(
        name=f"asyncio_{what}",
        family="asyncio_calls",
        title=f"asyncio: {title}, CPU ns",
        peers=asyncio_loops.peers(),
        metrics=(Metric("ns", "CPU ns", unit="ns of CPU", headline=True),),
        targets=(Target("against uvloop", "ns", "uvloop", "peer/spargio", ">=", factor),),
        prepare=functools.partial(prepare, what),
        subject=SPARGIO,
    )


GROUPS: Final = tuple(group_of(what) for what in PROGRAMS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--what", required=True, choices=PROGRAMS)
    parser.add_argument("--peer", required=True, choices=asyncio_loops.NAMES)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument(
        "--count", type=int, help="so many operations, and no measurement: for a profiler"
    )
    arguments = parser.parse_args()
    if arguments.count:
        program: Any = PROGRAMS[arguments.what][0]
        asyncio_loops.run(arguments.peer, program(arguments.count))
        return
    print(json.dumps(measured(arguments.what, arguments.peer, arguments.seconds)))


if __name__ == "__main__":
    main()
