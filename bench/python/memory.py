"""What waiting costs in memory: a task that sleeps, beyond its coroutine object (what the same
coroutine takes that nobody runs), and a connection of an echo server that has sent and received
once, with its coroutine or Protocol and all. Private resident memory, divided by how many wait;
what the kernel keeps for a socket is not in it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import resource
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import echo
import loops
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import LineProcess, MeasurementFailed

sys.path.insert(1, str(Path(__file__).resolve().parent / "servers"))

TASKS: Final = 50_000
CONNECTIONS: Final = 4_000
"""Not fewer: interpreters take memory by the MiB."""
FIRST: Final = 256
"""Connections and tasks before the count begins: they fill what is shared."""
QUICK_PART: Final = 10
PAYLOAD: Final = b"\x5a" * 1024
SETTLE_S: Final = 0.05
FOREVER_S: Final = 3600.0


class Suspended:
    """Awaited, it waits and is never woken; it has nothing of its own."""

    def __await__(self) -> Suspended:
        return self

    def __iter__(self) -> Suspended:
        return self

    def __next__(self) -> None:
        return None


async def idle(sleep: Callable[[float], Awaitable[object]]) -> None:
    await sleep(FOREVER_S)


def private_bytes() -> int:
    from control import private_kib

    return private_kib() * 1024


def coroutine_bytes(count: int) -> tuple[float, list[Coroutine[Any, Any, None]]]:
    """The same coroutine, begun, without a task. They stay, or the tasks would use their memory."""
    suspended = Suspended()

    def sleep(seconds: float) -> Suspended:
        return suspended

    before = private_bytes()
    kept = [idle(sleep) for _ in range(count)]
    for coroutine in kept:
        coroutine.send(None)
    return (private_bytes() - before) / count, kept


async def task_sample(
    start: Callable[[], object], sleep: Callable[[float], Awaitable[object]], count: int
) -> Sample:
    """`start` starts a task that is idle."""
    kept = [start() for _ in range(FIRST)]
    await sleep(SETTLE_S)
    bare, coroutines = coroutine_bytes(count)
    before = private_bytes()
    kept += [start() for _ in range(count)]
    await sleep(SETTLE_S)  # long enough for all to begin: they are in the queue before this
    whole = (private_bytes() - before) / count
    if any(coroutine.cr_frame is None for coroutine in coroutines):
        raise MeasurementFailed("a coroutine ended")
    return {"bytes": whole - bare, "coroutine_bytes": bare}


def tasks_on_loop(name: str, count: int) -> Sample:
    async def main() -> Sample:
        def start() -> object:
            return asyncio.create_task(idle(asyncio.sleep))

        found = await task_sample(start, asyncio.sleep, count)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        return found

    return loops.run(name, main())


def tasks_on_trio(count: int) -> Sample:
    import trio

    async def main() -> Sample:
        async with trio.open_nursery() as nursery:
            start = functools.partial(nursery.start_soon, idle, trio.sleep)
            found = await task_sample(start, trio.sleep, count)
            nursery.cancel_scope.cancel()
        return found

    found: Sample = trio.run(main)
    return found


def tasks_on_spargio(count: int) -> Sample:
    import spargio

    async def main(handle: spargio.RuntimeHandle) -> Sample:
        def start() -> object:
            return handle.spawn_pinned(0, idle(spargio.sleep))

        return await task_sample(start, spargio.sleep, count)

    return spargio.run(main, shards=1)


RUNNERS: Final = {
    **{name: functools.partial(tasks_on_loop, name) for name in loops.LOOPS},
    "trio": tasks_on_trio,
    SPARGIO: tasks_on_spargio,
}


@contextlib.contextmanager
def prepare_tasks(settings: Settings) -> Iterator[Measure]:
    cpu, _ = processes.two_cpus()
    count = TASKS // QUICK_PART if settings.quick else TASKS

    def measure(peer: str) -> Sample:
        command = processes.python(Path(__file__), "--peer", peer, "--count", str(count))
        return worker.parse(processes.run(command, cpus={cpu}, seconds=60))

    yield measure


def connect(port: int, count: int) -> list[socket.socket]:
    """Connections that have been served once."""
    found = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), processes.ANSWER_SECONDS)
        found.append(connection)
        connection.sendall(PAYLOAD)
        if connection.recv(len(PAYLOAD), socket.MSG_WAITALL) != PAYLOAD:
            raise MeasurementFailed("another echo came back")
    return found


def measure_connections(command: list[str | Path], count: int) -> Sample:
    server_cpu, _ = processes.two_cpus()

    def private(server: LineProcess) -> float:
        time.sleep(SETTLE_S)
        server.write_line("usage")
        return worker.parse(server.read_line())["private_kib"] * 1024

    with LineProcess("server", command, {server_cpu}) as server, contextlib.ExitStack() as stack:
        port = int(server.read_line())
        for connection in connect(port, FIRST):
            stack.enter_context(connection)
        before = private(server)
        for connection in connect(port, count):
            stack.enter_context(connection)
        return {"bytes": (private(server) - before) / count}


def allow_connections() -> None:
    """Descriptors for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * (CONNECTIONS + FIRST)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


@contextlib.contextmanager
def prepare_connections(settings: Settings) -> Iterator[Measure]:
    allow_connections()
    count = CONNECTIONS // QUICK_PART if settings.quick else CONNECTIONS
    yield lambda peer: measure_connections(echo.server_command(peer, Path()), count)


TASK_GROUP: Final = Group(
    name="memory_task",
    family="memory",
    title="Memory of an idle task beyond its coroutine object",
    peers=loops.all_peers(),
    metrics=(
        Metric("bytes", "bytes", unit="bytes", headline=True),
        Metric("coroutine_bytes", "coroutine", ratio=False),
    ),
    targets=(Target("idle task", "bytes", SPARGIO, "value", "<=", 1024),),
    prepare=prepare_tasks,
)
CONNECTION_GROUP: Final = Group(
    name="memory_connection",
    family="memory",
    title="Memory of an idle connection of an echo server",
    peers=(
        *loops.peers("-streams"),
        *loops.peers("-protocol"),
        Peer("trio", "trio"),
        Peer(SPARGIO, "spargio"),
    ),
    metrics=(Metric("bytes", "bytes", unit="bytes", headline=True),),
    targets=(Target("idle connection", "bytes", SPARGIO, "value", "<=", 2048),),
    prepare=prepare_connections,
)
GROUPS: Final = (TASK_GROUP, CONNECTION_GROUP)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer's idle tasks once.")
    parser.add_argument("--peer", required=True, choices=RUNNERS)
    parser.add_argument("--count", type=int, default=TASKS)
    arguments = parser.parse_args()
    print(json.dumps(RUNNERS[arguments.peer](arguments.count)))


if __name__ == "__main__":
    main()
