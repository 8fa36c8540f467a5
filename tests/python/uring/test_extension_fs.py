"""extension.fs: the model of operations built on raw SQEs."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs
from spargio.extension import fs as extension
from spargio.uring import Completion


def test_statx_equals_the_metadata_of_fs(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234567")
    (tmp_path / "link").symlink_to("file")

    async def main(handle: spargio.RuntimeHandle) -> None:
        wanted = await fs.metadata(path)
        assert await extension.statx(path) == wanted
        assert await extension.statx(os.fsencode(path)) == wanted
        assert await extension.statx_or_metadata(path) == wanted
        for shard in range(handle.shard_count()):
            assert await extension.statx_on_shard(shard, path) == wanted
        link = await extension.statx(tmp_path / "link", flags=0x100)
        assert link.is_symlink()
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            assert await extension.statx("file", dir_fd=folder) == wanted
        finally:
            os.close(folder)
        only_size = await extension.statx(path, mask=0x200)
        assert only_size.size == 7
        with pytest.raises(ValueError, match="allowed is 0 to"):
            await extension.statx_on_shard(handle.shard_count(), path)

    spargio.run(main, **options)


def test_errors_name_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        for call in (extension.statx, extension.statx_or_metadata):
            with pytest.raises(FileNotFoundError) as raised:
                await call(tmp_path / "none")
            assert raised.value.filename == tmp_path / "none"
        with pytest.raises(ValueError, match="NUL"):
            await extension.statx("a\0b")

    spargio.run(main, shards=1)


def test_statx_or_metadata_where_the_kernel_has_no_statx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234567")
    answers: list[int] = []

    def unknown(self: Any, uring: Any, shard: int | None = None) -> Any:
        async def answer() -> Completion:  # Of a kernel that lacks the operation.
            answers.append(-errno.EINVAL)
            return Completion(-errno.EINVAL, 0)

        return answer()

    monkeypatch.setattr(extension._Statx, "submit", unknown)

    async def main() -> fs.Metadata:
        with pytest.raises(OSError):
            await extension.statx(path)
        return await extension.statx_or_metadata(path)

    found = spargio.run(main, shards=1)
    assert answers == [-errno.EINVAL] * 2
    there = path.stat()
    assert (found.size, found.inode, found.mode) == (7, there.st_ino, there.st_mode)
    assert found.modified_ns == there.st_mtime_ns
    assert found.created_ns is None


@pytest.mark.parametrize("depth", [1, 7, 32])
def test_read_dir_entries(options: dict[str, Any], tmp_path: Path, depth: int) -> None:
    for n in range(50):
        (tmp_path / f"{n}").write_bytes(b"x" * n)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")

    async def main() -> list[tuple[fs.DirEntry, fs.Metadata]]:
        return await extension.read_dir_entries(tmp_path, depth=depth)

    found = spargio.run(main, **options)
    assert [entry.name for entry, _ in found] == [entry.name for entry in os.scandir(tmp_path)]
    for entry, info in found:
        assert info.inode == entry.inode
        assert info.is_dir() == entry.is_dir()
        assert info.is_symlink() == entry.is_symlink()
        if entry.is_file():
            assert info.size == int(entry.name)


def test_read_dir_entries_leaves_out_what_went_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").touch()
    (tmp_path / "gone").touch()
    listed = extension.read_dir

    async def lists_then_removes(path: Any) -> list[fs.DirEntry]:
        entries = await listed(path)
        (tmp_path / "gone").unlink()
        return entries

    monkeypatch.setattr(extension, "read_dir", lists_then_removes)

    async def main() -> list[str]:
        return [entry.name for entry, _ in await extension.read_dir_entries(tmp_path)]

    assert spargio.run(main, shards=2) == ["here"]


def test_read_dir_entries_that_is_cancelled_leaves_nothing_under_way(tmp_path: Path) -> None:
    for n in range(200):
        (tmp_path / f"{n}").touch()

    async def main(handle: spargio.RuntimeHandle) -> None:
        native_any = handle.uring_native_unbound()
        job = handle.spawn_pinned(0, extension.read_dir_entries(tmp_path))
        await support.until(lambda: native_any.active_native_op_count() > 0 or job.done())
        job.cancel()
        with contextlib.suppress(spargio.TaskCancelled):
            await job
        await support.until(lambda: native_any.active_native_op_count() == 0)

    spargio.run(main, shards=2)


def test_a_depth_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="depth is 0: allowed is 1 or more"):
        spargio.run(lambda: extension.read_dir_entries(".", depth=0), shards=1)
