"""A child that is started while its task is cancelled, or goes away: one side has it, or nobody."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import _blocking, process
from spargio.process import Command


def children() -> set[str]:
    """Of this process, with those that have ended and whose status nobody took."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[1] == str(os.getpid()):
            found.add(stat.parent.name)
    return found


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    before = children()
    yield
    _blocking.close_pools()  # Waits for what its threads do.
    assert children() <= before


class Gate(os.PathLike[str]):
    """A program whose start waits, on its thread, until the test lets it go."""

    def __init__(self, program: str = "sleep") -> None:
        self.reached = threading.Event()
        self.go = threading.Event()
        self._program = program

    def __fspath__(self) -> str:
        self.reached.set()
        assert self.go.wait(support.LIMIT_S)
        return self._program


async def cancel_inside(job: spargio.JoinHandle[Any], gate: Gate) -> None:
    """While the thread starts it."""
    await support.until(gate.reached.is_set)
    job.cancel()
    for _ in range(5):
        await spargio.yield_now()
    assert not job.done()  # It waits for the start.
    gate.go.set()


def test_a_child_that_comes_with_a_cancellation_is_given() -> None:
    gate = Gate()

    async def start() -> bool:
        child = await Command(gate, "1000").spawn()
        try:
            return await support.cancelled_next()
        finally:
            child.kill()
            assert await child.wait() == -signal.SIGKILL
            await child.close()

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, start())
        await cancel_inside(job, gate)
        assert await job

    spargio.run(main, shards=2)


@pytest.mark.parametrize("call", ["status", "output"])
def test_a_run_that_is_cancelled_in_its_start_kills_the_child(call: str) -> None:
    gate = Gate()

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, getattr(Command(gate, "1000"), call)())
        await cancel_inside(job, gate)
        with pytest.raises(spargio.TaskCancelled):
            await job

    spargio.run(main, shards=2)


def test_a_second_cancellation_leaves_no_killed_child() -> None:
    gate = Gate()
    kept: list[process.Child] = []
    limit = spargio.timeout(0.1)

    async def work() -> None:
        command = Command(gate, "1000").kill_on_drop(True)
        with limit:
            async with await command.spawn() as child:
                kept.append(child)
                await spargio.sleep(1_000)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, work())
        await support.until(gate.reached.is_set)
        await support.until(limit.expired)  # It passes first.
        await cancel_inside(job, gate)
        with pytest.raises(spargio.TaskCancelled):
            await job
        assert kept[0].returncode == -signal.SIGKILL

    spargio.run(main, shards=2)


def test_time_limits_at_any_moment_of_a_start() -> None:
    async def main() -> None:
        for n in range(60):
            child = None
            try:
                with spargio.timeout(n % 12 * 0.0003):
                    child = await Command("sleep", "1000").spawn()
            except TimeoutError:
                assert child is None
            if child is not None:
                child.kill()
                await child.wait()
                await child.close()

    spargio.run(main, shards=2)


def test_a_failure_and_a_cancellation_are_both_told() -> None:
    gate = Gate("no-such-program")

    async def start() -> bool:
        with pytest.raises(FileNotFoundError):
            await Command(gate).spawn()
        return await support.cancelled_next()

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, start())
        await cancel_inside(job, gate)
        assert await job

    spargio.run(main, shards=2)


def test_a_start_that_waits_for_a_thread_is_withdrawn() -> None:
    gate = Gate()
    busy = [Gate("true") for _ in range(8)]

    async def main(handle: spargio.RuntimeHandle) -> None:
        held = [handle.spawn_pinned(0, Command(one).status()) for one in busy]
        await support.until(lambda: all(one.reached.is_set() for one in busy))
        job = handle.spawn_pinned(0, Command(gate, "1000").spawn())
        await support.started(job)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        for other in busy:
            other.go.set()
        for one in held:
            assert await one == 0
        assert await Command("true").status() == 0  # Behind it in the queue.
        assert not gate.reached.is_set()

    spargio.run(main, shards=1)


@pytest.mark.parametrize("started", [False, True])
def test_a_coroutine_that_is_closed_leaves_no_child(started: bool) -> None:
    gate = Gate()

    async def main() -> None:
        by_hand = Command(gate, "1000").stdin(process.PIPE).spawn()
        by_hand.send(None)
        assert gate.reached.wait(support.LIMIT_S)
        if started:
            gate.go.set()
            _blocking.close_pools()
        by_hand.close()
        gate.go.set()

    spargio.run(main, shards=1)


def test_a_child_without_a_pidfd_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        monkeypatch.setattr(os, "pidfd_open", none_left)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            await Command("sleep", "1000").stdin(process.PIPE).spawn()

    spargio.run(main, shards=1)


# ---- after close() ----


def test_a_child_is_waited_for_after_its_close() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async with await Command("true").spawn() as child:
            pass
        assert await child.wait() == 0
        assert await child.wait() == 0
        async with await Command("cat").stdin(process.PIPE).spawn() as child:
            early = handle.spawn_pinned(0, child.wait())
            await support.started(early)
        late = [handle.spawn_stealable(child.wait()) for _ in range(4)]
        # `cat` has read the end of its closed input.
        assert [await job for job in (early, *late)] == [0] * 5
        async with await Command("true").spawn() as child:
            await child.wait()
        assert await child.wait() == 0

    spargio.run(main, shards=2)
