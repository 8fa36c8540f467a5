"""Receives whose buffer the kernel picks: many at once, more than there are, and what they cost."""

from __future__ import annotations

import gc
import os
import random
import socket
from pathlib import Path

import support

import spargio
from spargio import net

PICKABLE = 128
"""Buffers of a shard, 16 KiB each (zig-src/ring/provided_buffers.zig)."""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_more_arrives_at_once_than_the_shard_has_buffers() -> None:
    """The shard is blocked while all of it comes: those without a buffer bring their own."""
    count = 3 * PICKABLE
    pairs = [socket.socketpair() for _ in range(count)]
    payload = [random.Random(n).randbytes(1 + n * 37 % 16_000) for n in range(count)]

    async def read(n: int, stream: net.UnixStream) -> None:
        async with stream:
            found = b""
            while len(found) < len(payload[n]):
                found += await stream.recv(16 * 1024)
            assert found == payload[n]

    with spargio.Runtime.builder().shards(1).build() as handle:
        jobs = [
            handle.spawn_pinned(0, read(n, net.UnixStream.from_socket(ours)))
            for n, (ours, _) in enumerate(pairs)
        ]
        support.eventually(lambda: handle.stats_snapshot().ops_in_flight == count)
        with support.Blocker(handle, 0):
            for n, (_, theirs) in enumerate(pairs):
                theirs.sendall(payload[n])
        for job in jobs:
            job.result(support.LIMIT_S)
    for _, theirs in pairs:
        theirs.close()


def test_buffers_come_back_from_receives_that_nobody_took() -> None:
    """Tasks that end with a receive under way, while data comes: many more than there are buffers,
    and afterwards receives still get theirs."""

    async def abandoned(stream: net.UnixStream, data: socket.socket) -> None:
        receive = stream.recv(100)
        stepper = receive.__await__()
        next(stepper)  # Started by hand, never resumed: the task ends with it under way.
        data.sendall(b"x")

    async def main(handle: spargio.RuntimeHandle) -> None:
        ours, theirs = socket.socketpair()
        async with net.UnixStream.from_socket(ours) as stream:
            for _ in range(4 * PICKABLE):
                await handle.spawn_pinned(0, abandoned(stream, theirs))
            theirs.sendall(b"end")
            found = b""
            while not found.endswith(b"end"):
                found += await stream.recv(1000)
            before = handle.stats_snapshot().sqes_submitted
            for _ in range(100):
                theirs.sendall(b"y")
                assert await stream.recv(10) == b"y"
            # One each; without a buffer to pick it would be a second one with memory of its own.
            assert handle.stats_snapshot().sqes_submitted - before < 150
        theirs.close()

    spargio.run(main, shards=1)


def test_an_idle_connection_costs_little_memory() -> None:
    """The coroutine included, before and after it has received something."""
    count = 3_000

    async def serve(stream: net.UnixStream) -> None:
        async with stream:
            while data := await stream.recv(64 * 1024):
                await stream.write_all(data)

    async def main(handle: spargio.RuntimeHandle) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        gc.collect()
        before = resident()
        for ours, _ in pairs:
            handle.spawn_pinned(0, serve(net.UnixStream.from_socket(ours)))
        await support.until(lambda: handle.stats_snapshot().ops_in_flight >= count)
        for _ in range(3):
            for _, theirs in pairs:
                theirs.sendall(b"x" * 100)
            for _, theirs in pairs:
                assert len(await spargio.spawn_blocking(theirs.recv, 1000)) == 100
        each = (resident() - before) / count
        print(f"{each:.0f} bytes per connection")
        assert each < 3_000
        for _, theirs in pairs:
            theirs.close()

    spargio.run(main, shards=1)
