"""What an idle runtime with four shards costs, or an idle event loop: its main task sleeps. CPU
time as a part of one CPU's, and how often the process was woken."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Final

import loops
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Sample, Settings, Target

SHARDS: Final = 4
SETTLE_S: Final = 0.1


async def sample(sleep: Callable[[float], Awaitable[object]], seconds: float) -> Sample:
    await sleep(SETTLE_S)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = perf_counter()
    await sleep(seconds)
    took = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_percent": cpu / took * 100,
        "waits_per_second": (after.ru_nvcsw - before.ru_nvcsw) / took,
    }


def on_loop(name: str, seconds: float) -> Sample:
    return loops.run(name, sample(asyncio.sleep, seconds))


def on_trio(seconds: float) -> Sample:
    import trio

    return loops.run_trio(functools.partial(sample, trio.sleep), seconds)


def on_spargio(seconds: float) -> Sample:
    import spargio

    return spargio.run(functools.partial(sample, spargio.sleep, seconds), shards=SHARDS)


RUNNERS: Final[dict[str, worker.Runner]] = {
    **{name: functools.partial(on_loop, name) for name in loops.LOOPS},
    "trio": on_trio,
    SPARGIO: on_spargio,
}


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    cpus = processes.two_cpus()
    seconds = str(2 * settings.seconds)

    def measure(peer: str) -> Sample:
        command = processes.python(Path(__file__), "--peer", peer, "--seconds", seconds)
        return worker.parse(processes.run(command, cpus=cpus, seconds=60))

    yield measure


GROUP = Group(
    name="idle",
    title=f"An idle runtime with {SHARDS} shards, or an idle event loop",
    peers=loops.all_peers(),
    metrics=(
        Metric("cpu_percent", "CPU %", 3, ratio=False, unit="%", headline=True),
        Metric("waits_per_second", "waits/s", 1, ratio=False),
    ),
    targets=(Target("CPU of an idle runtime", "cpu_percent", SPARGIO, "value", "<", 1),),
    prepare=prepare,
)

if __name__ == "__main__":
    worker.main(RUNNERS)
