"""spargio.fs: how files are opened, and their errors."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import programs
import pytest

import spargio
from spargio import fs

FileTest = Callable[[], Coroutine[Any, Any, Any]]


def run(main: FileTest) -> Any:
    return spargio.run(main, shards=1)


def test_write_read_sync(tmp_path: Path, options: dict[str, Any]) -> None:
    data = os.urandom(100_000)

    async def work(path: Path) -> None:
        async with await fs.File.create(path) as file:
            assert await file.write_all_at(0, data) is None
            assert await file.fsync() is None
            assert await file.fsync(data_only=True) is None
        async with await fs.File.open(path) as file:
            assert await file.read_at(0, len(data)) == data
            assert await file.read_at(99_000, 10_000) == data[99_000:]
        assert path.read_bytes() == data

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [
            handle.spawn_pinned(shard, work(tmp_path / f"{shard}.bin"))
            for shard in range(handle.shard_count())
        ]
        for job in jobs:
            await job

    spargio.run(main, **options)


# ---- modes ----


@pytest.mark.parametrize("mode", ["r", "r+", "w", "w+", "a", "x", "x+"])
@pytest.mark.parametrize("exists", [True, False])
def test_modes_are_those_of_open(tmp_path: Path, mode: str, exists: bool) -> None:
    ours, builtin = tmp_path / "ours", tmp_path / "builtin"
    for path in (ours, builtin) if exists else ():
        path.write_bytes(b"before")
    try:
        with open(builtin, mode + "b", buffering=0) as file:
            can = (file.readable(), file.writable())
            if file.writable():
                file.write(b"XY")
    except OSError as error:
        wanted: Any = (type(error), error.errno)
    else:
        wanted = (*can, builtin.read_bytes())

    async def main() -> Any:
        try:
            file = await fs.File.open(ours, mode)
        except OSError as error:
            return type(error), error.errno
        async with file:
            try:
                await file.read_at(0, 1)
                readable = True
            except OSError as error:
                assert error.errno == errno.EBADF
                readable = False
            try:
                await file.write_all_at(0, b"XY")
                writable = True
            except OSError as error:
                assert error.errno == errno.EBADF
                writable = False
        return readable, writable, ours.read_bytes()

    assert run(main) == wanted


@pytest.mark.parametrize("mode", ["", "rw", "bb", "W", "rt", "rbb", "b"])
def test_a_wrong_mode_is_a_value_error(tmp_path: Path, mode: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"mode must be one of r, r"):
            await fs.File.open(tmp_path / "file", mode)

    run(main)


@pytest.mark.parametrize(
    "mode", ["rb", "r+b", "rb+", "wb", "w+b", "wb+", "ab", "a+", "a+b", "ab+", "xb", "x+b", "xb+"]
)
def test_a_mode_may_say_that_files_are_binary(tmp_path: Path, mode: str) -> None:
    """As the built-in open has them: same flags, same outcome."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    if "r" in mode or "a" in mode:
        for path in (ours, theirs):
            path.write_bytes(b"before")

    async def main() -> int:
        async with await fs.open(ours, mode) as file:  # type: ignore[arg-type]
            return fcntl.fcntl(file.fileno(), fcntl.F_GETFL)

    with open(theirs, mode) as file:
        assert run(main) == fcntl.fcntl(file.fileno(), fcntl.F_GETFL)
    assert ours.read_bytes() == theirs.read_bytes()


def test_permissions_of_a_new_file(tmp_path: Path) -> None:
    async def main() -> None:
        for permissions in (0o600, 0o640):
            path = tmp_path / oct(permissions)
            await (await fs.File.create(path, permissions=permissions)).close()
            assert path.stat().st_mode & 0o777 == permissions

    run(main)


