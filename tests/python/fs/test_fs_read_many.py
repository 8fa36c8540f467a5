"""Many reads of one file in one await."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import fs

SIZE = 256 * 1024 + 100
CONTENT = random.Random(1).randbytes(SIZE)
OFFSET_MAX = 2**63 - 1
SIZE_RANGE = "the number of bytes must be between 0 and 2147479552"
OFFSET = f"an offset must be an int between 0 and {OFFSET_MAX}"

FEW = 10
"""Tried in the page cache first; more go to the ring."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def run(main: Callable[[], Awaitable[Any]], shards: int = 1) -> Any:
    return spargio.run(main, shards=shards)


def with_file(path: Path, work: Callable[[fs.File], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with await fs.File.open(path) as file:
            return await work(file)

    return run(main)


@pytest.fixture
def pipe() -> Iterator[tuple[Callable[[], fs.File], int]]:
    """What makes a file of its reading end (once, in a task), and the writing end."""
    reading, writing = os.pipe()
    yield lambda: fs.File.from_fd(reading), writing
    os.close(writing)


def expected(offsets: list[int], size: int) -> list[bytes]:
    return [CONTENT[offset : offset + size] for offset in offsets]


# ---- what is read ----


@pytest.mark.parametrize("size", [1, 512, 4096, 20_000])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 63, 64, 65, 500])
def test_each_read_gives_what_read_at_gives(path: Path, count: int, size: int) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    generator = random.Random(seed)
    offsets = [generator.randrange(SIZE + 1000) for _ in range(count)]

    async def work(file: fs.File) -> None:
        found = await file.read_many_at(offsets, size)
        assert found == expected(offsets, size)
        assert all(type(one) is bytes for one in found)
        for n in generator.sample(range(count), min(count, 20)):
            assert found[n] == await file.read_at(offsets[n], size)

    with_file(path, work)


