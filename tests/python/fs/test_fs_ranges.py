"""Many ranges of many files, and many files by bytes, by asynchronous sources, and as they come."""

from __future__ import annotations

import array
import contextlib
import os
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs


def run(main: Any) -> Any:
    return spargio.run(main, shards=2)


async def results(ranges: Any, **options: Any) -> list[Any]:
    found = [pair async for pair in fs.read_ranges(ranges, **options)]
    if options.get("ordered", True):
        assert [place for place, _ in found] == list(range(len(found)))
    return [value for _, value in sorted(found, key=lambda pair: pair[0])]


def files(folder: Path, count: int, size: int) -> dict[str, bytes]:
    made = {}
    for n in range(count):
        path = folder / f"f{n}"
        made[str(path)] = os.urandom(size)
        path.write_bytes(made[str(path)])
    return made


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("gap", [0, 100, 100_000])
def test_ranges_of_many_files(tmp_path: Path, ordered: bool, gap: int) -> None:
    """Close ones, far ones, ones that overlap, empty ones, the same twice, and beyond the end."""
    made = files(tmp_path, 7, 50_000)
    dice = random.Random(5)
    ranges: list[tuple[str, int, int | None]] = []
    for _ in range(3000):
        start = dice.choice([dice.randrange(60_000), dice.randrange(50) * 1000])
        length = dice.choice([0, 1, 500, 1000, 5000, None])
        ranges.append((dice.choice(list(made)), start, length))
    ranges += ranges[:50]

    async def main() -> None:
        got = await results(ranges, ordered=ordered, max_gap=gap)
        for (path, start, length), data in zip(ranges, got, strict=True):
            stop = None if length is None else start + length
            assert data == made[path][start:stop]

    run(main)


@pytest.mark.parametrize("concurrency", [1, 2, 1000])
@pytest.mark.parametrize("max_bytes", [1, 10_000, 1 << 30])
def test_the_limits_change_no_result(tmp_path: Path, concurrency: int, max_bytes: int) -> None:
    made = files(tmp_path, 20, 3000)
    ranges = [(path, start, 700) for start in range(0, 3000, 700) for path in made]

    async def main() -> None:
        got = await results(ranges, concurrency=concurrency, max_bytes=max_bytes, max_size=1000)
        assert got == [made[path][start : start + 700] for path, start, _ in ranges]

    run(main)


def test_more_ranges_than_one_task_takes(tmp_path: Path) -> None:
    data = os.urandom(64_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    places = random.Random(1).choices(range(63_000), k=10_000)

    async def main() -> None:
        assert await results([(path, n, 16) for n in places]) == [data[n : n + 16] for n in places]

    run(main)


def test_an_error_is_the_result_of_its_ranges_alone(tmp_path: Path) -> None:
    made = files(tmp_path, 2, 100)
    one, two = made
    gone = str(tmp_path / "gone")
    ranges = [(one, 0, 10), (gone, 0, 10), (two, 0, 10), (gone, 5, 10), (tmp_path, 0, 10)]

    async def main() -> None:
        got = await results(ranges)
        assert (got[0], got[2]) == (made[one][:10], made[two][:10])
        for n in (1, 3):
            assert isinstance(got[n], FileNotFoundError)
            assert got[n].filename == gone
        assert isinstance(got[4], IsADirectoryError)
        assert got[4].filename == tmp_path

    run(main)


def test_into_one_buffer_per_range_without_a_copy(tmp_path: Path) -> None:
    made = files(tmp_path, 3, 4000)
    ranges = [(path, start, 1000) for path in made for start in (0, 1000, 2500, 3500)]
    memory = [bytearray(1000) for _ in ranges]

    async def main() -> None:
        got = await results(ranges, into=memory, max_gap=4000)
        assert got == [1000, 1000, 1000, 500] * 3
        for (path, start, _), size, buffer in zip(ranges, got, memory, strict=True):
            assert buffer[:size] == made[path][start : start + 1000]
        big = array.array("d", bytes(12_000))
        assert await results(ranges, into=big) == got
        assert big.tobytes()[2000:3000] == made[str(tmp_path / "f0")][2500:3500]
        # All that there is room for.
        (size,) = await results([(ranges[0][0], 10, None)], into=[bytearray(20)])
        assert size == 20

    run(main)


def test_what_is_wrong_is_named_in_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    good = (path, 2, 3)
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        (7, {}, TypeError, "a range must be .path, offset, length., got 7"),
        ((path, -1, 3), {}, ValueError, "offset must be 0 or more, .* got -1"),
        ((path, 1, -3), {}, ValueError, "length must be 0 or more, or None, got -3"),
        ((path, 1.5, 3), {}, TypeError, "offset is 1.5"),
        ((5, 1, 3), {}, TypeError, "path is 5"),
        (("a\0", 1, 3), {}, ValueError, "NUL"),
        (good, {"into": bytearray(5)}, ValueError, "room for all ranges, got 5 bytes, and 6"),
        (good, {"into": [bytearray(3)]}, ValueError, "a buffer for each range, got 1"),
        (good, {"into": [bytearray(3), b"123"]}, BufferError, "writable"),
    ]

    async def main() -> None:
        for bad, options, kind, text in cases:
            async with contextlib.aclosing(fs.read_ranges([good, bad, good], **options)) as found:
                if "writable" not in text:
                    assert (await anext(found))[1] in (b"234", 3)
                with pytest.raises(kind, match=text):
                    await anext(found)
        for name, value in (("max_gap", -1), ("max_size", 0), ("concurrency", 0), ("max_bytes", 0)):
            with pytest.raises(ValueError, match=f"{name} is {value}"):
                fs.read_ranges([], **{name: value})
        with pytest.raises(TypeError, match="ranges"):
            fs.read_ranges("abc")  # type: ignore[arg-type]

    run(main)


