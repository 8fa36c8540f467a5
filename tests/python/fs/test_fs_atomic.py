"""What an atomic write replaces, what it keeps, and what its errors say."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

import spargio
from spargio import fs


def write(path: Any, data: bytes = b"new", **options: Any) -> None:
    spargio.run(lambda: fs.write(path, data, atomic=True, **options), shards=1)


def make(kind: str, path: Path) -> None:
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.fspath(path))
    elif kind == "directory":
        path.mkdir()
    elif os.geteuid() == 0:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        pytest.skip("root may make devices")


@pytest.mark.parametrize("behind_a_link", [False, True])
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "directory"])
def test_nothing_but_a_file_is_replaced(tmp_path: Path, kind: str, behind_a_link: bool) -> None:
    path = tmp_path / "it"
    make(kind, path)
    before = path.lstat()
    if behind_a_link:
        path = tmp_path / "link"
        path.symlink_to("it")
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(OSError) as caught:
        write(path)
    assert caught.value.errno == (errno.EISDIR if kind == "directory" else errno.EINVAL)
    assert caught.value.filename == str(path)
    assert kind == "directory" or kind in str(caught.value)
    after = (tmp_path / "it").lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(tmp_path)) == names


def test_links_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_bytes(b"old")
    (tmp_path / "two").symlink_to("below/one")
    (tmp_path / "below/one").symlink_to("file")
    (tmp_path / "dangling").symlink_to("below/fresh")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    write("two")
    assert (tmp_path / "below/file").read_bytes() == b"new"
    write("dangling", b"fresh")
    assert (tmp_path / "below/fresh").read_bytes() == b"fresh"
    assert (tmp_path / "two").is_symlink() and (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "below/one").is_symlink()
    with pytest.raises(OSError) as caught:
        write("loop")
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, "loop")
    assert sorted(os.listdir(tmp_path / "below")) == ["file", "fresh", "one"]


@pytest.mark.parametrize("name", ["fresh", "./fresh", "below/../fresh", b"fresh", "below/x"])
def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    write(name)
    with open(name, "rb") as file:
        assert file.read() == b"new"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("none/x", errno.ENOENT),
        ("", errno.ENOENT),
        ("x/", errno.EISDIR),
        ("n" * 300, errno.ENAMETOOLONG),
    ],
)
def test_errors_name_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError) as caught:
        write(name)
    assert (caught.value.errno, caught.value.filename) == (number, name)
    assert caught.value.filename2 is None
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_of_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    async def full(self: fs.File, offset: int, data: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)

    monkeypatch.setattr(fs.File, "write_all_at", full)
    with pytest.raises(OSError) as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, path)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["file"])


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.EOPNOTSUPP])
def test_after_the_rename_the_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """An error of the directory's fsync says so; one that means there is no such thing is none."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    plain = fs.File.fsync

    def failing(self: fs.File) -> Awaitable[None]:
        if not os.path.isdir(self.path):
            return plain(self)
        raise OSError(number, os.strerror(number), self.path)

    monkeypatch.setattr(fs.File, "fsync", failing)
    if number == errno.EIO:
        with pytest.raises(OSError, match="the new file is in place") as caught:
            write(path)
        assert (caught.value.errno, caught.value.filename) == (number, path)
    else:
        write(path)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"new", ["file"])


def test_owner_and_attributes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12_345, 12_346)
    try:
        os.setxattr(path, "user.note", b"kept")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error}")
    before = path.stat()
    write(path)
    for permissions in (None, 0o600):
        write(path, b"newer", permissions=permissions)
        after = path.stat()
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
        assert os.getxattr(path, "user.note") == b"kept"
        assert stat.S_IMODE(after.st_mode) == (permissions or 0o640)
    assert path.read_bytes() == b"newer"


AS_NOBODY = """
import os, stat, sys
import spargio
from spargio import fs
os.setgroups([]), os.setgid(65534), os.setuid(65534)
os.chdir(sys.argv[1])
spargio.run(lambda: fs.write("box/new", b"data", atomic=True), shards=1)
print(os.path.exists("box/new"))
spargio.run(lambda: fs.write("shared/of-root", b"data", atomic=True), shards=1)
info = os.stat("shared/of-root")
print(info.st_uid, info.st_gid, oct(stat.S_IMODE(info.st_mode)))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_where_less_is_allowed() -> None:
    """A folder that may be written and not read; an owner that cannot be given: what its group could
    do goes to nobody else."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "box").mkdir()
        (top / "box").chmod(0o1333)
        (top / "shared").mkdir()
        (top / "shared").chmod(0o777)
        (top / "shared/of-root").write_bytes(b"old")
        (top / "shared/of-root").chmod(0o664)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, name], capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("True\n65534 65534 0o644\n", "")


@pytest.mark.parametrize("base", [1, 5, 13, 14, 40])
def test_a_path_as_long_as_the_kernel_takes_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: int
) -> None:
    """The temporary file stands beside the target: its path has the same limit."""
    monkeypatch.chdir(tmp_path)
    room = 4095 - base - 1
    folder = "/".join(["d" * 199] * (room // 200) + ["d" * (room % 200)]).rstrip("/")
    if len(folder) < room:  # A slash at the end is part of the path.
        folder += "/" * (room - len(folder))
    for top in range(200, len(folder) + 200, 200):
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder[:top])
    path = folder + "/" + "f" * base
    assert len(path) == 4095
    write(path, b"old")
    write(path)
    with open(path, "rb") as file:
        assert file.read() == b"new"
    assert os.listdir(folder) == ["f" * base]
