"""Ping-pong over two queues of one place: a task sends a number, another one sends it back, one
higher. One pair of tasks alone, and 64 pairs side by side. Reported per hop: a send and the receive
that it wakes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import loops
import worker
from harness import Group, Metric, Sample
from processes import MeasurementFailed

if TYPE_CHECKING:
    import spargio

PAIRS: Final = 64

Send = Callable[[int], Awaitable[Any]]
Receive = Callable[[], Awaitable[int]]


async def ping(send: Send, receive: Receive, rounds: int) -> None:
    number = 0
    for _ in range(rounds):
        await send(number)
        number = await receive()
    if number != rounds:
        raise MeasurementFailed(f"{number} came back after {rounds} rounds")


async def pong(send: Send, receive: Receive, rounds: int) -> None:
    for _ in range(rounds):
        await send(await receive() + 1)


async def sample(play: Callable[[int, int], Awaitable[None]], seconds: float) -> Sample:
    """`play(pairs, rounds)`: so many round trips of so many pairs."""

    async def hops(pairs: int, count: int) -> float:
        rounds = max(1, count // (2 * pairs))
        start = perf_counter()
        await play(pairs, rounds)
        return (perf_counter() - start) * count / (2 * pairs * rounds)

    return {
        "ns": await worker.ns_per_operation(functools.partial(hops, 1), seconds),
        "ns_of_pairs": await worker.ns_per_operation(functools.partial(hops, PAIRS), seconds),
    }


async def on_asyncio(seconds: float) -> Sample:
    async def play(pairs: int, rounds: int) -> None:
        tasks = []
        for _ in range(pairs):
            there: asyncio.Queue[int] = asyncio.Queue(1)
            back: asyncio.Queue[int] = asyncio.Queue(1)
            tasks.append(asyncio.create_task(ping(there.put, back.get, rounds)))
            tasks.append(asyncio.create_task(pong(back.put, there.get, rounds)))
        for task in tasks:
            await task

    return await sample(play, seconds)


async def on_trio(seconds: float) -> Sample:
    import trio

    async def play(pairs: int, rounds: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(pairs):
                send_there, receive_there = trio.open_memory_channel[int](1)
                send_back, receive_back = trio.open_memory_channel[int](1)
                nursery.start_soon(ping, send_there.send, receive_back.receive, rounds)
                nursery.start_soon(pong, send_back.send, receive_there.receive, rounds)

    return await sample(play, seconds)


async def on_spargio(seconds: float, handle: spargio.RuntimeHandle) -> Sample:
    from spargio.sync import channel

    async def play(pairs: int, rounds: int) -> None:
        jobs = []
        for _ in range(pairs):
            send_there, receive_there = channel(1)
            send_back, receive_back = channel(1)
            jobs += [
                handle.spawn_stealable(ping(send_there.send, receive_back.recv, rounds)),
                handle.spawn_stealable(pong(send_back.send, receive_there.recv, rounds)),
            ]
        for job in jobs:
            await job

    return await sample(play, seconds)


RUNNERS: Final = loops.runners(on_asyncio, on_trio, on_spargio)

GROUP = Group(
    name="channel",
    title="Channel ping-pong, ns per hop",
    peers=loops.all_peers(),
    metrics=(
        Metric("ns", "1 pair", unit="ns", headline=True),
        Metric("ns_of_pairs", f"{PAIRS} pairs", unit="ns", headline=True),
    ),
    targets=(),
    prepare=functools.partial(worker.single_threaded, Path(__file__)),
)

if __name__ == "__main__":
    worker.main(RUNNERS)
