"""spargio.fs: writes and copies of whole files; what is there when they fail, and who may read it."""

from __future__ import annotations

import array
import errno
import os
import stat
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import fs
from spargio.fs import _copy


def run(main: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    return spargio.run(main, shards=2)


# ---- write ----


@pytest.mark.parametrize("atomic", [False, True])
def test_data_that_cannot_be_written_leaves_the_file(tmp_path: Path, atomic: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"precious")

    async def main() -> None:
        for wrong in ("text", None, 5):
            kind = type(wrong).__name__
            with pytest.raises(TypeError, match=f"data must be bytes.*, got {kind}"):
                await fs.write(path, wrong, atomic=atomic)
        with pytest.raises(BufferError, match="contiguous"):
            await fs.write(path, memoryview(bytearray(8))[::2], atomic=atomic)
        with pytest.raises(TypeError, match="data must .*got str"):
            [pair async for pair in fs.write_many([(path, "text")])]
        numbers = array.array("H", [1, 2])
        await fs.write(tmp_path / "numbers", numbers, atomic=atomic)
        assert (tmp_path / "numbers").read_bytes() == numbers.tobytes()

    run(main)
    assert path.read_bytes() == b"precious"
    assert sorted(os.listdir(tmp_path)) == ["file", "numbers"]


def test_write_many_ends_with_what_cannot_be_written(tmp_path: Path) -> None:
    """What is before it is written and told; what is behind it is not touched."""
    old = [tmp_path / f"{n}" for n in range(6)]
    for path in old:
        path.write_bytes(b"old")

    async def main() -> None:
        files = [(path, "text" if n == 3 else b"new" * 1_000_000) for n, path in enumerate(old)]
        told = []
        with pytest.raises(TypeError, match="data must .*got str"):
            async for path, error in fs.write_many(files):
                told.append((path, error))
        assert told == [(path, None) for path in old[:3]]
        assert [path.stat().st_size for path in old] == [3_000_000] * 3 + [3] * 3

    run(main)


def test_an_atomic_write_replaces_the_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(b"old")

    async def main() -> None:
        await fs.write(path, b"new", atomic=True, permissions=0o600)
        assert path.read_bytes() == b"new"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(TypeError):
            await fs.write(path, 5, atomic=True)
        with pytest.raises(FileNotFoundError):
            await fs.write(tmp_path / "none" / "x", b"", atomic=True)
        assert path.read_bytes() == b"new"
        assert os.listdir(tmp_path) == ["config"]  # No temporary file is left.

    run(main)


@pytest.mark.parametrize("name", ["\u6587" * 82, "\u00e4" * 127, "x" * 255, "\U0001f600" * 63])
def test_an_atomic_write_of_a_long_name(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        await fs.write(tmp_path / name, b"data", atomic=True)
        assert os.listdir(tmp_path) == [name]

    run(main)


def test_an_atomic_write_is_cancelled_before_the_rename_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled at each of its operations in turn."""
    path = tmp_path / "file"
    at = 0
    job: spargio.JoinHandle[str]

    def counted(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **named: object) -> Any:
            nonlocal at
            at -= 1
            if at == 0:
                job.cancel()
            return plain(*arguments, **named)

        return call

    async def write() -> str:
        try:
            await fs.write(path, b"new", atomic=True)
        except spargio.CancelledError:
            return "cancelled"
        return "at the next await" if await support.cancelled_next() else "not cancelled"

    async def main(handle: spargio.RuntimeHandle) -> None:
        nonlocal at, job
        for owner, name in (
            (fs.File, "write_all_at"),
            (fs.File, "fsync"),
            (fs.File, "close"),
            (fs._atomic, "rename"),
        ):
            monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
        outcomes = []
        for number in range(1, 8):
            await fs.write(path, b"old")
            at = number
            job = handle.spawn_pinned(0, write())
            outcomes.append(await job)
            is_old = outcomes[-1] == "cancelled"
            assert path.read_bytes() == (b"old" if is_old else b"new"), number
            assert os.listdir(tmp_path) == ["file"]
        assert outcomes[0] == "cancelled"
        assert "at the next await" in outcomes
        assert outcomes[-1] == "not cancelled"

    run(main)


# ---- permissions ----


def test_copy(tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "from").write_bytes(data)
    (tmp_path / "from").chmod(0o640)

    async def main() -> None:
        assert await fs.copy(tmp_path / "from", tmp_path / "to") == len(data)
        assert (tmp_path / "to").read_bytes() == data
        assert stat.S_IMODE((tmp_path / "to").stat().st_mode) == 0o640
        with pytest.raises(ValueError, match="same file"):
            await fs.copy(tmp_path / "to", tmp_path / "to")
        assert (tmp_path / "to").read_bytes() == data
        with pytest.raises(IsADirectoryError):
            await fs.copy(tmp_path, tmp_path / "x")

    run(main)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o640, 0o444, 0o777, 0o4755, 0o2711])
@pytest.mark.parametrize("old", [None, 0o600, 0o666, 0o4755])
def test_a_copy_has_the_permissions_of_its_source(
    tmp_path: Path, umask: None, monkeypatch: pytest.MonkeyPatch, mode: int, old: int | None
) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.write_bytes(b"secret")
    source.chmod(mode)
    if old is not None:
        target.write_bytes(b"something longer before")
        target.chmod(old)
    plain, at_first = _copy._Data._slice, []

    def observed(self: _copy._Data, descriptor: int) -> None:
        at_first.append(permissions(target))
        plain(self, descriptor)

    async def main() -> None:
        monkeypatch.setattr(_copy._Data, "_slice", observed)
        assert await fs.copy(source, target) == 6
        assert await fs.copy(source, "/dev/null") == 6

    null = permissions(Path("/dev/null"))
    run(main)
    assert target.read_bytes() == b"secret"
    assert permissions(target) == mode
    assert at_first[0] == mode & 0o777
    assert permissions(Path("/dev/null")) == null  # No file: left as it is.


def test_copy_cuts_only_what_has_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ext4 writes a file that was cut to the disk when it is closed: twice the time of cp."""
    (tmp_path / "from").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"longer")
    cut: list[int] = []

    def truncate(descriptor: int, size: int, real: Any = os.ftruncate) -> None:
        cut.append(os.fstat(descriptor).st_size)
        real(descriptor, size)

    monkeypatch.setattr(os, "ftruncate", truncate)

    async def main() -> None:
        for name in ("missing", "old"):
            await fs.copy(tmp_path / "from", tmp_path / name)
            assert (tmp_path / name).read_bytes() == b"new"

    spargio.run(main)
    assert cut == [6]


def test_a_copy_that_may_not_change_the_permissions_leaves_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "from", tmp_path / "to"
    source.write_bytes(b"new")
    source.chmod(0o640)
    target.write_bytes(b"old")

    def forbidden(descriptor: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    async def main() -> None:
        monkeypatch.setattr(os, "fchmod", forbidden)
        with pytest.raises(PermissionError) as caught:
            await fs.copy(source, target)
        assert caught.value.filename == target

    run(main)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("old", [0o600, 0o666, 0o400])
def test_an_atomic_write_keeps_the_permissions(
    tmp_path: Path, umask: None, monkeypatch: pytest.MonkeyPatch, old: int
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(old)
    plain, seen = fs.File.write_all_at, []

    def observed(self: fs.File, offset: int, data: object) -> Any:
        seen.append(permissions(Path(os.fsdecode(self.path))))
        return plain(self, offset, data)

    async def main() -> None:
        monkeypatch.setattr(fs.File, "write_all_at", observed)
        await fs.write(path, b"new", atomic=True)
        assert (path.read_bytes(), permissions(path), seen) == (b"new", old, [old])
        # Behind a link as well: what was read by this name is not shown to more.
        os.symlink("secret", tmp_path / "link")
        await fs.write(tmp_path / "link", b"newer", atomic=True)
        assert permissions(tmp_path / "link") == old
        assert (path.read_bytes(), (tmp_path / "link").is_symlink()) == (b"newer", True)
        # What is asked for goes before, less the umask; so does the default of a new file.
        await fs.write(path, b"x", atomic=True, permissions=0o644)
        assert permissions(path) == 0o640
        await fs.write(tmp_path / "fresh", b"x", atomic=True)
        assert permissions(tmp_path / "fresh") == 0o640
        path.chmod(0o4755)
        await fs.write(path, b"x", atomic=True)
        assert permissions(path) == 0o755

    run(main)
