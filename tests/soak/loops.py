"""asyncio loops that come and go: ``python -m tests.soak.loops --cycles 500``.

Each cycle makes a loop, uses all of it, cancels some of that, and closes it; every third one is closed
with everything under way. At the end descriptors and threads must be what they were, and memory steady
over the second half. Exit status 1 and the reason otherwise."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import AsyncGenerator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spargio
from spargio import fs
from spargio.asyncio import EventLoop, new_event_loop

LIMIT_S = 60
GROWTH_MAX_KIB = 3072
"""Between the middle and the end: less than 13 KiB a cycle of 250."""


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Answers(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: Any) -> None:
        if not self.first.done():
            self.first.set_result(data)


async def streams(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    path = folder / "socket"
    path.unlink(missing_ok=True)
    tcp = await loop.create_server(Echo, "127.0.0.1", 0)
    unix = await loop.create_unix_server(Echo, path)
    ends = [await asyncio.open_connection(*tcp.sockets[0].getsockname()) for _ in range(3)]
    ends.append(await asyncio.open_unix_connection(path))
    for size in (1, 1000, 300_000):
        for reader, writer in ends:
            writer.write(bytes(size))
            assert len(await reader.readexactly(size)) == size
    for n, (_, writer) in enumerate(ends):
        writer.transport.abort() if n % 2 else writer.close()
        await writer.wait_closed()
    for server in (tcp, unix):
        server.close()


async def datagrams() -> None:
    loop = asyncio.get_running_loop()
    server, inbox = await loop.create_datagram_endpoint(Answers, local_addr=("127.0.0.1", 0))
    client, _ = await loop.create_datagram_endpoint(
        Answers, remote_addr=server.get_extra_info("sockname")
    )
    client.sendto(b"hello")
    assert await inbox.first == b"hello"
    client.close()
    server.abort()


async def sockets() -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        waiting = asyncio.ensure_future(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        waiting.cancel()
        ready = loop.create_future()
        loop.add_reader(ours, lambda: ready.done() or ready.set_result(None))
        await loop.sock_sendall(theirs, b"x")
        await ready
        loop.remove_reader(ours)
        assert await loop.sock_recv(ours, 10) == b"x"


async def children() -> None:
    child = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate(b"hello")
    assert output == b"hello" and child.returncode == 0


async def callbacks() -> None:
    loop = asyncio.get_running_loop()
    heard = loop.create_future()
    if threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGUSR1, heard.set_result, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        await heard
        loop.remove_signal_handler(signal.SIGUSR1)
    assert await asyncio.to_thread(lambda: 5) == 5
    woken = loop.create_future()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set_result, 1))
    thread.start()
    await woken
    thread.join()
    for _ in range(200):
        loop.call_later(1000, print).cancel()
    tasks = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def numbers() -> AsyncGenerator[int, None]:
    for n in range(3):
        await asyncio.sleep(0)
        yield n


async def own(folder: Path) -> None:
    """spargio's awaitables."""
    path = folder / "file"
    await fs.write(path, b"x" * 5000)
    assert len(await fs.read(path)) == 5000
    assert [len(data) async for _, data in fs.read_many([path] * 10)] == [5000] * 10
    waiting = asyncio.ensure_future(spargio.sleep(1000))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async for _ in numbers():
        break


async def everything(folder: Path, number: int) -> None:
    jobs = [streams(folder), datagrams(), sockets(), callbacks(), own(folder)]
    if number % 10 == 0:
        jobs.append(children())
    await asyncio.wait_for(asyncio.gather(*jobs), LIMIT_S)


async def begin(kept: list[Any]) -> None:
    """All that a loop may be closed in the middle of."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(Echo, sock=ours)
    transport.write(bytes(1 << 21))
    theirs.setblocking(False)
    kept += [transport, theirs, asyncio.ensure_future(loop.sock_recv(theirs, 1))]
    kept.append(await loop.create_datagram_endpoint(Answers, local_addr=("127.0.0.1", 0)))
    kept.append(await loop.create_server(Echo, "127.0.0.1", 0))
    kept.append(asyncio.ensure_future(spargio.sleep(1000)))
    loop.call_later(1000, kept.append, loop)
    loop.call_soon(loop.call_soon, int)
    await asyncio.sleep(0)


def cycle(folder: Path, number: int) -> None:
    loop: EventLoop = new_event_loop()
    kept: list[Any] = []
    try:
        loop.run_until_complete(everything(folder, number))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        if number % 3 == 0:
            loop.set_exception_handler(lambda _, context: None)  # Tasks that are pending.
            loop.run_until_complete(begin(kept))
    finally:
        loop.close()
        for one in kept:
            if isinstance(one, socket.socket):
                one.close()


def held() -> tuple[int, int]:
    """Descriptors and threads, less the kernel's own workers."""
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    workers = sum(name.startswith("iou-") for name in names)
    return len(os.listdir("/proc/self/fd")), len(names) - workers


def memory_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise LookupError("VmRSS")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.loops", description=__doc__)
    parser.add_argument("--cycles", type=int, default=500)
    cycles: int = parser.parse_args().cycles
    warnings.simplefilter("ignore", ResourceWarning)  # What a third of the cycles leaves open.
    before = middle = (0, 0)
    middle_kib = 0
    with TemporaryDirectory() as name:
        for number in range(cycles + 2):
            cycle(Path(name), number)
            gc.collect()
            if number == 1:  # What is made once is there now.
                before = held()
            if number == cycles // 2:
                middle, middle_kib = held(), memory_kib()
    after, growth_kib = held(), memory_kib() - middle_kib
    print(f"descriptors, threads: {before} {middle} {after}; memory grew {growth_kib} KiB")
    if after != before:
        print("left over: descriptors or threads", file=sys.stderr)
        return 1
    if growth_kib > GROWTH_MAX_KIB:
        print(f"memory grew more than {GROWTH_MAX_KIB} KiB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