def test_a_large_range_is_read_whole(tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> None:
        ranges = [(path, 1, 3 << 20), (path, (3 << 20) + 5, None)]
        one, two = await results(ranges, max_size=64 << 20)
        assert (one, two) == (data[1 : (3 << 20) + 1], data[(3 << 20) + 5 :])

    run(main)


# ---- as they come, by bytes, from an asynchronous source ----


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_slow_file_keeps_back_none_of_the_others(tmp_path: Path, fifo: Path) -> None:
    made = files(tmp_path, 300, 10)

    async def main() -> None:
        for many in (
            fs.read_many([fifo, *made], ordered=False),
            fs.read_ranges([(path, 0, 10) for path in (fifo, *made)], ordered=False),
        ):
            with spargio.timeout(support.LIMIT_S):
                async with contextlib.aclosing(many) as found:
                    got = [await anext(found) for _ in made]
                    assert sorted(data for _, data in got) == sorted(made.values())
                    feeder = threading.Thread(target=fifo.write_bytes, args=(b"slow",))
                    feeder.start()
                    _, data = await anext(found)
                    feeder.join()
                    # A FIFO has no offsets, so of it a range is an error.
                    assert data == b"slow" or data.errno == 29
                    with pytest.raises(StopAsyncIteration):
                        await anext(found)

    run(main)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("max_bytes", [1, 3000, 20_000])
def test_read_many_holds_so_many_bytes(tmp_path: Path, ordered: bool, max_bytes: int) -> None:
    """Counted as the objects that exist: of what was read and not given out."""
    made = files(tmp_path, 200, 1000)

    async def main() -> None:
        many = fs.read_many(made, ordered=ordered, max_bytes=max_bytes)
        got = []
        async with contextlib.aclosing(many) as found:
            async for path, data in found:
                assert data == made[path]
                got.append(path)
        assert sorted(got) == sorted(made)
        assert not ordered or got == list(made)

    run(main)


def test_files_beyond_the_bytes_are_not_read_ahead(tmp_path: Path) -> None:
    """The paths after the first ones are not there yet: they are made when those were given out."""
    size = 100_000
    paths = [tmp_path / str(n) for n in range(64)]
    for path in paths:
        path.write_bytes(bytes(size))

    async def main(handle: spargio.RuntimeHandle) -> None:
        many = fs.read_many(paths, concurrency=64, max_bytes=8 * size)
        async with contextlib.aclosing(many) as found:
            await anext(found)
            # The two tasks wait for room; what they hold is 4 files each at the most.
            held = await held_bytes()
            assert held <= 9 * size
            count = 1
            async for _, data in found:
                assert len(data) == size
                count += 1
            assert count == 64

    async def held_bytes() -> int:
        import gc
        import sys

        for _ in range(100):
            await spargio.yield_now()
        return sum(
            sys.getsizeof(value)
            for one in gc.get_objects()
            if type(one) is list and len(one) == 32
            for value in one
            if isinstance(value, bytes)
        )

    spargio.run(main, shards=1)


@pytest.mark.parametrize("ordered", [True, False])
def test_an_asynchronous_source(tmp_path: Path, ordered: bool) -> None:
    made = files(tmp_path, 150, 100)
    taken = 0

    async def source() -> AsyncIterator[str]:
        nonlocal taken
        for n, path in enumerate(made):
            if n % 7 == 0:
                await spargio.yield_now()
            taken += 1
            yield path

    async def main() -> None:
        got = []
        ahead = 0
        async for path, data in fs.read_many(source(), concurrency=10, ordered=ordered):
            assert data == made[path]
            got.append(path)
            ahead = max(ahead, taken - len(got))
        assert sorted(got) == sorted(made)
        assert not ordered or got == list(made)
        assert ahead <= 11

    run(main)


def test_a_source_that_waits_keeps_no_result_back(tmp_path: Path) -> None:
    made = files(tmp_path, 3, 10)
    more = spargio.sync.Event()

    async def source() -> AsyncIterator[tuple[str, int, int]]:
        for path in made:
            yield path, 0, 4
        await more.wait()
        yield next(iter(made)), 4, 4
        raise KeyError("the source's own")

    async def main() -> None:
        async with contextlib.aclosing(fs.read_ranges(source())) as found:
            with spargio.timeout(support.LIMIT_S):
                got = [(await anext(found))[1] for _ in made]
                assert got == [data[:4] for data in made.values()]
                more.set()
                assert (await anext(found))[1] == next(iter(made.values()))[4:8]
                with pytest.raises(KeyError, match="the source's own"):
                    await anext(found)

    run(main)


def test_leaving_ends_the_source_and_the_reads(tmp_path: Path, fifo: Path) -> None:
    ended = False

    async def source() -> AsyncIterator[Path]:
        nonlocal ended
        try:
            yield fifo
            await spargio.sleep(3600)
        finally:
            ended = True

    async def main() -> None:
        many = fs.read_many(source(), ordered=False)
        with pytest.raises(TimeoutError):
            with spargio.timeout(0.05):
                async with contextlib.aclosing(many):
                    await anext(many)
        assert ended

    run(main)
