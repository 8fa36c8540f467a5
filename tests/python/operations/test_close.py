"""Closing: a cancellation does not reach it, and it counts as a user of its descriptor."""

from __future__ import annotations

import ctypes
import gc
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs, net

Cancel = Callable[[], object]
PINNED = spargio.TaskPlacement.Pinned


async def opened(folder: Path) -> list[Any]:
    near, far = net.UnixStream.pair()
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    return [near, await fs.File.create(folder / "file"), listener, far]


class Closer:
    """A task that closes several things while it is being cancelled. Whoever closed one a second time
    would close what has its number by then."""

    def __init__(self, ones: list[Any]) -> None:
        self.ones = ones
        self.numbers = [one.fileno() for one in ones]
        self.closed = 0
        self.taken: list[int] = []

    async def run(self, cancel: Cancel) -> None:
        cancel()
        for one in self.ones:
            await one.close()
            self.closed += 1
        mark = os.open("/dev/null", os.O_RDONLY)  # One of the numbers, or a lower one.
        for number in self.numbers:
            if number != mark:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(number)
                os.dup2(mark, number, inheritable=False)
        self.taken = sorted({mark, *self.numbers})
        await spargio.sleep(1000)

    def check(self) -> None:
        assert self.closed == len(self.ones)
        self.ones.clear()
        gc.collect()
        null = os.stat("/dev/null")
        for number in self.taken:
            assert os.path.samestat(os.fstat(number), null)
            os.close(number)


async def by_its_handle(handle: spargio.RuntimeHandle, shard: int, closer: Closer) -> None:
    job = handle.spawn_pinned(shard, closer.run(lambda: job.cancel()))
    with pytest.raises(spargio.TaskCancelled):
        await job


async def by_its_group(handle: spargio.RuntimeHandle, shard: int, closer: Closer) -> None:
    async with spargio.TaskGroup() as group:
        group.spawn_with_placement(PINNED(shard), closer.run(group.cancel))


async def by_a_time_limit(handle: spargio.RuntimeHandle, shard: int, closer: Closer) -> None:
    """It passes while the first close flies, so before the others begin."""

    async def limited() -> None:
        with spargio.timeout(0):
            await closer.run(lambda: None)

    with pytest.raises(TimeoutError):
        await handle.spawn_pinned(shard, limited())


@pytest.mark.parametrize("shard", [0, 1])
@pytest.mark.parametrize("how", [by_its_handle, by_its_group, by_a_time_limit])
def test_a_cancellation_before_a_close_comes_after_it(how: Any, shard: int, tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        closer = Closer(await opened(tmp_path))
        await how(handle, shard, closer)
        closer.check()

    spargio.run(main, shards=2)


@pytest.mark.parametrize("group", [False, True], ids=["handle", "group"])
def test_a_cancellation_during_a_close_comes_after_it(group: bool, tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        for n in range(4):  # Each kind is the one whose close is under way.
            ones = await opened(tmp_path)
            closer = Closer(ones[n:] + ones[:n])
            async with spargio.TaskGroup() as children:
                job = children.spawn_with_placement(PINNED(0), closer.run(lambda: None))
                while closer.ones[0].fileno() != -1:
                    await spargio.yield_now()
                assert closer.closed == 0  # It has begun, and this shard has not heard of its end.
                assert children.cancel() is None if group else job.cancel()
            assert job.cancelled()
            closer.check()

    spargio.run(main, shards=1)


def test_a_cancellation_from_another_shard_during_a_close(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        for n in range(40):
            closer = Closer(await opened(tmp_path))
            job = handle.spawn_pinned(1, closer.run(lambda: None))
            await support.until(lambda one=closer.ones[n % 4]: one.fileno() == -1)
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            closer.check()

    spargio.run(main, shards=2)


def message_queue() -> int:
    """The descriptor of a POSIX message queue, which flushes at a close as a network file system does:
    io_uring leaves that to a thread of the kernel."""
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"/spargio-{secrets.token_hex(8)}".encode()
    number: int = libc.mq_open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600, None)
    if number < 0:
        pytest.skip(f"no message queues here: {os.strerror(ctypes.get_errno())}")
    libc.mq_unlink(name)
    return number


def test_a_cancellation_while_a_close_waits_for_a_thread_of_the_kernel() -> None:
    queue = message_queue()

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(50):
            closer = Closer([fs.File.from_fd(os.dup(queue))])
            job = handle.spawn_pinned(0, closer.run(lambda: None))
            while closer.ones[0].fileno() != -1:
                await spargio.yield_now()
            assert closer.closed == 0
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            closer.check()

    spargio.run(main, shards=1)
    os.close(queue)


# ---- the number, as long as anything uses it ----


def is_free(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("closers", [1, 3])
def test_a_number_stays_while_an_operation_has_it(two: spargio.RuntimeHandle, closers: int) -> None:
    """A receive on a shard that is held: it cannot end, whatever the closes on the other one do. The
    socket may be others' too, so that the peer is told when it is closed, and not before."""
    near, far = net.UnixStream.pair()

    async def receive() -> None:
        with pytest.raises(spargio.ClosedError):
            await near.recv(10)

    async def close() -> None:
        await near.close()

    async def peer() -> None:
        async with far:
            assert await far.recv(10) == b""

    number = near.fileno()
    before = os.fstat(number)
    job = two.spawn_pinned(1, receive())
    support.eventually(lambda: two.stats_snapshot().ops_in_flight == 1)
    with support.Blocker(two, 1):
        for closing in [two.spawn_pinned(0, close()) for _ in range(closers)]:
            closing.result(support.LIMIT_S)
        assert near.fileno() == -1
        assert os.path.samestat(os.fstat(number), before)
    job.result(support.LIMIT_S)
    two.spawn_pinned(0, peer()).result(support.LIMIT_S)
    support.eventually(lambda: is_free(number))
