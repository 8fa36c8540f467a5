"""Trees: streamed, counted, copied, searched; and a file copied with its holes."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs


def run(main: Any) -> Any:
    return spargio.run(main, shards=2)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A bit of everything; one directory with more than a block of the kernel's, one branch that is
    deeper than what is kept open."""
    top = tmp_path / "tree"
    for n in range(5):
        for k in range(3):
            (top / f"d{n}" / f"e{k}").mkdir(parents=True)
            (top / f"d{n}" / f"e{k}" / "file").write_bytes(b"x" * n * k)
    for n in range(1000):
        (top / "d1" / f"many{n:060}").touch()
        if n % 20 == 0:
            (top / "d2" / f"sub{n}").mkdir()
    deep = top / "d3"
    for _ in range(40):
        deep /= "down"
        deep.mkdir()
        (deep / "a").touch()
        (deep / "z").mkdir()
    (top / ".hidden").mkdir()
    (top / ".hidden" / "seen").touch()
    (top / "link").symlink_to("d0")
    (top / "loop").symlink_to(".")
    (top / "gone").symlink_to("nowhere")
    os.mkfifo(top / "fifo")
    (top / os.fsdecode(b"\xff\xfe")).touch()
    os.link(top / "d1" / "e1" / "file", top / "second")
    return top


def everything(top: str) -> dict[str, os.stat_result]:
    found = {}
    for folder, inside, others in os.walk(top):
        for name in inside + others:
            path = os.path.join(folder, name)
            found[path] = os.lstat(path)
    return found


def test_read_tree_has_each_entry_once_with_its_type(tree: Path) -> None:
    want = everything(str(tree))

    async def main() -> None:
        got = [entry async for entry in fs.read_tree(tree, metadata=True)]
        assert {entry.path for entry in got} == set(want)
        assert len(got) == len(want)
        seen = {str(tree)}
        for entry in got:
            info = want[entry.path]
            assert entry.inode == info.st_ino
            assert entry.name == os.path.basename(entry.path)
            assert os.fspath(entry) == entry.path
            assert entry.is_dir() == stat.S_ISDIR(info.st_mode)
            assert entry.is_file() == stat.S_ISREG(info.st_mode)
            assert entry.is_symlink() == stat.S_ISLNK(info.st_mode)
            about = entry.metadata()
            assert about == await fs.symlink_metadata(entry.path)
            assert (about.size, about.device) == (info.st_size, info.st_dev)
            assert os.path.dirname(entry.path) in seen  # A directory before what is in it.
            if entry.is_dir():
                seen.add(entry.path)
        for spelling in (f"{tree}/", os.fsencode(tree)):
            assert len(await fs.read_tree(spelling)) == len(want)

    run(main)


def test_relative_paths_and_the_text_of_an_entry(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)

    async def main() -> None:
        assert "./d1" in {entry.path for entry in await fs.read_dir()}
        (entry,) = await fs.read_dir("d0/e1")
        assert (entry.path, entry.metadata()) == ("d0/e1/file", None)
        assert repr(entry) == "<DirEntry 'd0/e1/file', file>"
        assert {entry.path async for entry in fs.read_dir("/")} == {
            f"/{n}" for n in os.listdir("/")
        }

    run(main)


def test_links_are_followed_once(tree: Path) -> None:
    async def main() -> None:
        got = [entry.path async for entry in fs.read_tree(tree, follow_symlinks=True)]
        assert len(got) == len(set(got)) == len(everything(str(tree)))
        # What the link leads to is there by one of the two names.
        assert sum(os.path.basename(path) == "e1" for path in got) == 5

    run(main)


def test_what_cannot_be_entered_is_told(tree: Path) -> None:
    gone = tree / "d4"
    told: list[OSError] = []

    async def main() -> None:
        seen = 0
        async for _ in fs.read_tree(tree, on_error=told.append):
            seen += 1
            if gone.exists():
                shutil.rmtree(gone)
        assert seen >= len(everything(str(tree)))
        with pytest.raises(FileNotFoundError) as caught:
            await fs.read_tree(gone)
        assert caught.value.filename == str(gone)
        with pytest.raises(NotADirectoryError):
            await fs.read_dir(tree / "second")

    run(main)
    assert all(isinstance(error, FileNotFoundError) for error in told)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter everything")
