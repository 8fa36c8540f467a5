"""How long it takes to start and to stop a runtime of two shards, or an event loop, in a fresh
process: from the call, after the imports, until tasks have run on all shards (two tasks, on a
loop), and from there to its end. A measurement is the median of several processes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import statistics
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import loops
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Sample, Settings, Target

if TYPE_CHECKING:
    import spargio

SHARDS: Final = 2
PROCESSES: Final = 5


async def nothing() -> None:
    pass


def imported(module: str) -> float:
    """How long that took."""
    start = perf_counter()
    importlib.import_module(module)
    return perf_counter() - start


def summary(importing: float, start: float, running: float, end: float) -> Sample:
    return {
        "start_ms": (running - start) * 1e3,
        "stop_ms": (end - running) * 1e3,
        "import_ms": importing * 1e3,
    }


def on_loop(name: str, seconds: float) -> Sample:
    """asyncio is there already: the harness needs it."""
    importing = imported(name)

    async def main() -> float:
        for _ in range(SHARDS):
            await asyncio.create_task(nothing())
        return perf_counter()

    start = perf_counter()
    running = loops.run(name, main())
    return summary(importing, start, running, perf_counter())


def on_trio(seconds: float) -> Sample:
    importing = imported("trio")
    import trio

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            for _ in range(SHARDS):
                nursery.start_soon(nothing)
        return perf_counter()

    start = perf_counter()
    running: float = trio.run(main)
    return summary(importing, start, running, perf_counter())


def on_spargio(seconds: float) -> Sample:
    importing = imported("spargio")
    import spargio

    async def main(handle: spargio.RuntimeHandle) -> float:
        for shard in range(SHARDS):
            await handle.spawn_pinned(shard, nothing())
        return perf_counter()

    start = perf_counter()
    running = spargio.run(main, shards=SHARDS)
    return summary(importing, start, running, perf_counter())


RUNNERS: Final[dict[str, worker.Runner]] = {
    **{name: functools.partial(on_loop, name) for name in loops.LOOPS},
    "trio": on_trio,
    SPARGIO: on_spargio,
}


@contextlib.contextmanager
def prepare(settings: Settings) -> Iterator[Measure]:
    cpus = processes.two_cpus()

    def measure(peer: str) -> Sample:
        command = processes.python(Path(__file__), "--peer", peer)
        found = [
            worker.parse(processes.run(command, cpus=cpus, seconds=60))
            for _ in range(1 if settings.quick else PROCESSES)
        ]
        return {key: statistics.median(each[key] for each in found) for key in found[0]}

    yield measure


GROUP = Group(
    name="startup",
    title=f"Start of a runtime with {SHARDS} shards, or of an event loop; 2 CPUs",
    peers=loops.all_peers(),
    metrics=(
        Metric("start_ms", "start ms", 2, unit="ms", headline=True),
        Metric("stop_ms", "stop ms", 2, unit="ms"),
        Metric("import_ms", "import ms", 1, ratio=False),
    ),
    targets=(Target("start, beyond the import", "start_ms", SPARGIO, "value", "<=", 3),),
    prepare=prepare,
)

if __name__ == "__main__":
    worker.main(RUNNERS)
