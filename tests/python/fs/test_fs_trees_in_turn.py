"""Walks of trees beside others: cancelled in the middle of a native call, and with other tasks on
their shard."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs
from spargio._blocking import files
from spargio.fs import _walk

FOLDERS, EACH = 20, 300


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    for n in range(FOLDERS):
        folder = top / f"d{n}"
        folder.mkdir(parents=True)
        for k in range(EACH):
            (folder / f"f{k}").touch()
    return top


class Gate:
    """Holds the calls of native walkers on their threads, before they begin."""

    def __init__(self) -> None:
        self.waiting = 0
        self.results: list[Any] = []
        self.go = threading.Event()

    @contextlib.contextmanager
    def put(self) -> Iterator[None]:
        plain = files.begin

        def begin(function: Callable[..., Any], *arguments: Any) -> Any:
            if type(getattr(function, "__self__", None)).__name__ != "Walker":
                return plain(function, *arguments)

            def held(*given: Any) -> Any:
                self.waiting += 1
                assert self.go.wait(support.LIMIT_S)
                self.results.append(function(*given))
                return self.results[-1]

            return plain(held, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "begin", begin)
            yield


async def entries(top: Path) -> int:
    return len([entry async for entry in fs.read_tree(top)])


async def copied(top: Path) -> Any:
    return await fs.copy_tree(top, top.parent / "copy")


@pytest.mark.parametrize("work", [fs.du, entries, copied, fs.remove_dir_all])
def test_a_cancellation_ends_the_native_call(tree: Path, work: Any) -> None:
    gate = Gate()

    async def call() -> Any:
        return await work(tree)

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, call())
        await support.until(lambda: gate.waiting == 1)
        job.cancel()
        for _ in range(10):
            await spargio.yield_now()  # It tells the walker. A removal waits for its end then.
        gate.go.set()
        with pytest.raises(spargio.TaskCancelled):
            await job
        await support.until(lambda: gate.results)

    with gate.put():
        spargio.run(main, shards=1)
    assert gate.results == [False if work is fs.remove_dir_all else None]
    assert sum(len(names) for _, _, names in os.walk(tree)) == FOLDERS * EACH
    assert list(tree.parent.rglob("copy/*/*")) == []


def test_a_walk_that_is_left_asks_for_nothing_more(tree: Path) -> None:
    async def main() -> None:
        stream = aiter(fs.read_tree(tree))
        first = await anext(stream)
        assert first.path.startswith(str(tree))
        await stream.aclose()  # type: ignore[attr-defined]
        # What it has already may be taken, and nothing behind that.
        rest = [entry async for entry in stream]
        assert len(rest) < FOLDERS * EACH // 2
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    spargio.run(main, shards=1)


@pytest.mark.parametrize("walk", ["entries", "blocks", "triples"])
def test_other_tasks_get_their_turn(tree: Path, walk: str) -> None:
    """Once for each thousand entries at the least, also where all was read ahead."""
    turns = 0
    over = False

    async def others() -> None:
        nonlocal turns
        while not over:
            await spargio.yield_now()
            turns += 1

    async def main(handle: spargio.RuntimeHandle) -> None:
        nonlocal over
        job = handle.spawn_pinned(0, others())
        before = turns
        if walk == "entries":
            async for _ in fs.read_tree(tree):
                pass
        elif walk == "blocks":
            async for block in fs.read_tree(tree).blocks():
                assert len(block) <= 1000
        else:
            async for _ in fs.walk(tree):
                pass
        assert turns - before >= FOLDERS * EACH // 1000
        over = True
        await job

    spargio.run(main, shards=1)


def test_entries_are_taken_by_one_task(tree: Path) -> None:
    """Two awaits for one entry that is left: one of them says what is wrong."""

    async def main() -> None:
        stream = aiter(fs.read_dir(tree))
        await anext(stream)
        waits = [anext(stream) for _ in range(FOLDERS)]
        for wait in waits[:-1]:
            await wait
        with pytest.raises(RuntimeError, match="the entry was taken by another await"):
            await waits[-1]

    spargio.run(main, shards=1)


def test_entries_that_are_taken_by_hand_are_kept(tree: Path) -> None:
    """A StopIteration that somebody has is not used for the next entry."""

    async def main() -> None:
        stream = aiter(fs.read_dir(tree))
        names = [(await anext(stream)).name]
        kept: list[StopIteration] = []
        frames: list[str] = []
        for _ in range(FOLDERS - 1):
            try:
                next(anext(stream).__await__())
            except StopIteration as stop:
                names.append(stop.value.name)
                if len(names) % 2:
                    kept.append(stop)
                traceback, depth = stop.__traceback__, 0
                while traceback is not None:
                    traceback, depth = traceback.tb_next, depth + 1
                frames.append(str(depth))
        assert sorted(names) == sorted(os.listdir(tree))
        assert [stop.value.name for stop in kept] == names[2::2]
        assert frames == ["1"] * len(frames)

    spargio.run(main, shards=1)


def test_a_large_directory_is_searched_for_links_in_turn(tree: Path) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await spargio.yield_now()
            turns += 1

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, others())
        (tree / "link").symlink_to("d0")
        found = await fs.read_dir(tree) + await fs.read_dir(tree / "d1") * 20
        links = [entry for entry in found if entry.is_symlink()]
        rest = [entry for entry in found if entry not in links]
        inside: list[fs.DirEntry] = []
        before = turns
        await _walk._move_what_leads_to_directories(found, inside)
        assert turns - before >= len(found) // 1000
        assert inside == links and found == rest
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job

    spargio.run(main, shards=1)


def test_names_of_any_length_and_encoding(tmp_path: Path) -> None:
    """Short names lie in the entry itself."""
    names = [
        *(b"a", b"x" * 30, b"y" * 31, b"z" * 200, b"\xff\xfe", b"\xff" * 40),
        *("ä".encode() * 15, "ü".encode() * 16),
    ]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()

    async def main() -> None:
        taken = [entry async for entry in fs.read_dir(tmp_path)]
        for entries in (taken, await fs.read_dir(tmp_path)):
            assert sorted(os.fsencode(entry.name) for entry in entries) == sorted(names)
            for entry in entries:
                assert entry.path == f"{tmp_path}/{entry.name}" == os.fspath(entry)
                assert repr(entry) == f"<DirEntry {entry.path!r}, file>"

    spargio.run(main, shards=1)