def test_a_forbidden_directory_is_told(tree: Path) -> None:
    (tree / "d4").chmod(0)
    told: list[OSError] = []

    async def main() -> None:
        await fs.read_tree(tree, on_error=told.append)
        with pytest.raises(PermissionError):
            await fs.read_tree(tree)

    try:
        run(main)
    finally:
        (tree / "d4").chmod(0o700)
    assert [(type(error), error.filename) for error in told] == [
        (PermissionError, str(tree / "d4"))
    ]


def test_leaving_a_walk_closes_what_it_opened(tree: Path) -> None:
    """The check for leaks after the test looks at descriptors."""

    async def main() -> None:
        async for _ in fs.read_tree(tree):
            break
        async for _ in fs.walk(tree):
            break

    run(main)


def test_walk_is_as_os_walk(tree: Path) -> None:
    async def main() -> None:
        got = {}
        async for folder, inside, others in fs.walk(tree):
            got[folder] = ({e.name for e in inside}, {e.name for e in others})
        want = {}
        for folder, names, files in os.walk(tree):
            links = {n for n in names if os.path.islink(os.path.join(folder, n))}
            want[folder] = (set(names) - links, set(files) | links)
        assert got == want

    run(main)


def test_du_counts_as_a_loop_of_lstat(tree: Path) -> None:
    want = everything(str(tree))
    want[str(tree)] = os.lstat(tree)
    once = {(info.st_dev, info.st_ino): info for info in want.values()}

    async def main() -> None:
        found = await fs.du(tree)
        assert found.directories == sum(stat.S_ISDIR(info.st_mode) for info in want.values())
        assert found.symlinks == 3
        assert found.files == len(once) - found.directories - 3
        assert found.apparent_bytes == sum(info.st_size for info in once.values())
        assert found.disk_bytes == sum(info.st_blocks * 512 for info in once.values())
        assert found.errors == 0
        twice = await fs.du(tree, fs.DuOptions(count_links_once=False))
        assert twice.files == found.files + 1
        one = await fs.du(tree / "gone")
        assert (one.symlinks, one.files) == (1, 0)
        there = await fs.du(tree, fs.DuOptions(one_file_system=True))
        assert there == found

    run(main)


# ---- copy_tree ----


def shape(top: Path) -> dict[str, Any]:
    found = {}
    for path, info in everything(str(top)).items():
        name = path[len(str(top)) :]
        if stat.S_ISLNK(info.st_mode):
            found[name] = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            found[name] = (stat.S_IMODE(info.st_mode), Path(path).read_bytes())
        else:
            found[name] = info.st_mode
    return found


def test_a_tree_is_copied(tree: Path, tmp_path: Path) -> None:
    os.unlink(tree / "fifo")
    (tree / "d0").chmod(0o750)
    (tree / "d0" / "e0").chmod(0o500)
    (tree / "second").chmod(0o640)
    target = tmp_path / "copy"

    async def main() -> None:
        found = await fs.copy_tree(tree, target)
        assert shape(target) == shape(tree)
        counted = await fs.du(tree, fs.DuOptions(count_links_once=False))
        assert (found.files, found.directories, found.symlinks, found.errors) == (
            counted.files,
            counted.directories,
            counted.symlinks,
            0,
        )
        with pytest.raises(FileExistsError):
            await fs.copy_tree(tree, target)
        (target / "second").write_bytes(b"changed")
        (target / "more").touch()
        (target / "gone").unlink()
        (target / "link").unlink()
        (target / "loop").unlink()
        await fs.copy_tree(tree, target, exist_ok=True, concurrency=1)
        assert shape(target) == {**shape(tree), "/more": shape(target)["/more"]}
        for inside in (tree / "d0" / "new", tree):
            with pytest.raises(ValueError, match="inside of source"):
                await fs.copy_tree(tree, inside, exist_ok=True)

    run(main)


