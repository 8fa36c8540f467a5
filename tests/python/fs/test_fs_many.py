"""Many files in one call, and one file by several writers."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs


def make(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{n}" for n in range(count)]
    for n, path in enumerate(paths):
        path.write_bytes(b"%d" % n)
    return paths


@pytest.mark.parametrize("concurrency", [1, 2, 3, 7, 64, 128])
def test_so_many_are_ahead_and_no_more(tmp_path: Path, concurrency: int) -> None:
    paths = make(tmp_path, 400)
    taken = 0

    def source() -> Iterator[Path]:
        nonlocal taken
        for path in paths:
            taken += 1
            yield path

    async def main() -> None:
        nonlocal taken
        most = given = 0
        async for _ in fs.read_many(source(), concurrency=concurrency):
            given += 1
            most = max(most, taken - given)
        assert (given, most) == (400, concurrency)
        taken = most = given = 0
        pairs = ((path, b"x") for path in source())
        async for _ in fs.write_many(pairs, concurrency=concurrency):
            given += 1
            most = max(most, taken - given)
        assert (given, most) == (400, concurrency)

    spargio.run(main, shards=2)


def test_a_slow_file_keeps_no_result_back(tmp_path: Path) -> None:
    """What is before it is given at once, though all are read by one task."""
    paths = make(tmp_path, 20)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main() -> None:
        with spargio.timeout(support.LIMIT_S):
            async with contextlib.aclosing(fs.read_many([*paths[:10], fifo, *paths[10:]])) as found:
                for n in range(10):
                    assert await anext(found) == (paths[n], b"%d" % n)
                feeder = threading.Thread(target=fifo.write_bytes, args=(b"slow",))
                feeder.start()
                assert await anext(found) == (fifo, b"slow")
                feeder.join()
                assert [data async for _, data in found] == [b"%d" % n for n in range(10, 20)]

    spargio.run(main, shards=2)


def test_an_error_of_the_source_comes_after_what_was_before_it(tmp_path: Path) -> None:
    paths = make(tmp_path, 10)

    def source(end: Any) -> Iterator[Any]:
        yield from paths
        if isinstance(end, Exception):
            raise end
        yield end

    async def main() -> None:
        for end, error in ((KeyError("x"), KeyError), ("a\0b", ValueError), (7, TypeError)):
            found = []
            with pytest.raises(error):
                async for _, data in fs.read_many(source(end)):
                    found.append(data)
            assert found == [b"%d" % n for n in range(10)]
        told = []
        with pytest.raises(KeyError):
            async for path, _ in fs.write_many((p, b"x") for p in source(KeyError("x"))):
                told.append(path)
        assert told == paths

    spargio.run(main, shards=2)


@pytest.mark.parametrize("single", ["name", b"name", Path("name")])
@pytest.mark.parametrize("call", [fs.read_many, fs.write_many])
def test_a_single_path_is_refused(call: Any, single: Any) -> None:
    with pytest.raises(TypeError, match="allowed is an iterable"):
        call(single)


def test_a_file_that_comes_twice_has_the_later_data(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    (tmp_path / "hard").hardlink_to(path)
    (tmp_path / "soft").symlink_to("file")
    (tmp_path / "fresh-link").symlink_to("fresh")
    names = [path, tmp_path / "hard", tmp_path / "soft", f"{tmp_path}/./file"]

    async def main() -> None:
        for n in range(60):
            data = [bytes([65 + k]) * (5_000 if k % 2 == n % 2 else 3) for k in range(8)]
            files = [(names[(n + k) % 4], data[k]) for k in range(8)]
            assert [error async for _, error in fs.write_many(files)] == [None] * 8
            assert path.read_bytes() == data[-1]
            fresh = [(tmp_path / "fresh", data[0]), (tmp_path / "fresh-link", data[1])]
            assert [error async for _, error in fs.write_many(fresh)] == [None] * 2
            assert (tmp_path / "fresh").read_bytes() == data[1]
            (tmp_path / "fresh").unlink()

    spargio.run(main, shards=2)


@pytest.mark.parametrize("how", ["write", "atomic", "copy", "write_many"])
def test_writers_of_one_file_leave_what_one_of_them_wrote(tmp_path: Path, how: str) -> None:
    path = tmp_path / "file"
    given = [b"a" * 50_000, b"b" * 3, b"c" * 200_000, b""]
    for n, data in enumerate(given):
        (tmp_path / f"from{n}").write_bytes(data)

    async def one(n: int) -> None:
        if how == "copy":
            await fs.copy(tmp_path / f"from{n}", path)
        elif how == "write_many":
            assert [error async for _, error in fs.write_many([(path, given[n])])] == [None]
        else:
            await fs.write(path, given[n], atomic=how == "atomic")

    async def main(handle: spargio.RuntimeHandle) -> None:
        for _ in range(40):
            jobs = [handle.spawn_pinned(n % 2, one(n)) for n in range(4)]
            for job in jobs:
                await job
            assert path.read_bytes() in given
        assert not fs._write.writers._entries

    spargio.run(main, shards=2)


def test_a_cancelled_writer_lets_the_next_one_in(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main(handle: spargio.RuntimeHandle) -> None:
        path.write_bytes(b"")
        found = path.stat()
        identity = (found.st_dev, found.st_ino)
        writers = fs._write.writers
        entry = writers.begin(identity)
        assert entry is not None
        assert writers.begin(identity) is None
        waiting = [handle.spawn_pinned(0, fs.write(path, b"%d" % n)) for n in range(3)]
        await support.started(*waiting)
        waiting[1].cancel()
        writers.end(entry)
        for n, job in enumerate(waiting):
            with contextlib.suppress(spargio.TaskCancelled) if n == 1 else contextlib.nullcontext():
                await job
        assert path.read_bytes() in (b"0", b"2")
        assert not fs._write.writers._entries

    spargio.run(main, shards=1)


def test_writers_that_come_and_go_are_one_at_a_time() -> None:
    """Also those that begin in the moment in which one that waits is woken, and those cancelled."""
    writers, identity = fs._write.writers, (-1, 1)
    inside = most = ended = 0

    async def one(n: int) -> None:
        nonlocal inside, most, ended
        entry = writers.begin(identity) or await writers.wait(identity)
        try:
            inside += 1
            most = max(most, inside)
            await spargio.yield_now()
            inside -= 1
            ended += 1
        finally:
            writers.end(entry)

    async def main(handle: spargio.RuntimeHandle) -> None:
        cancelled = 0
        for turn in range(200):
            jobs = [handle.spawn_pinned(n % 2, one(n)) for n in range(8)]
            if turn % 2:
                jobs[turn % 8].cancel()
            for job in jobs:
                try:
                    await job
                except spargio.TaskCancelled:
                    cancelled += 1
        assert not writers._entries
        assert (inside, most, ended + cancelled) == (0, 1, 1600)

    spargio.run(main, shards=2)
