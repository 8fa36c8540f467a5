"""Coroutines that a free-threaded Python can run side by side, on so many shards of spargio: the
measured side of two rows of shards.py. `cpu`: stealable coroutines that compute. `echo`: 64 TCP
connections with both ends in this process, on the same shard, so that no other program is needed
that would take one of the CPUs. `asgi`: the same for an application under anycorn (asgi_app.py)."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final

from harness import Sample
from processes import MeasurementFailed

import spargio
from spargio import net

TASKS: Final = 64
STEPS: Final = 20_000
CONNECTIONS: Final = 64
PAYLOAD: Final = 1024
MASK: Final = 2**64 - 1


async def compute(seed: int) -> int:
    """Integers that outgrow nothing: no object is shared between the tasks."""
    value = seed
    for _ in range(STEPS):
        value = (value * 6364136223846793005 + 1442695040888963407) & MASK
        value ^= value >> 33
    return value


async def cpu(handle: spargio.RuntimeHandle, seconds: float) -> Sample:
    async def batch() -> int:
        jobs = [handle.spawn_stealable(compute(seed)) for seed in range(TASKS)]
        return sum([await job for job in jobs])

    expected = await batch()
    batches = 0
    start = perf_counter()
    while (took := perf_counter() - start) < seconds:
        if await batch() != expected:
            raise MeasurementFailed("another sum came out")
        batches += 1
    return {"per_second": batches * TASKS / took, "checksum": expected % 2**53}


async def serve(stream: net.TcpStream) -> None:
    stream.set_nodelay(True)
    try:
        while data := await stream.recv(65_536):
            await stream.write_all(data)
    finally:
        await stream.close()


async def ask(port: int, number: int, until: float) -> int:
    """How often the payload came back."""
    stream = await net.TcpStream.connect("127.0.0.1", port)
    stream.set_nodelay(True)
    count = 0
    try:
        while perf_counter() < until:
            sent = (number << 32 | count).to_bytes(8, "little") * (PAYLOAD // 8)
            await stream.write_all(sent)
            found = await stream.recv(PAYLOAD)
            while len(found) < PAYLOAD and (more := await stream.recv(PAYLOAD - len(found))):
                found += more
            if found != sent:
                raise MeasurementFailed("another echo came back")
            count += 1
    finally:
        await stream.close()
    return count


async def echo_on_this_shard(handle: spargio.RuntimeHandle, pairs: int, until: float) -> int:
    shard = spargio.current_shard()
    listener = await net.TcpListener.bind("127.0.0.1", 0, backlog=pairs)
    port = listener.local_addr[1]
    clients = [handle.spawn_pinned(shard, ask(port, n, until)) for n in range(pairs)]
    servers = []
    for _ in range(pairs):
        stream, _ = await listener.accept()
        servers.append(handle.spawn_pinned(shard, serve(stream)))
    total = sum([await client for client in clients])
    for server in servers:
        await server
    await listener.close()
    return total


async def echo(handle: spargio.RuntimeHandle, seconds: float) -> Sample:
    shards = handle.shard_count()
    start = perf_counter()
    jobs = [
        handle.spawn_pinned(
            shard, echo_on_this_shard(handle, CONNECTIONS // shards, start + seconds)
        )
        for shard in range(shards)
    ]
    total = sum([await job for job in jobs])
    return {"per_second": total / (perf_counter() - start)}


async def asgi(handle: spargio.RuntimeHandle, seconds: float) -> Sample:
    import asgi_app  # It needs anyio and anycorn.

    return await asgi_app.asgi(handle, seconds)


PROGRAMS: Final[dict[str, Callable[..., Coroutine[Any, Any, Sample]]]] = {
    "cpu": cpu,
    "echo": echo,
    "asgi": asgi,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures once.")
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    program = PROGRAMS[arguments.program]

    async def whole(handle: spargio.RuntimeHandle) -> Sample:
        return await program(handle, arguments.seconds)

    found = spargio.run(whole, shards=arguments.shards)
    found["gil"] = float(getattr(sys, "_is_gil_enabled", lambda: True)())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
