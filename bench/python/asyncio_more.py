"""What else an asyncio program does, in one process on every asyncio loop: datagrams, requests of
aiohttp's client, files. CPU time of the process, all threads, for each operation."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import Any, Final

import asyncio_loops
import processes
import worker
from harness import SPARGIO, Group, Measure, Metric, Peer, Sample, Settings, Target
from processes import MeasurementFailed

RUNS: Final = 5
"""Of one process; the shortest counts."""
FILES: Final = 10_000
AIOFILES: Final = "aiofiles"
FOLDER: Final = Path("/var/tmp")

Program = Callable[[Path, int], Awaitable[None]]


class Ponger(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


class Pinger(asyncio.DatagramProtocol):
    def __init__(self, count: int, ended: asyncio.Future[None]) -> None:
        self.left, self.ended = count, ended

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.left -= 1
        if self.left:
            self.transport.sendto(data)
        elif not self.ended.done():
            self.ended.set_result(None)


async def udp(folder: Path, count: int) -> None:
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Ponger, local_addr=("127.0.0.1", 0))
    ended: asyncio.Future[None] = loop.create_future()
    client, _ = await loop.create_datagram_endpoint(
        lambda: Pinger(count, ended), remote_addr=server.get_extra_info("sockname")
    )
    client.sendto(b"x" * 64)
    await ended
    client.close()
    server.close()


async def aiohttp_client(folder: Path, count: int) -> None:
    """Both ends."""
    import aiohttp
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"Hello, world!")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.get(url) as response:
                if await response.read() != b"Hello, world!":
                    raise MeasurementFailed("another answer")
    await runner.cleanup()


@functools.cache
def paths(folder: Path) -> list[str]:
    """Made before the measurement: to join them by pathlib takes as long as to read a file."""
    return [str(folder / str(n)) for n in range(FILES)]


async def read_many(folder: Path, count: int) -> None:
    from spargio import fs

    size = 0
    async for _, data in fs.read_many(paths(folder)[:count]):
        size += len(data)
    if size != count * 4096:
        raise MeasurementFailed(f"{size} bytes")


async def read_many_aiofiles(folder: Path, count: int) -> None:
    import aiofiles

    async def reader(names: list[str]) -> int:
        size = 0
        for name in names:
            async with aiofiles.open(name, "rb") as file:
                size += len(await file.read())
        return size

    parts = [reader(paths(folder)[start:count:32]) for start in range(32)]
    if sum(await asyncio.gather(*parts)) != count * 4096:
        raise MeasurementFailed("bytes are missing")


async def read_one(folder: Path, count: int) -> None:
    from spargio import fs

    for name in paths(folder)[:count]:
        await fs.read(name)


async def read_one_aiofiles(folder: Path, count: int) -> None:
    import aiofiles

    for name in paths(folder)[:count]:
        async with aiofiles.open(name, "rb") as file:
            await file.read()


# The program, that of the peer "aiofiles" (on asyncio's loop), how many operations, the title,
# and how many times less than the first peer's it should take.
PROGRAMS: Final[dict[str, tuple[Program, Program | None, int, str, float]]] = {
    "udp": (udp, None, 20_000, "UDP ping-pong of 64 bytes, both ends", 2.0),
    "aiohttp_client": (aiohttp_client, None, 2_000, "aiohttp's client and server", 1.0),
    "read_many": (
        read_many,
        read_many_aiofiles,
        FILES,
        f"{FILES:,} files of 4 KiB at once",
        15,
    ),
    "read_one": (read_one, read_one_aiofiles, FILES // 2, "files of 4 KiB, one after the other", 5),
}


def measured(what: str, peer: str, folder: Path) -> Sample:
    program, of_aiofiles, count, _, _ = PROGRAMS[what]
    loop, run = peer, program
    if peer == AIOFILES:
        assert of_aiofiles is not None
        loop, run = "asyncio", of_aiofiles

    async def main() -> Sample:
        cpu, wall = [], []
        await run(folder, max(count // 10, 32))
        for _ in range(RUNS):
            started, began = process_time_ns(), perf_counter_ns()
            await run(folder, count)
            cpu.append((process_time_ns() - started) / count)
            wall.append((perf_counter_ns() - began) / count)
        return {"us": min(cpu) / 1e3, "wall_us": min(wall) / 1e3}

    return asyncio_loops.run(loop, main())


@contextlib.contextmanager
def prepare(what: str, settings: Settings) -> Iterator[Measure]:
    with tempfile.TemporaryDirectory(prefix="spargio-bench-", dir=FOLDER) as name:
        folder = Path(name)
        if what.startswith("read_"):
            for n in range(FILES):
                (folder / str(n)).write_bytes(os.urandom(4096))

        def measure(peer: str) -> Sample:
            command = processes.python(
                Path(__file__), "--what", what, "--peer", peer, "--folder", name
            )
            return worker.parse(processes.run(command, seconds=120))

        yield measure


def group_of(what: str) -> Group:
    _, of_aiofiles, _, title, factor = PROGRAMS[what]
    peers: tuple[Peer, ...]
    if of_aiofiles is not None:
        peers = (Peer(AIOFILES, "aiofiles"), Peer(SPARGIO, "spargio.asyncio"))
    else:
        peers = asyncio_loops.peers()
    against = AIOFILES if of_aiofiles is not None else "uvloop"
    return Group(
        name=f"asyncio_{what}",
        family="asyncio_more",
        title=f"asyncio: {title}, each",
        peers=peers,
        metrics=(
            Metric("us", "CPU us", 2, unit="us of CPU", headline=True),
            Metric("wall_us", "us", 2, unit="us"),
        ),
        targets=(Target(f"against {against}", "us", against, "peer/spargio", ">=", factor),),
        prepare=functools.partial(prepare, what),
    )


GROUPS: Final = tuple(group_of(what) for what in PROGRAMS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures one peer once.")
    parser.add_argument("--what", required=True, choices=PROGRAMS)
    parser.add_argument("--peer", required=True, choices=(*asyncio_loops.NAMES, AIOFILES))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    print(json.dumps(measured(arguments.what, arguments.peer, arguments.folder)))


if __name__ == "__main__":
    main()