def test_one_bad_entry_does_not_keep_the_others_back(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tree / "socket"))
    told: list[OSError] = []

    async def main() -> None:
        with pytest.raises(OSError, match="copies files, directories"):
            await fs.copy_tree(tree, tmp_path / "first")
        found = await fs.copy_tree(tree, target, on_error=told.append)
        assert found.errors == 2
        assert {error.filename for error in told} == {str(tree / "fifo"), str(tree / "socket")}
        left_out = ("/fifo", "/socket")
        want = {name: value for name, value in shape(tree).items() if name not in left_out}
        assert shape(target) == want

    run(main)


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    with source.open("wb") as file:
        for place in (0, 5 << 20, 30 << 20):
            file.seek(place)
            file.write(b"data" * 1000)
        file.truncate(64 << 20)

    async def main() -> None:
        for path in (
            target,
            "/dev/shm/" + str(os.getpid()) if os.path.isdir("/dev/shm") else target,
        ):
            assert await fs.copy(source, path) == 64 << 20
            try:
                assert Path(path).read_bytes() == source.read_bytes()
                holes = os.stat(source).st_blocks * 512 < 32 << 20
                assert not holes or os.stat(path).st_blocks * 512 < 32 << 20
            finally:
                os.unlink(path)

    run(main)


def test_what_tells_no_size_is_copied_whole(tmp_path: Path) -> None:
    async def main() -> None:
        for source in ("/proc/self/status", "/sys/kernel/mm/transparent_hugepage/enabled"):
            if not os.path.exists(source):
                continue
            count = await fs.copy(source, tmp_path / "copy")
            data = (tmp_path / "copy").read_bytes()
            assert count == len(data) > 0
            assert data[:10] == Path(source).read_bytes()[:10]

    run(main)


def test_a_file_that_shrinks_meanwhile_ends_the_copy(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(bytes(1000))

    async def main() -> None:
        from spargio.fs import _copy

        async with await fs.open(source) as reader, await fs.open(tmp_path / "b", "w") as writer:
            assert await _copy._copy(reader, writer, 0o600, 4096, 5000) == 1000

    run(main)


# ---- glob ----


PATTERNS = [
    *("*", "d*/e?/file", "d[0-2]/e1", "**", "**/", "**/file", "**/e*/**", "d3/**/a", ".h*/*", "*/"),
    *("d1/many*9", "nowhere/*", "second", "second/", "", "**/gone", "gone"),
]


@pytest.mark.parametrize("hidden", [False, True])
def test_glob_is_as_the_standard_librarys(tree: Path, hidden: bool) -> None:
    if hidden and sys.version_info < (3, 11):
        pytest.skip("glob has include_hidden since Python 3.11")
    (tree / "loop").unlink()  # "**" of the standard library follows it.
    (tree / "link").unlink()
    options: Any = {"include_hidden": True} if hidden else {}

    async def main() -> None:
        for pattern in PATTERNS:
            want = glob.glob(pattern, root_dir=tree, recursive=True, **options)
            got = [path async for path in fs.glob(pattern, root=tree, include_hidden=hidden)]
            assert sorted(got) == sorted(set(want)), pattern
            whole = os.path.join(glob.escape(str(tree)), pattern)
            want = glob.glob(whole, recursive=True, **options)
            got = [path async for path in fs.glob(whole, include_hidden=hidden)]
            assert sorted(got) == sorted(set(want)), pattern

    run(main)


# ---- nothing waits ----


@pytest.mark.alone
def test_a_large_directory_keeps_no_task_waiting(tmp_path: Path) -> None:
    """The shard runs other tasks between the blocks: the longest pause is far below what the list of
    all entries would take."""
    for n in range(30_000):
        os.mknod(tmp_path / f"{n:08}")
    stop = threading.Event()

    async def main(handle: spargio.RuntimeHandle) -> int:
        turns = 0

        async def tick() -> int:
            nonlocal turns
            while not stop.is_set():
                turns += 1
                await spargio.yield_now()
            return turns

        ticking = handle.spawn_pinned(0, tick())
        await support.started(ticking)
        blocks = 0
        async for block in fs.read_dir(tmp_path).blocks():
            before = turns
            assert len(block) <= 1000
            await spargio.yield_now()
            assert turns > before
            blocks += 1
        stop.set()
        await ticking
        return blocks

    assert spargio.run(main, shards=1) >= 30
