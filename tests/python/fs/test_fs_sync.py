"""spargio.fs.sync: files for callers that are not asynchronous, on a runtime in the background."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import programs
import pytest

import spargio
from spargio import fs
from spargio.fs import sync


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    """The check for leaks finds nothing of the background."""
    yield
    sync.shutdown()


def files(folder: Path, count: int) -> dict[str, bytes]:
    made = {}
    for n in range(count):
        path = folder / f"f{n}"
        made[str(path)] = b"%d" % n * (n + 1)
        path.write_bytes(made[str(path)])
    return made


def test_each_call_gives_what_the_asynchronous_one_does(tmp_path: Path) -> None:
    made = files(tmp_path, 300)
    assert list(sync.read_many(made)) == list(made.items())
    assert dict(sync.read_many(iter(made), ordered=False, concurrency=3)) == made
    ranges = [(path, 1, 3) for path in made]
    got = [data for _, data in sync.read_ranges(ranges)]
    assert got == [data[1:4] for data in made.values()]
    buffer = bytearray(3 * len(made))
    assert sum(count for _, count in sync.read_ranges(ranges, into=buffer)) == sum(map(len, got))  # type: ignore[misc,arg-type]
    assert {entry.path for entry in sync.read_tree(tmp_path)} == set(made)
    ((folder, inside, others),) = sync.walk(tmp_path)
    assert (folder, inside, {e.path for e in others}) == (str(tmp_path), [], set(made))
    assert sync.du(tmp_path).files == 300
    target = tmp_path.parent / f"{tmp_path.name}-copy"
    assert sync.copy_tree(tmp_path, target).files == 300
    assert {Path(p).name: d for p, d in sync.read_many(target.iterdir())} == {
        Path(p).name: d for p, d in made.items()
    }
    pairs = ((path, b"new") for path in made)
    assert list(sync.write_many(pairs)) == [(path, None) for path in made]
    assert {data for _, data in sync.read_many(made)} == {b"new"}


def test_errors_are_results_or_raised_as_there(tmp_path: Path) -> None:
    made = files(tmp_path, 3)
    gone = str(tmp_path / "gone")
    found = dict(sync.read_many([*made, gone]))
    assert isinstance(found[gone], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        sync.du(gone)
    with pytest.raises(FileNotFoundError):
        list(sync.walk(gone))
    with pytest.raises(TypeError, match="paths"):
        sync.read_many(gone)
    with pytest.raises(ValueError, match="concurrency must .*got 0"):
        list(sync.read_many(made, concurrency=0))


def test_the_source_is_iterated_by_the_calling_thread_and_not_far_ahead(tmp_path: Path) -> None:
    made = files(tmp_path, 5)
    taken: list[int] = []

    def source() -> Iterator[str]:
        for n, path in enumerate(itertools.cycle(made)):
            taken.append(threading.get_ident())
            yield path
            if n == 20_000:
                raise KeyError("the source's own")

    many = sync.read_many(source(), concurrency=4)
    for _ in range(10):
        next(many)
    assert set(taken) == {threading.get_ident()}
    assert len(taken) < 1000
    with pytest.raises(KeyError, match="the source's own"):
        for _ in many:
            pass
    assert len(taken) == 20_001


def test_a_source_may_be_a_stream_of_the_background_itself(tmp_path: Path) -> None:
    made = files(tmp_path, 50)
    entries = sync.read_tree(tmp_path)
    assert {entry.path: data for entry, data in sync.read_many(entries)} == made


def test_leaving_early_ends_what_runs(tmp_path: Path) -> None:
    made = files(tmp_path, 100)
    os.mkfifo(tmp_path / "fifo")
    for many in (sync.read_many(made), sync.read_many([tmp_path / "fifo"])):
        if "fifo" in repr(many):
            next(many)
        many.close()  # type: ignore[attr-defined]
    found = sync.read_many([*made, tmp_path / "fifo"])
    for _ in made:
        next(found)
    found.close()  # type: ignore[attr-defined]
    sync.shutdown()


def test_threads_share_the_background(tmp_path: Path) -> None:
    made = files(tmp_path, 50)
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(10):
            if dict(sync.read_many(made)) != made or sync.du(tmp_path).files != 50:
                wrong.append("different")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_has_a_background_of_its_own(tmp_path: Path) -> None:
    made = files(tmp_path, 20)
    assert dict(sync.read_many(made)) == made
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            good = dict(sync.read_many(made)) == made and sync.du(tmp_path).files == 20
            sync.shutdown()
            os.write(writer, b"right" if good else b"wrong")
        finally:
            os._exit(0)
    os.close(writer)
    try:
        assert os.read(reader, 100) == b"right"
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    assert dict(sync.read_many(made)) == made


def test_it_ends_at_the_interpreters_exit_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    done = programs.run_program(
        f"""
        from spargio.fs import sync
        found = sync.read_many([{str(tmp_path / "file")!r}] * 3)
        print(next(found)[1])
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("b'data'\n", "", 0)


def test_asyncio_awaits_what_was_submitted(tmp_path: Path) -> None:
    made = files(tmp_path, 3)

    async def main() -> None:
        path, data = next(iter(made.items()))
        futures = [asyncio.wrap_future(sync.submit(fs.read(path))) for _ in range(50)]
        assert await asyncio.gather(*futures) == [data] * 50
        with pytest.raises(FileNotFoundError):
            await asyncio.wrap_future(sync.submit(fs.read(tmp_path / "gone")))
        ended = threading.Event()

        async def long() -> None:
            try:
                await spargio.sleep(3600)
            finally:
                ended.set()

        started = asyncio.wrap_future(sync.submit(long()))
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(started)
        started.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert sync.du(tmp_path).files == 3  # Blocks the loop, and works.

    asyncio.run(main())


def test_in_a_task_it_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        for call in (
            lambda: sync.du(tmp_path),
            lambda: sync.read_many([]),
            lambda: sync.walk(tmp_path),
            lambda: sync.run(fs.read(tmp_path)),
        ):
            with pytest.raises(RuntimeError, match="must not be called in a spargio task"):
                call()
        assert (await spargio.spawn_blocking(sync.du, tmp_path)).files == 0

    spargio.run(main, shards=1)
