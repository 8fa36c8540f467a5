"""Trees that are deeper than a path may be long, and those that change while they are removed."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import programs
import pytest
import support

import spargio
from spargio import fs

DEPTH = 80
NAME = "d" * 100


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    make_deep(top)
    return top


def make_deep(top: Path) -> None:
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for n in range(DEPTH):
        os.mkdir(NAME, dir_fd=at)
        below = os.open(NAME, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
        with open(os.open(f"file{n}", os.O_CREAT | os.O_WRONLY, dir_fd=at), "wb") as file:
            file.write(b"12345")
    os.symlink("/", "link", dir_fd=at)
    os.close(at)


@pytest.mark.parametrize("follow_symlinks", [False, True])
def test_it_is_walked_and_counted(deep: Path, follow_symlinks: bool) -> None:
    async def main() -> None:
        seen = 0
        async for at, inside, others in fs.walk(deep, follow_symlinks=follow_symlinks):
            assert at.endswith(f"/{NAME}") or at == str(deep)
            seen += 1
            names = {entry.name for entry in others}
            assert names <= {"link", *(f"file{n}" for n in range(DEPTH))}
            inside[:] = [entry for entry in inside if entry.name == NAME]
            if not inside:
                (link,) = [e for e in await fs.read_dir(at) if e.name == "link"]
                assert link.is_symlink()
                assert link.path == f"{at}/link"
        assert seen == DEPTH + 1
        found = await fs.du(deep)
        assert (found.directories, found.files, found.symlinks) == (DEPTH + 1, DEPTH, 1)
        assert found.errors == 0

    spargio.run(main, shards=1)


def test_it_is_removed(deep: Path) -> None:
    path = "/".join([str(deep), *[NAME] * 70])

    async def main() -> None:
        await fs.remove_dir_all(path)  # From a place that is itself too far down.
        assert (await fs.du(deep)).directories == 70
        with pytest.raises(FileNotFoundError) as caught:
            await fs.remove_dir_all(path)
        assert caught.value.filename == path
        await fs.remove_dir_all(deep)

    spargio.run(main, shards=1)
    assert not deep.exists()


def test_the_descriptors_of_a_branch_are_few(tmp_path: Path) -> None:
    """Deeper than the limit of open files, which a process of its own has low."""
    done = programs.run_program(
        f"""
        import os, resource
        import spargio
        from spargio import fs
        os.chdir({str(tmp_path)!r})
        back = os.getcwd()
        for _ in range(600):
            os.mkdir("d"), os.chdir("d")
        open("file", "w").close()
        os.chdir(back)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        spargio.run(lambda: fs.remove_dir_all("d"), shards=1)
        print(os.listdir("."))
        """
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_two_that_remove_the_same_tree_both_end_well(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        for number in range(12):
            top = tmp_path / f"{number}"
            make_deep(top)
            for n in range(20):
                (top / f"{n}").mkdir()
                for k in range(5):
                    (top / f"{n}/{k}").write_bytes(b"")
            jobs = [handle.spawn_pinned(n % 2, fs.remove_dir_all(top)) for n in range(3)]
            for job in jobs:
                try:
                    await job
                except FileNotFoundError as error:  # It began after the end of the first.
                    assert error.filename == top
            assert not top.exists()

    spargio.run(main, shards=2)


def test_two_that_make_the_same_directories_both_end_well(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        for number in range(50):
            path = tmp_path / f"{number}/a/b/../b/c/d/./e"
            jobs = [handle.spawn_pinned(n % 2, fs.create_dir_all(path)) for n in range(4)]
            for job in jobs:
                await job
            assert path.is_dir()

    spargio.run(main, shards=2)


def test_a_cancelled_removal_stops_and_is_over(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    for n in range(300):
        (top / f"{n}").mkdir(parents=True)
        for k in range(20):
            (top / f"{n}/{k}").write_bytes(b"")

    async def main(handle: spargio.RuntimeHandle) -> None:
        job = handle.spawn_pinned(0, fs.remove_dir_all(top))
        await support.until(lambda: len(os.listdir(top)) < 299)
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        left = sum(len(files) for _, _, files in os.walk(top))
        await spargio.spawn_blocking(os.sync)  # Time in which it would go on.
        assert sum(len(files) for _, _, files in os.walk(top)) == left > 0

    spargio.run(main, shards=1)


def test_a_link_that_comes_in_between_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory is swapped for a link to another one after it was listed."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "precious").write_bytes(b"x")
    top = tmp_path / "tree"
    (top / "inner").mkdir(parents=True)
    plain = os.open

    def swapping(path: object, flags: int, *rest: object, **named: object) -> int:
        if path == "inner" and not (top / "inner").is_symlink():
            (top / "inner").rmdir()
            (top / "inner").symlink_to(kept)
        return plain(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", swapping)
    spargio.run(lambda: fs.remove_dir_all(top), shards=1)
    monkeypatch.undo()
    assert not top.exists()
    assert (kept / "precious").exists()
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(NotADirectoryError):
        spargio.run(lambda: fs.remove_dir_all(f"{tmp_path}/link/"), shards=1)
    assert (kept / "precious").exists()


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> object:
    """Other clean-ups may not manage such depths."""
    yield
    for one in tmp_path.iterdir():
        if stat.S_ISDIR(one.lstat().st_mode):
            shutil.rmtree(one)
