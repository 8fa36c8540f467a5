"""Many reads of one file in one await that end early: cancelled, closed, failed."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import support
from records import CONTENT, FEW, SIZE, expected, run, with_file

import spargio
from spargio import fs


@pytest.fixture
def pipe() -> Iterator[tuple[Callable[[], fs.File], int]]:
    """What makes a file of its reading end (once, in a task), and the writing end."""
    reading, writing = os.pipe()
    yield lambda: fs.File.from_fd(reading), writing
    os.close(writing)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


# ---- cancellation, close, what is left half done ----


@pytest.mark.parametrize("count", [FEW, 100])
def test_a_cancelled_task_ends_when_its_reads_have_ended(
    pipe: tuple[Callable[[], fs.File], int], count: int
) -> None:
    opened, _ = pipe

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with opened() as file:
            job = handle.spawn_pinned(0, waits(file, count))
            await support.in_flight(handle, min(count, 64))
            job.cancel()
            with pytest.raises(spargio.TaskCancelled):
                await job
            await support.until(lambda: handle.stats_snapshot().ops_in_flight <= 1)

    spargio.run(main, shards=1)


async def waits(file: fs.File, count: int, size: int = 10) -> list[bytes]:
    return await file.read_many_at([0] * count, size)


def test_a_time_limit(pipe: tuple[Callable[[], fs.File], int]) -> None:
    opened, writing = pipe

    async def main() -> None:
        async with opened() as file:
            with pytest.raises(TimeoutError), spargio.timeout(0.02):
                await waits(file, 100)
            os.write(writing, b"afterwards")
            assert await file.read_many_at([0], 10) == [b"afterwards"]

    run(main)


def test_a_read_is_resumed_by_the_next_piece_of_a_pipe(
    pipe: tuple[Callable[[], fs.File], int],
) -> None:
    opened, writing = pipe

    async def main(handle: spargio.RuntimeHandle) -> None:
        async with opened() as file:
            job = handle.spawn_pinned(0, waits(file, 3, size=5))
            await support.in_flight(handle, 3)
            for _ in range(3):
                os.write(writing, b"piece")
                await spargio.yield_now()
            assert await job == [b"piece"] * 3

    spargio.run(main, shards=1)


def test_a_cancellation_comes_before_the_first_read(path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        found: list[list[bytes]] = []

        async def read() -> None:
            async with await fs.File.open(path) as file:
                reads = file.read_many_at(range(FEW), 10)
                job.cancel()
                with pytest.raises(spargio.CancelledError):
                    await reads
                found.append(await file.read_many_at(range(FEW), 10))

        job = handle.spawn_pinned(0, read())
        await job
        assert found == [expected(list(range(FEW)), 10)]

    spargio.run(main, shards=1)


def test_a_cancellation_in_the_middle_of_many(path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async def read() -> None:
            while True:
                await file.read_many_at(offsets, 512)

        offsets = [n * 17 % SIZE for n in range(20_000)]
        async with await fs.File.open(path) as file:
            for n in range(10):
                job = handle.spawn_pinned(0, read())
                await support.started(job)
                await spargio.sleep(n * 0.0007)
                job.cancel()
                with pytest.raises(spargio.TaskCancelled):
                    await job
        await support.until(lambda: handle.stats_snapshot().ops_in_flight <= 1)

    spargio.run(main, shards=1)


def test_a_close_ends_reads_that_wait(pipe: tuple[Callable[[], fs.File], int]) -> None:
    opened, _ = pipe

    async def main(handle: spargio.RuntimeHandle) -> None:
        file = opened()
        job = handle.spawn_pinned(0, waits(file, 100))
        await support.in_flight(handle, 64)
        await file.close()
        with pytest.raises(spargio.ClosedError):
            await job

    spargio.run(main, shards=1)


def test_a_close_lets_reads_of_a_file_end(path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async def read() -> list[bytes]:
            return await file.read_many_at(offsets, 64)

        offsets = [n * 17 % SIZE for n in range(50_000)]
        file = await fs.File.open(path)
        job = handle.spawn_pinned(0, read())
        await support.started(job)
        assert not job.done()
        await file.close()
        assert await job == expected(offsets, 64)

    spargio.run(main, shards=1)


def test_nothing_begins_without_an_await(path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        file = await fs.File.open(path)
        for count in (0, 1, 1000):
            reads = file.read_many_at(range(count), 10)
            before = handle.stats_snapshot().sqes_submitted
            with pytest.warns(RuntimeWarning, match=r"read_many_at of file .* was never awaited"):
                del reads
            gc.collect()
            assert handle.stats_snapshot().sqes_submitted == before
        os.close(file.detach())  # Not counted in anywhere.

    spargio.run(main, shards=1)


def test_it_is_awaited_once(path: Path) -> None:
    async def work(file: fs.File) -> None:
        for count in (FEW, 100):
            reads = file.read_many_at(range(count), 10)
            await reads
            with pytest.raises(RuntimeError, match="can be awaited once"):
                await reads

    with_file(path, work)


def test_two_tasks_await_it(pipe: tuple[Callable[[], fs.File], int]) -> None:
    opened, writing = pipe

    async def main(handle: spargio.RuntimeHandle) -> None:
        async def read() -> list[bytes]:
            return await reads

        async with opened() as file:
            reads = file.read_many_at([0], 10)
            first = handle.spawn_pinned(0, read())
            await support.in_flight(handle, 1)
            with pytest.raises(RuntimeError, match="by two tasks"):
                await handle.spawn_pinned(0, read())
            os.write(writing, b"x")
            assert await first == [b"x"]

    spargio.run(main, shards=1)


def test_memory_outlives_a_coroutine_that_is_closed_by_hand(
    path: Path, pipe: tuple[Callable[[], fs.File], int]
) -> None:
    opened, writing = pipe

    async def main() -> None:
        async with opened() as file, await fs.File.open(path) as other:
            for _ in range(3):
                inner = waits(file, 20)
                inner.send(None)
                inner.close()
                del inner
                gc.collect()
                assert await other.read_many_at([], 1) == []
                await spargio.yield_now()
                assert await other.read_many_at(range(100), 9) == expected(list(range(100)), 9)
            os.write(writing, bytes(600))
            await spargio.sleep(0.001)

    run(main)


def test_no_reference_is_left(path: Path) -> None:
    """Of the objects that only this holds: what was given, and what came."""
    offsets = [10**6 + n for n in range(100)]
    before = [sys.getrefcount(one) for one in offsets]

    async def work(file: fs.File) -> None:
        for size in (10, 0):
            found = await file.read_many_at(offsets, size)
            await spargio.yield_now()
            assert sys.getrefcount(found) == 2
        with pytest.raises(ValueError, match="an offset must be .*, got -1"):
            file.read_many_at([*offsets, -1], 10)
        file.read_many_at(offsets, 10).close()
        with pytest.raises(IsADirectoryError):
            async with fs.File.from_fd(os.open(path.parent, os.O_RDONLY)) as folder:
                await folder.read_many_at(offsets, 10)

    with_file(path, work)
    assert [sys.getrefcount(one) for one in offsets] == before
