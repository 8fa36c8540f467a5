"""spargio.fs: what is done to paths and directories, beside what os does with the same."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import spargio
from spargio import fs

Main = Callable[[], Coroutine[Any, Any, Any]]


def run(main: Main) -> Any:
    return spargio.run(main, shards=2)


# ---- making and removing ----


def test_directories_are_made_and_removed(tmp_path: Path) -> None:
    async def main() -> None:
        await fs.create_dir(tmp_path / "one", mode=0o700)
        assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700
        with pytest.raises(FileExistsError) as info:
            await fs.create_dir(tmp_path / "one")
        assert info.value.filename == tmp_path / "one"
        await fs.create_dir_all(tmp_path / "a" / "b" / "c")
        await fs.create_dir_all(tmp_path / "a" / "b" / "c")
        await fs.create_dir_all(str(tmp_path / "a" / "x") + "/")
        assert (tmp_path / "a" / "x").is_dir()
        with pytest.raises(OSError, match="not empty"):
            await fs.remove_dir(tmp_path / "a")
        await fs.remove_dir(tmp_path / "one")
        assert sorted(os.listdir(tmp_path)) == ["a"]

    run(main)


def test_create_dir_all_does_not_take_a_file_for_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def main() -> None:
        with pytest.raises(FileExistsError):
            await fs.create_dir_all(tmp_path / "file")
        with pytest.raises(NotADirectoryError):
            await fs.create_dir_all(tmp_path / "file" / "below")
        with pytest.raises(FileNotFoundError):
            await fs.create_dir_all("")

    run(main)


def test_many_tasks_make_the_same_directories(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        path = tmp_path / "a" / "b" / "c" / "d"
        jobs = [handle.spawn_stealable(fs.create_dir_all(path)) for _ in range(50)]
        for job in jobs:
            await job
        assert path.is_dir()

    spargio.run(main, shards=4)


def test_remove_dir_all_does_not_follow_links(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").write_text("x")
    tree = tmp_path / "tree"
    for n in range(3):
        (tree / f"{n}" / "deep").mkdir(parents=True)
        (tree / f"{n}" / "file").write_text("x")
    (tree / "link").symlink_to(kept)

    async def main() -> None:
        await fs.remove_dir_all(tree)
        (tmp_path / "top").symlink_to(kept)
        with pytest.raises(NotADirectoryError):
            await fs.remove_dir_all(tmp_path / "top")

    run(main)
    assert not tree.exists()
    assert (kept / "precious").exists()


def test_remove_dir_all_of_a_tree_deeper_than_the_stack(tmp_path: Path) -> None:
    depth = sys.getrecursionlimit() + 200
    back = os.getcwd()
    try:
        os.chdir(tmp_path)
        for n in range(depth):
            os.mkdir("d")
            if n % 100 == 0:
                Path("file").write_text("x")
            os.chdir("d")
    finally:
        os.chdir(back)
    run(lambda: fs.remove_dir_all(tmp_path / "d"))
    assert os.listdir(tmp_path) == ["file"]


def test_rename_and_links(tmp_path: Path) -> None:
    async def main() -> None:
        await fs.write(tmp_path / "a", b"a")
        await fs.write(tmp_path / "b", b"b")
        with pytest.raises(FileExistsError):
            await fs.rename(tmp_path / "a", tmp_path / "b", replace=False)
        await fs.rename(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"a"
        with pytest.raises(FileNotFoundError) as info:
            await fs.rename(tmp_path / "a", tmp_path / "c")
        assert (info.value.filename, info.value.filename2) == (tmp_path / "a", tmp_path / "c")
        await fs.hard_link(tmp_path / "b", tmp_path / "hard")
        assert (tmp_path / "hard").stat().st_nlink == 2
        await fs.symlink("hard", tmp_path / "soft")
        assert await fs.read_link(tmp_path / "soft") == "hard"
        assert await fs.read(tmp_path / "soft") == b"a"
        assert await fs.canonicalize(tmp_path / "soft") == os.path.realpath(tmp_path / "hard")
        with pytest.raises(FileNotFoundError):
            await fs.canonicalize(tmp_path / "none")
        await fs.remove_file(tmp_path / "soft")
        with pytest.raises(FileNotFoundError):
            await fs.remove_file(tmp_path / "soft")
        with pytest.raises(IsADirectoryError):
            await fs.remove_file(tmp_path)

    run(main)


# ---- what is told ----


def test_metadata_is_what_stat_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5_000)
    os.link(path, tmp_path / "other")
    path.chmod(0o640)
    os.symlink("file", tmp_path / "link")

    async def main() -> None:
        for name, follow in ((path, True), (tmp_path / "link", False), (Path("/dev/null"), True)):
            look = fs.metadata if follow else fs.symlink_metadata
            found, wanted = await look(name), os.stat(name, follow_symlinks=follow)
            assert found.mode == wanted.st_mode
            assert found.size == wanted.st_size
            assert found.blocks == wanted.st_blocks
            assert found.links == wanted.st_nlink
            assert (found.uid, found.gid) == (wanted.st_uid, wanted.st_gid)
            assert (found.inode, found.device) == (wanted.st_ino, wanted.st_dev)
            assert found.modified_ns == wanted.st_mtime_ns
            assert found.accessed_ns == wanted.st_atime_ns
            assert found.changed_ns == wanted.st_ctime_ns
        assert (await fs.metadata(tmp_path / "link")).is_file()
        assert (await fs.symlink_metadata(tmp_path / "link")).is_symlink()
        lite = await fs.metadata_lite(path)
        assert (lite.size, lite.permissions(), lite.is_file()) == (5_000, 0o640, True)
        async with await fs.File.open(path) as file:
            assert await file.metadata() == await fs.metadata(path)

    run(main)


def test_exists_tells_no_from_not_allowed_to_know(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.symlink("nowhere", tmp_path / "dangling")

    async def main() -> None:
        assert await fs.exists(tmp_path / "file")
        assert not await fs.exists(tmp_path / "none")
        assert not await fs.exists(tmp_path / "file" / "below")
        assert not await fs.exists(tmp_path / "dangling")
        if os.geteuid() != 0:
            (tmp_path / "closed").mkdir(mode=0)
            with pytest.raises(PermissionError):
                await fs.exists(tmp_path / "closed" / "x")

    run(main)


def test_permissions(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def main() -> None:
        await fs.set_permissions(tmp_path / "file", 0o604)
        assert (await fs.metadata(tmp_path / "file")).permissions() == 0o604
        with pytest.raises(ValueError, match="0o10000"):
            await fs.set_permissions(tmp_path / "file", 0o10000)

    run(main)


@pytest.mark.parametrize(
    "call",
    [
        fs.metadata,
        fs.remove_file,
        fs.create_dir,
        fs.read,
        fs.canonicalize,
        fs.read_dir,
        fs.read_link,
    ],
)
def test_a_nul_byte_in_a_path_is_refused(call: Callable[[str], Any]) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="NUL"):
            await call("a\0b")

    run(main)


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe")

    async def main() -> None:
        await fs.write(name, b"data")
        assert await fs.read(name) == b"data"
        (entry,) = await fs.read_dir(tmp_path)
        assert os.fsencode(entry.path) == name
        assert await fs.read(entry.path) == b"data"

    run(main)


# ---- trees ----


def make_tree(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "c").mkdir()
    for name, size in (("a/1", 100), ("a/b/2", 5_000), ("c/3", 0)):
        (top / name).write_bytes(b"x" * size)
    os.link(top / "a/1", top / "c/1 again")
    os.symlink("../a", top / "c/link")
    with open(top / "sparse", "wb") as file:
        file.truncate(10_000_000)


def test_read_dir_is_what_scandir_finds(tmp_path: Path) -> None:
    make_tree(tmp_path)
    os.mkfifo(tmp_path / "fifo")

    async def main() -> None:
        for directory in (tmp_path, tmp_path / "c"):
            found = {
                (e.name, e.path, e.inode, e.is_file(), e.is_dir(), e.is_symlink())
                for e in await fs.read_dir(directory)
            }
            with os.scandir(directory) as entries:
                assert found == {
                    (
                        e.name,
                        e.path,
                        e.inode(),
                        e.is_file(follow_symlinks=False),
                        e.is_dir(follow_symlinks=False),
                        e.is_symlink(),
                    )
                    for e in entries
                }
        with pytest.raises(NotADirectoryError):
            await fs.read_dir(tmp_path / "sparse")

    run(main)


@pytest.mark.parametrize("follow", [False, True])
def test_walk_is_what_os_walk_finds(tmp_path: Path, follow: bool) -> None:
    make_tree(tmp_path)
    (tmp_path / "a" / "up").symlink_to(tmp_path)  # A loop: each directory is entered once.

    async def main() -> None:
        found = {
            directory: ({e.name for e in inside}, {e.name for e in others})
            async for directory, inside, others in fs.walk(tmp_path, follow_symlinks=follow)
        }
        if follow:
            assert len(found) == 4  # The tree itself, a, a/b and c.
            return
        # os.walk lists links to directories among the directories, but does not enter them.
        wanted = {
            directory: (
                {n for n in inside if not os.path.islink(os.path.join(directory, n))},
                {*others, *(n for n in inside if os.path.islink(os.path.join(directory, n)))},
            )
            for directory, inside, others in os.walk(tmp_path)
        }
        assert found == wanted

    run(main)


def test_walk_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    make_tree(tmp_path)

    async def main() -> None:
        seen = []
        async for directory, inside, _ in fs.walk(tmp_path):
            seen.append(os.path.basename(directory))
            inside[:] = [entry for entry in inside if entry.name != "a"]
        assert seen == [tmp_path.name, "c"]
        errors: list[OSError] = []
        assert [x async for x in fs.walk(tmp_path / "none", on_error=errors.append)] == []
        assert isinstance(errors[0], FileNotFoundError)
        with pytest.raises(FileNotFoundError):
            async for _ in fs.walk(tmp_path / "none"):
                pass

    run(main)


def test_du(tmp_path: Path) -> None:
    make_tree(tmp_path)
    blocks = {
        name: os.lstat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, names in os.walk(tmp_path)
        for name in names
    }

    async def main() -> None:
        found = await fs.du(tmp_path)
        assert (found.files, found.directories, found.symlinks, found.errors) == (4, 4, 1, 0)
        links = await fs.du(tmp_path, fs.DuOptions(count_links_once=False))
        assert links.files == 5
        assert links.apparent_bytes == found.apparent_bytes + 100
        # Sparse: much larger than what it takes.
        assert found.apparent_bytes > 10_000_000
        assert found.disk_bytes < 1_000_000
        one = await fs.du(tmp_path / "sparse")
        assert (one.files, one.apparent_bytes, one.disk_bytes) == (1, 10_000_000, blocks["sparse"])
        # The link leads to a, whose files then count once more by their other path: not at all.
        followed = await fs.du(tmp_path, fs.DuOptions(follow_symlinks=True))
        assert (followed.files, followed.directories, followed.symlinks) == (4, 4, 0)
        # A file whose only name is followed to from elsewhere is still one file.
        os.symlink("../sparse", tmp_path / "c" / "to sparse")
        followed = await fs.du(tmp_path, fs.DuOptions(follow_symlinks=True))
        assert (followed.files, followed.errors) == (4, 0)
        each = fs.DuOptions(follow_symlinks=True, count_links_once=False)
        assert (await fs.du(tmp_path, each)).files == 6
        with pytest.raises(FileNotFoundError):
            await fs.du(tmp_path / "none")

    run(main)


def test_du_stays_on_one_file_system() -> None:
    async def main() -> None:
        everywhere = await fs.du("/dev", fs.DuOptions(one_file_system=False))
        here = await fs.du("/dev", fs.DuOptions(one_file_system=True))
        assert 0 < here.directories <= everywhere.directories

    run(main)
