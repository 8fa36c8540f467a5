"""What of spargio works in asyncio's tasks beside single operations, and what says that it does not."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import spargio
from spargio import fs
from spargio.asyncio import run


def test_time_limits_and_groups_name_those_of_asyncio() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"use asyncio\.timeout\(\) and asyncio\.TaskGroup"):
            async with spargio.TaskGroup():
                pass
        for limit in (spargio.timeout, spargio.move_on_after):
            with pytest.raises(RuntimeError, match="own tasks, and an asyncio task runs here"):
                with limit(1):
                    pass

    run(main())


def test_functions_of_many_operations(tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "below").mkdir(parents=True)
    for n in range(5):
        (source / "below" / str(n)).write_bytes(b"%d" % n * 1000)

    async def main() -> None:
        assert await fs.copy(source / "below" / "1", tmp_path / "copy") == 1000
        summary = await fs.copy_tree(source, tmp_path / "other")
        assert (summary.files, summary.directories) == (5, 2)
        names = sorted([entry.name async for entry in fs.read_tree(tmp_path / "other")])
        assert names == ["0", "1", "2", "3", "4", "below"]
        found = {Path(p).name: data async for p, data in fs.read_many((source / "below").iterdir())}
        assert found == {str(n): b"%d" % n * 1000 for n in range(5)}
        assert sorted([Path(p).name async for p in fs.glob(source / "**" / "*")]) == names
        assert (await fs.du(source)).files == 5
        await fs.remove_dir_all(tmp_path / "other")
        assert not await fs.exists(tmp_path / "other")

    run(main())


def test_the_calls_of_fs_sync_block_the_loop_as_any_call(tmp_path: Path) -> None:
    paths = [tmp_path / str(n) for n in range(300)]
    for n, path in enumerate(paths):
        path.write_bytes(b"%d" % n)

    async def main() -> None:
        whole = fs.sync.run(fs.read(paths[7]))
        assert whole == b"7"
        assert [data for _, data in fs.sync.read_many(paths)] == [b"%d" % n for n in range(300)]
        stream = fs.sync.read_many(paths, concurrency=4)
        assert next(stream) == (paths[0], b"0")
        stream.close()
        with pytest.raises(FileNotFoundError):
            fs.sync.run(fs.read(tmp_path / "none"))
        fsspec = pytest.importorskip("fsspec")
        from spargio.fsspec import SpargioFileSystem

        filesystem = SpargioFileSystem()
        assert isinstance(filesystem, fsspec.AbstractFileSystem)
        names = [str(path) for path in paths]
        assert filesystem.cat(names) == {name: b"%d" % n for n, name in enumerate(names)}
        assert filesystem.cat_ranges(names[10:12], 1, 2) == [b"0", b"1"]

    run(main())
    fs.sync.shutdown()


def test_in_a_task_of_spargio_fs_sync_refuses_as_before(tmp_path: Path) -> None:
    async def main(_: spargio.RuntimeHandle) -> None:
        with pytest.raises(RuntimeError, match="must not be called in a spargio task"):
            fs.sync.run(fs.read(tmp_path))

    spargio.run(main)


def test_a_thread_that_schedules_much_gives_way_and_keeps_the_order() -> None:
    """It lets the loop run in between (python/loop/calls.zig): each callback runs once, in order."""
    count = 30_000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        ran: list[int] = []

        def callback(n: int) -> None:
            ran.append(n)
            if len(ran) == 2 * count:
                ended.set_result(None)

        def produce(first: int) -> None:
            for n in range(first, first + count):
                loop.call_soon_threadsafe(callback, n)

        threads = [threading.Thread(target=produce, args=(first,)) for first in (0, count)]
        for thread in threads:
            thread.start()
        await ended
        for thread in threads:
            thread.join()
        for first in (0, count):
            assert [n for n in ran if first <= n < first + count] == list(
                range(first, first + count)
            )

    run(main())
