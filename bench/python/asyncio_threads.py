"""Two asyncio loops in two threads of a free-threaded Python, against one; and the memory of an
idle connection of a Protocol, on every loop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Final

import asyncio_calls
import asyncio_echo
import asyncio_loops
import echo
import memory
import processes
import shards
import worker
from harness import SPARGIO, Group, Measure, Metric, Sample, Settings, Target
from ping_pong import Echo, Ping

LOOPS: Final = 2
RUNS: Final = 5
"""Of each number of threads, in turn; the fastest counts."""
CALLBACKS: Final = 500_000
REQUESTS: Final = 20_000


async def protocol(count: int) -> int:
    """Sixteen connections with both ends on the loop, 1 KiB to and fro."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()[:2]
    waiting = []
    for _ in range(16):
        ended: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(functools.partial(Ping, count // 16, ended), *place)
        waiting.append(ended)
    for ended in waiting:
        await ended
    server.close()
    return count


PROGRAMS: Final[dict[str, tuple[Callable[[int], Awaitable[int]], int, str]]] = {
    "callbacks": (asyncio_calls.call_soon, CALLBACKS, "callbacks"),
    "chain": (asyncio_calls.call_soon_chain, CALLBACKS, "callbacks, one a turn"),
    "protocol": (protocol, REQUESTS, "Protocol echo of 1 KiB, both ends"),
    "tasks": (asyncio_calls.sleep_0, CALLBACKS // 2, "sleep(0) in a task"),
}


def per_second(what: str, peer: str, threads: int) -> float:
    program, count, _ = PROGRAMS[what]
    ready = threading.Barrier(threads + 1)
    done = threading.Barrier(threads + 1)

    async def main() -> None:
        await program(count // 10)
        ready.wait()
        await program(count)
        done.wait()

    started = [
        threading.Thread(target=asyncio_loops.run, args=(peer, main())) for _ in range(threads)
    ]
    for thread in started:
        thread.start()
    ready.wait()
    began = perf_counter()
    done.wait()
    took = perf_counter() - began
    for thread in started:
        thread.join()
    return threads * count / took


def measured(what: str, peer: str) -> Sample:
    one, two = 0.0, 0.0
    for _ in range(RUNS):
        one = max(one, per_second(what, peer, 1))
        two = max(two, per_second(what, peer, LOOPS))
    return {"scaling": two / one, "one_per_second": one, "two_per_second": two}


@contextlib.contextmanager
def prepare(what: str, settings: Settings) -> Iterator[Measure]:
    interpreter = shards.free_threaded(settings)

    def measure(peer: str) -> Sample:
        command: list[str | Path] = [interpreter, Path(__file__), "--what", what, "--peer", peer]
        return worker.parse(processes.run(command, cpus=set(processes.two_cpus()), seconds=120))

    yield measure


def group_of(what: str) -> Group:
    return Group(
        name=f"asyncio_threads_{what}",
        family="asyncio_threads",
        title=f"asyncio: {LOOPS} loops in {LOOPS} threads against one, {PROGRAMS[what][2]}",
        peers=asyncio_loops.peers(),
        metrics=(
            Metric("scaling", "times one", 2, better="higher", headline=True),
            Metric("one_per_second", "one, 1/s", unit="1/s", better="higher", ratio=False),
            Metric("two_per_second", "two, 1/s", unit="1/s", better="higher", ratio=False),
        ),
        targets=(Target("two loops", "scaling", SPARGIO, "value", ">=", 1.9),),
        prepare=functools.partial(prepare, what),
        subject=SPARGIO,
    )


@contextlib.contextmanager
def prepare_idle(settings: Settings) -> Iterator[Measure]:
    row = asyncio_echo.Row("protocol", echo.CENTRAL, 1)
    count = memory.CONNECTIONS // (memory.QUICK_PART if settings.quick else 1)
    memory.allow_connections()
    yield lambda peer: memory.measure_connections(asyncio_echo.server_command(row, peer), count)


IDLE_GROUP: Final = Group(
    name="asyncio_idle",
    family="asyncio_threads",
    title="asyncio: memory of an idle connection of a Protocol",
    peers=asyncio_loops.peers(),
    metrics=(Metric("bytes", "bytes", unit="bytes", headline=True),),
    targets=(Target("idle connection", "bytes", SPARGIO, "value", "<=", 1.3 * 1024),),
    prepare=prepare_idle,
    subject=SPARGIO,
)
GROUPS: Final = (*map(group_of, PROGRAMS), IDLE_GROUP)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--what", required=True, choices=(*PROGRAMS, "idle"))
    parser.add_argument("--peer", required=True, choices=asyncio_loops.NAMES)
    arguments = parser.parse_args()
    if arguments.what == "idle":
        with prepare_idle(Settings(rounds=1, seconds=1)) as measure:
            print(json.dumps(measure(arguments.peer)))
        return
    print(json.dumps(measured(arguments.what, arguments.peer)))


if __name__ == "__main__":
    main()
