"""spargio.fs: many whole files at once, and calls that block."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs
from spargio.fs._stream import Chunk, News, feed, stream

Main = Callable[..., Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


# ---- many files ----


def make_files(top: Path, count: int) -> dict[str, bytes]:
    chosen = random.Random(count)
    files = {
        str(top / f"{n}"): chosen.randbytes(int(chosen.random() ** 4 * 65_536))
        for n in range(count)
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
    return files


@pytest.mark.parametrize("concurrency", [1, 2, 63, 128, 1000])
def test_read_many_gives_each_file_once_and_in_order(
    tmp_path: Path, options: dict[str, Any], concurrency: int
) -> None:
    files = make_files(tmp_path, 300)
    missing = str(tmp_path / "missing")
    paths = [*files, missing, str(tmp_path)]
    random.Random(3).shuffle(paths)
    before = len(support.descriptors())

    async def main() -> list[tuple[fs._whole.Path, bytes | OSError]]:
        return [pair async for pair in fs.read_many(paths, concurrency=concurrency)]

    found = spargio.run(main, **options)
    assert [path for path, _ in found] == paths
    for path, result in found:
        if path == missing:
            assert isinstance(result, FileNotFoundError)
            assert result.filename == missing
        elif path == str(tmp_path):
            assert isinstance(result, IsADirectoryError)
        else:
            assert result == files[str(path)]
    assert len(support.descriptors()) == before


def test_read_many_of_nothing_and_of_wrong_things(tmp_path: Path) -> None:
    async def main() -> None:
        assert [x async for x in fs.read_many([])] == []
        with pytest.raises(ValueError, match="concurrency must .*got 0"):
            [x async for x in fs.read_many([], concurrency=0)]
        with pytest.raises(ValueError, match="NUL"):
            [x async for x in fs.read_many(["a\0b"])]
        with pytest.raises(TypeError):
            [x async for x in fs.read_many([object()])]  # type: ignore[list-item]

    run(main)


def test_read_many_can_be_left_half_way(tmp_path: Path, options: dict[str, Any]) -> None:
    files = make_files(tmp_path, 500)
    before = len(support.descriptors())
    taken: list[object] = []

    def endless() -> Any:
        while True:
            for name in files:
                taken.append(name)
                yield name

    async def main(handle: spargio.RuntimeHandle) -> None:
        count = 0
        async for _ in fs.read_many(endless()):
            count += 1
            if count == 1000:
                break
        assert len(taken) < 2_000  # It reads ahead, but not without bound.

        async def reader() -> None:
            async for _ in fs.read_many(endless()):
                pass

        job = handle.spawn_stealable(reader())
        seen = len(taken)
        await support.until(lambda: len(taken) > seen + 200)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    spargio.run(main, **options)
    assert len(support.descriptors()) == before


def test_cancelled_reads_lose_no_descriptor(tmp_path: Path) -> None:
    """Reads of many files, cancelled at any moment: all or an error, and nothing left open."""
    files = make_files(tmp_path, 40)
    before = len(support.descriptors())
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def main(handle: spargio.RuntimeHandle) -> None:
        async def reader() -> int:
            found = [data async for _, data in fs.read_many(files)]
            assert found == list(files.values())
            return len(found)

        for _ in range(150):
            job = handle.spawn_stealable(reader())
            for _ in range(chosen.randrange(12)):
                await spargio.yield_now()
            job.cancel()
            with contextlib.suppress(spargio.TaskCancelled):
                assert await job == len(files)

    spargio.run(main, shards=2)
    assert len(support.descriptors()) == before


def test_write_many(tmp_path: Path, options: dict[str, Any]) -> None:
    files = [(tmp_path / f"{n}", os.urandom(n * 37)) for n in range(200)]
    wrong = (tmp_path / "none" / "x", b"")

    async def main() -> list[tuple[Any, OSError | None]]:
        return [pair async for pair in fs.write_many([*files, wrong], concurrency=16)]

    found = spargio.run(main, **options)
    assert [path for path, _ in found] == [path for path, _ in [*files, wrong]]
    assert [error for _, error in found[:-1]] == [None] * 200
    assert isinstance(found[-1][1], FileNotFoundError)
    for path, data in files:
        assert path.read_bytes() == data


class One(Chunk[int, int]):
    """A coroutine as a chunk of one."""

    def __init__(self, item: tuple[int, Coroutine[Any, Any, int]], news: News) -> None:
        super().__init__([item[0]], news)
        self._coroutine = item[1]
        self.start()

    async def work(self) -> None:
        self.results[0] = await self._coroutine
        self.done.append(0)


def in_order(
    work: Iterable[tuple[int, Coroutine[Any, Any, int]]], window: int
) -> AsyncGenerator[tuple[int, int], None]:
    """What read_many and write_many are made of."""
    return stream(
        lambda news: feed(work, lambda item: item, news, window),
        lambda items, news: One(items[0], news),
        1,
        window,
        ordered=True,
    )


def test_an_error_of_one_ends_the_others_first() -> None:
    """They wait in their clean-up; the iterator raises only after that."""
    ended: list[int] = []
    begun: list[int] = []

    async def one(n: int) -> int:
        if n == 0:
            await support.until(lambda: len(begun) == 4)
            raise KeyError("the first")
        if n == 4:
            raise ValueError("dropped: it was not asked for")
        begun.append(n)
        try:
            await spargio.sleep(1_000)
        finally:
            for _ in range(5):
                await spargio.yield_now()
            ended.append(n)
        return n

    async def main() -> None:
        work = ((n, one(n)) for n in range(6))
        with pytest.raises(KeyError, match="the first"):
            async for _ in in_order(work, 6):
                pass
        assert sorted(ended) == [1, 2, 3, 5]

    run(main)


def test_a_cancellation_while_the_others_end_comes_afterwards() -> None:
    cleaning = threading.Event()
    go = threading.Event()
    begun: list[int] = []
    ended: list[int] = []

    async def one(n: int) -> int:
        if n == 0:
            await support.until(lambda: len(begun) == 2)
            raise KeyError("the first")
        begun.append(n)
        try:
            await spargio.sleep(1_000)
        finally:
            cleaning.set()
            while not go.is_set():
                await spargio.yield_now()
            ended.append(n)
        return n

    async def consume() -> bool:
        with pytest.raises(KeyError, match="the first"):
            async for _ in in_order(((n, one(n)) for n in range(3)), 3):
                pass
        assert sorted(ended) == [1, 2]
        return await support.cancelled_next()

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, consume())
        await support.until(cleaning.is_set)
        job.cancel()
        for _ in range(5):
            await spargio.yield_now()
        go.set()
        assert await job

    spargio.run(main, shards=2)


# ---- blocking calls ----


def test_spawn_blocking(options: dict[str, Any]) -> None:
    import contextvars

    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    def fail() -> None:
        raise KeyError("told")

    async def main(handle: spargio.RuntimeHandle) -> None:
        variable.set(5)
        name, value = await spargio.spawn_blocking(
            lambda: (threading.current_thread().name, variable.get())
        )
        assert name.startswith("spargio-blocking")
        assert value == 5
        assert await handle.spawn_blocking(divmod, 17, 5) == (3, 2)
        with pytest.raises(KeyError, match="told"):
            await handle.spawn_blocking(fail)

        gate = threading.Event()
        waiting = handle.spawn_blocking(gate.wait, 30)

        async def wait() -> bool:
            return await waiting

        job = handle.spawn_stealable(wait())
        await support.started(job)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        gate.set()
        assert await waiting is True  # The call went on.

    spargio.run(main, **options)


def test_blocking_calls_from_an_ordinary_thread() -> None:
    with spargio.Runtime.builder().shards(1).build() as handle:
        assert handle.spawn_blocking(sum, [1, 2, 3]).result(support.LIMIT_S) == 6
