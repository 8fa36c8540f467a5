"""Many reads of one file in one await: what is read, and what is refused."""

from __future__ import annotations

import ctypes
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import programs
import pytest
import support
from records import CONTENT, FEW, OFFSET_MAX, SIZE, expected, run, with_file

import spargio
from spargio import fs

SIZE_RANGE = "the number of bytes must be between 0 and 2147479552"
OFFSET = f"an offset must be an int between 0 and {OFFSET_MAX}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


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
                with open("/proc/self/statm") as pages:
                    has = int(pages.read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (has + (256 << 20), resource.RLIM_INFINITY))
                for size in (64 << 20, 2147479552):  # After the third, and at once.
                    try:
                        await file.read_many_at([0] * 100, size)
                    except MemoryError:
                        print("no memory")
                print(len(await file.read_many_at(range(100), 10)))

        spargio.run(main, shards=1)
        """
    )
    assert (result.stdout, result.stderr) == ("no memory\nno memory\n100\n", "")