@pytest.mark.parametrize("count", [FEW, 100])
def test_at_and_behind_the_end(path: Path, count: int) -> None:
    offsets = [SIZE - 10, SIZE - 1, SIZE, SIZE + 1, 0] * (count // 5)
    with_file(path, lambda file: file.read_many_at([1 << 40, OFFSET_MAX - 8], 8))

    async def work(file: fs.File) -> None:
        assert await file.read_many_at(offsets, 100) == expected(offsets, 100)

    with_file(path, work)


def test_any_iterable_of_ints(path: Path) -> None:
    class Index:
        def __index__(self) -> int:
            return 7

    async def work(file: fs.File) -> None:
        for offsets in ((1, 2), range(3), {5}, iter([4, 3]), (n * n for n in range(40)), b"ab"):
            kept = list(offsets) if not isinstance(offsets, Iterator) else None
            found = await file.read_many_at(offsets, 3)
            if kept is not None:
                assert found == expected(kept, 3)
        assert await file.read_many_at((n * n for n in range(40)), 3) == expected(
            [n * n for n in range(40)], 3
        )
        assert await file.read_many_at([Index(), True], 3) == expected([7, 1], 3)  # type: ignore[list-item]
        given = [3, 2, 1]
        reads = file.read_many_at(given, 3)
        given.clear()  # They were taken at the call.
        assert await reads == expected([3, 2, 1], 3)

    with_file(path, work)


def test_nothing_to_read(path: Path) -> None:
    async def work(file: fs.File) -> None:
        assert await file.read_many_at([], 100) == []
        assert await file.read_many_at([0, 5, SIZE], 0) == [b"", b"", b""]
        assert await file.read_many_at(range(1000), 0) == [b""] * 1000

    with_file(path, work)


def test_many_more_than_are_under_way_at_a_time(path: Path) -> None:
    offsets = [n * 17 % SIZE for n in range(100_000)]

    async def main(handle: spargio.RuntimeHandle) -> None:
        async def read() -> list[bytes]:
            return await file.read_many_at(offsets, 8)

        async with await fs.File.open(path) as file:
            job = handle.spawn_pinned(0, read())
            most = 0
            while not job.done():
                most = max(most, handle.stats_snapshot().ops_in_flight)
                await spargio.sleep(0.0002)
            assert await job == expected(offsets, 8)
            assert most <= 65  # One is of this task.

    spargio.run(main, shards=1)


def test_several_tasks_and_shards_at_once(path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        async def read(seed: int) -> None:
            generator = random.Random(seed)
            for _ in range(20):
                offsets = [generator.randrange(SIZE) for _ in range(generator.randrange(100))]
                assert await file.read_many_at(offsets, 300) == expected(offsets, 300)

        async with await fs.File.open(path) as file:
            jobs = [handle.spawn_stealable(read(n)) for n in range(16)]
            for job in jobs:
                await job

    spargio.run(main, shards=2)


def test_few_cached_reads_need_no_operation_and_let_others_run(path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        done = False

        async def read() -> None:
            while not done:
                assert await file.read_many_at([1, 2], 100) == expected([1, 2], 100)

        def at_once() -> int:
            return handle.stats_snapshot().reads_at_once

        async with await fs.File.open(path) as file:
            await file.read_many_at([0], 100)
            if not at_once():
                pytest.skip("the file system has no reads that do not wait (preadv2, RWF_NOWAIT)")
            job = handle.spawn_pinned(0, read())
            await support.until(lambda: at_once() > 100)
            done = True
            await job

    spargio.run(main, shards=1)


# ---- errors ----


@pytest.mark.parametrize(
    ("offsets", "size", "kind", "text"),
    [
        ([0, -1], 10, ValueError, f"{OFFSET}, got -1"),
        ([2**63], 10, ValueError, f"{OFFSET}, got 9223372036854775808"),
        ([-(2**90)], 10, ValueError, f"{OFFSET}, got -12379"),
        ([0, "7"], 10, TypeError, f"{OFFSET}, got '7'"),
        ([1.5], 10, TypeError, f"{OFFSET}, got 1.5"),
        ([None], 10, TypeError, f"{OFFSET}, got None"),
        (5, 10, TypeError, "offsets must be an iterable of ints, got 5"),
        (None, 10, TypeError, "offsets must be an iterable of ints, got None"),
        ([0], -1, ValueError, f"{SIZE_RANGE}, got -1"),
        ([0], 2**31, ValueError, f"{SIZE_RANGE}, got 2147483648"),
        ([0], "10", TypeError, "int"),
    ],
)
def test_what_is_wrong_is_said_at_the_call(
    path: Path, offsets: Any, size: Any, kind: type[Exception], text: str
) -> None:
    async def work(file: fs.File) -> None:
        with pytest.raises(kind) as caught:
            file.read_many_at(offsets, size)
        assert text in str(caught.value)

    with_file(path, work)


def test_an_error_of_the_iterable_is_raised(path: Path) -> None:
    def offsets(error: Exception) -> Iterator[int]:
        yield 1
        raise error

    class Wrong:
        def __index__(self) -> int:
            raise KeyError("index")

    async def work(file: fs.File) -> None:
        for error in (KeyError("mine"), TypeError("mine")):
            with pytest.raises(type(error), match="mine"):
                file.read_many_at(offsets(error), 10)
        with pytest.raises(KeyError, match="index"):
            file.read_many_at([Wrong()], 10)  # type: ignore[list-item]

    with_file(path, work)


@pytest.mark.parametrize("count", [0, 1, FEW, 100])
def test_a_closed_file(path: Path, count: int) -> None:
    async def main() -> None:
        file = await fs.File.open(path)
        before = file.read_many_at(range(count), 10)
        await file.close()
        with pytest.raises(spargio.ClosedError):
            await before
        with pytest.raises(spargio.ClosedError):
            await file.read_many_at(range(count), 10)

    run(main)


@pytest.mark.parametrize("count", [1, FEW, 100])
def test_a_file_that_cannot_be_read(tmp_path: Path, count: int) -> None:
    name = tmp_path / "new"

    async def main() -> None:
        async with await fs.File.open(name, "w") as file:
            with pytest.raises(
                OSError, match="Bad file descriptor: reading 3 bytes at offset 5"
            ) as e:
                await file.read_many_at(range(5, 5 + count), 3)
            assert (e.value.errno, e.value.filename) == (9, name)

    run(main)


@pytest.mark.parametrize("count", [8, 40, 400])
def test_the_first_error_by_position_is_raised(count: int) -> None:
    """The memory of this process as a file: what is not mapped cannot be read."""
    memory = ctypes.create_string_buffer(b"mapped", 4096)
    good = ctypes.addressof(memory)
    offsets = [good] * count
    wrong = (count // 2, count // 2 + 1, count - 1)
    for n in wrong:
        offsets[n] = 16 * n

    async def main() -> None:
        async with await fs.File.open("/proc/self/mem") as file:
            assert await file.read_many_at([good] * count, 6) == [b"mapped"] * count
            with pytest.raises(OSError, match=f"reading 6 bytes at offset {16 * wrong[0]}:") as e:
                await file.read_many_at(offsets, 6)
            assert e.value.errno == 5
            assert await file.read_many_at([good], 6) == [b"mapped"]

    try:
        run(main)
    except PermissionError as error:
        pytest.skip(f"no /proc/self/mem: {error}")


def test_no_memory() -> None:
    result = programs.run_program(
        """
        import resource, spargio
        from spargio import fs

        async def main():
            async with await fs.File.open("/dev/zero") as file:
                await file.read_many_at(range(100), 10)
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, resource.RLIM_INFINITY))
                for size in (1 << 30, 2147479552):
                    try:
                        await file.read_many_at([0] * 100, size)
                    except MemoryError:
                        print("no memory")
                print(len(await file.read_many_at(range(100), 10)))

        spargio.run(main, shards=1)
        """
    )
    assert (result.stdout, result.stderr) == ("no memory\nno memory\n100\n", "")


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