@pytest.mark.parametrize("kind", [str, os.fsencode, Path], ids=["str", "bytes", "path"])
def test_paths(tmp_path: Path, kind: Callable[[str], Any]) -> None:
    path = kind(str(tmp_path / "n\u00e4me \u2603"))

    async def main() -> None:
        async with await fs.File.create(path) as file:
            assert file.path == path
            assert file.fileno() > 2
            assert not os.get_inheritable(file.fileno())
        assert os.path.exists(path)

    run(main)


# ---- errors ----


@pytest.mark.parametrize(
    ("name", "mode", "kind", "number"),
    [
        ("missing", "r", FileNotFoundError, errno.ENOENT),
        ("missing/below", "w", FileNotFoundError, errno.ENOENT),
        ("file/below", "r", NotADirectoryError, errno.ENOTDIR),
        ("folder", "w", IsADirectoryError, errno.EISDIR),
        ("file", "x", FileExistsError, errno.EEXIST),
        ("x" * 300, "r", OSError, errno.ENAMETOOLONG),
        ("loop", "r", OSError, errno.ELOOP),
        ("", "r", OSError, None),
    ],
)
def test_open_errors_have_errno_and_filename(
    tmp_path: Path, name: str, mode: str, kind: type[OSError], number: int | None
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = str(tmp_path / name) if name else ""

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await fs.File.open(path, mode)
        assert caught.value.filename == path
        assert caught.value.errno == (errno.ENOENT if number is None else number)
        assert caught.value.strerror == os.strerror(caught.value.errno)

    run(main)


def test_no_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may open everything")
    path = tmp_path / "secret"
    path.write_bytes(b"")
    path.chmod(0)

    async def main() -> None:
        with pytest.raises(PermissionError) as caught:
            await fs.File.open(path)
        assert caught.value.filename == path

    run(main)


def test_a_nul_byte_in_the_path_is_a_value_error() -> None:
    async def main() -> None:
        for path in ("a\0b", b"a\0b", "\0"):
            with pytest.raises(ValueError, match="NUL"):
                await fs.File.open(path)

    run(main)


@pytest.mark.parametrize("path", [5, None, 1.5, ["a"]])
def test_what_is_no_path_is_a_type_error(path: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await fs.File.open(path)

    run(main)


def test_a_folder_can_be_opened_but_not_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with await fs.File.open(tmp_path) as file:
            with pytest.raises(IsADirectoryError) as caught:
                await file.read_at(0, 10)
            assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, tmp_path)

    run(main)


def test_a_full_disk() -> None:
    async def main() -> None:
        async with await fs.File.create("/dev/full") as file:
            for write in (file.write_at, file.write_all_at):
                with pytest.raises(OSError) as caught:
                    await write(0, b"data")
                assert caught.value.errno == errno.ENOSPC
                assert caught.value.filename == "/dev/full"

    run(main)


def test_a_write_that_fails_half_way_says_how_far_it_came(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops it: first a short write, then EFBIG."""
    done = programs.run_program(
        f"""
        import errno, resource, signal
        import spargio
        from spargio import fs

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

        async def main():
            async with await fs.File.create({str(tmp_path / "limited")!r}) as file:
                try:
                    await file.write_all_at(0, bytes(30_000))
                except OSError as error:
                    print(error.errno == errno.EFBIG, error.strerror.partition(": ")[2])
                    print(error.filename == {str(tmp_path / "limited")!r})

        spargio.run(main, shards=1)
        """
    )
    assert done.stderr == ""
    assert done.stdout == "True failed after 10000 of 30000 bytes\nTrue\n"


def test_too_many_open_files() -> None:
    done = programs.run_program(
        """
        import errno, resource
        import spargio
        from spargio import fs

        async def main():
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            files = []
            try:
                while True:
                    files.append(await fs.File.open("/dev/null"))
            except OSError as error:
                print(error.errno == errno.EMFILE, error.filename)
            for file in files:
                await file.close()
            await (await fs.File.open("/dev/null")).close()

        spargio.run(main, shards=2)
        """
    )
    assert (done.stdout, done.stderr) == ("True /dev/null\n", "")
