"""Every function of ``fs`` beside its twin of the standard library, over odd names: the same result,
or the same error."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import spargio
from spargio import fs

LONG = "n" * 300
SURROGATE = "name-\udcff"

NAMES: list[Any] = [
    "file",
    "./file",
    "directory/../file",
    "directory/inner",
    "directory",
    "directory/",
    "directory//inner",
    "directory/.",
    "directory/..",
    "full",
    ".",
    "..",
    "/",
    "//",
    "",
    "missing",
    "missing/",
    "missing/child",
    "file/",
    "file/child",
    "link",
    "link/",
    "link-to-directory",
    "link-to-directory/inner",
    "dangling",
    "dangling/child",
    "loop",
    "loop/child",
    "fifo",
    "socket",
    "null",
    "null/child",
    LONG,
    "directory/" + LONG,
    "x/" * 2_500,
    SURROGATE,
    b"file",
    b"directory/inner",
    b"raw-\xff",
    "nul\0byte",
    "lone-\ud800",
    Path("file"),
    Path("directory/inner"),
    7,
    None,
]


def run(main: Callable[[], Any]) -> Any:
    return spargio.run(main, shards=1)


def make(top: Path) -> None:
    """The same names for both. The present directory is `top`."""
    (top / "file").write_bytes(b"content")
    (top / "directory").mkdir()
    (top / "directory/inner").write_bytes(b"inner")
    (top / "full").mkdir()
    (top / "full/one").write_bytes(b"1")
    (top / "full/below").mkdir()
    os.symlink("file", top / "link")
    os.symlink("directory", top / "link-to-directory")
    os.symlink("nowhere", top / "dangling")
    os.symlink("loop", top / "loop")
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    if os.geteuid() == 0:
        os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a folder with all of them, and goes there."""
    back = os.getcwd()

    def made(name: str) -> Path:
        top = tmp_path / name
        top.mkdir()
        os.chdir(top)
        make(top)
        return top

    yield made
    os.chdir(back)


def tree(top: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            held: object = None
            if stat.S_ISLNK(info.st_mode):
                held = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                held = Path(path).read_bytes()
            found[os.path.relpath(path, top)] = (
                kind,
                stat.S_IMODE(info.st_mode),
                held,
                info.st_nlink,
            )
    return found


def errors_of(error: Exception) -> tuple[str, Any]:
    if isinstance(error, OSError):
        return "OSError", error.errno
    # UnicodeEncodeError is a ValueError.
    return "refused", ValueError if isinstance(error, ValueError) else TypeError


ERRORS = (OSError, ValueError, TypeError)


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", call()
    except ERRORS as error:
        return errors_of(error)


async def own_outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", await call()
    except ERRORS as error:
        return errors_of(error)


Calls = list[tuple[Any, Callable[[], Any], Callable[[], Any]]]


def differences(here: Callable[[str], Path], calls: Calls, *, changes: bool = True) -> list[Any]:
    """For each: what came of it, and how its folder looks then."""

    async def main() -> list[Any]:
        found = []
        top = here("own")
        for number, (_, own, _) in enumerate(calls):
            if changes:
                top = here(f"own {number}")
            found.append((await own_outcome(own), tree(top) if changes else None))
        return found

    wrong = []
    for number, ((label, _, twin), found) in enumerate(zip(calls, run(main), strict=True)):
        top = here(f"twin {number}") if changes else None
        wanted = (outcome(twin), None if top is None else tree(top))
        if found != wanted:
            wrong.append((label, found[0], wanted[0]))
    return wrong


def shown(info: Any) -> tuple[Any, ...]:
    if isinstance(info, os.stat_result):
        return info.st_mode, info.st_size if stat.S_ISREG(info.st_mode) else 0
    return info.mode, info.size if info.is_file() else 0


async def relative(found: Any) -> str:
    return os.path.relpath(await found)


async def names(found: Any) -> list[str]:
    return sorted(entry.name for entry in await found)


async def appended(name: Any) -> tuple[int, int]:
    async with await fs.File.open(name, "a") as file:
        cursor = file.cursor()
        before = cursor.tell()
        await cursor.write(b"more")
        return before, cursor.tell()


def plainly_appended(name: Any) -> tuple[int, int]:
    with open(plain(name), "ab", buffering=0) as file:
        before = file.tell()
        file.write(b"more")
        return before, file.tell()


def plain(name: Any) -> Any:
    """A path: the twins take descriptors and None as well."""
    return os.fspath(name)


def plain_read(name: Any) -> bytes:
    with open(plain(name), "rb", buffering=0) as file:
        return file.read()


def plain_write(name: Any) -> None:
    with open(plain(name), "wb", buffering=0) as file:
        file.write(b"new")


def plain_walk(name: Any) -> list[Any]:
    def raised(error: OSError) -> None:
        raise error

    found = os.walk(os.fsdecode(name), onerror=raised)
    return sorted((at, sorted(inside), sorted(others)) for at, inside, others in found)


async def walked(name: Any) -> list[Any]:
    return sorted(
        [
            (at, sorted(e.name for e in inside), sorted(e.name for e in others))
            async for at, inside, others in fs.walk(name)
        ]
    )


async def counted(name: Any) -> tuple[int, int]:
    found = await fs.du(name)
    assert found.errors == 0
    return found.directories, found.files + found.symlinks


def plain_count(name: Any) -> tuple[int, int]:
    if not stat.S_ISDIR(os.lstat(plain(name)).st_mode):
        return 0, 1
    directories = others = 0
    for at, inside, files in os.walk(os.fsdecode(name)):
        directories += 1
        others += len(files) + sum(os.path.islink(os.path.join(at, one)) for one in inside)
    return directories, others


ONE_NAME: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "create_dir": (fs.create_dir, lambda name: os.mkdir(plain(name))),
    "create_dir_all": (fs.create_dir_all, lambda name: os.makedirs(plain(name), exist_ok=True)),
    "remove_file": (fs.remove_file, lambda name: os.unlink(plain(name))),
    "remove_dir": (fs.remove_dir, lambda name: os.rmdir(plain(name))),
    "remove_dir_all": (fs.remove_dir_all, lambda name: shutil.rmtree(plain(name))),
    "metadata": (lambda name: looked(fs.metadata, name), lambda name: shown(os.stat(plain(name)))),
    "symlink_metadata": (
        lambda name: looked(fs.symlink_metadata, name),
        lambda name: shown(os.lstat(plain(name))),
    ),
    "metadata_lite": (
        lambda name: looked(fs.metadata_lite, name),
        lambda name: shown(os.stat(plain(name))),
    ),
    "read_link": (fs.read_link, lambda name: os.fsdecode(os.readlink(plain(name)))),
    "canonicalize": (
        lambda name: relative(fs.canonicalize(name)),
        lambda name: os.path.relpath(os.path.realpath(os.fsdecode(name), strict=True)),
    ),
    "set_permissions": (
        lambda name: fs.set_permissions(name, 0o700),
        lambda name: os.chmod(plain(name), 0o700),
    ),
    "read_dir": (
        lambda name: names(fs.read_dir(name)),
        lambda name: sorted(map(os.fsdecode, os.listdir(plain(name)))),
    ),
    "walk": (walked, plain_walk),
    "du": (counted, plain_count),
    "read": (fs.read, plain_read),
    "write": (lambda name: fs.write(name, b"new"), plain_write),
    "append": (appended, plainly_appended),
}

OPENS = ("read", "write", "append")
BY_DESCRIPTORS = ("remove_dir_all", "read_dir", "walk", "du", "create_dir_all")
"""A path that is too long for the kernel is none for them (and os.makedirs calls itself)."""
ODD_TO_SHUTIL = (
    "directory/.",
    "link-to-directory/",
    "link",
    "link/",
    "link-to-directory",
    "dangling",
    "loop",
    "socket",
    "fifo",
)
CHANGES_MANY = ("remove_dir_all", "set_permissions", "walk", "du")


def left_out(call: str, name: Any) -> bool:
    if call in OPENS and name == "fifo":
        return True  # Both wait for somebody at the other end.
    if isinstance(name, str) and len(name) > 4096 and call in BY_DESCRIPTORS:
        return True
    # shutil empties what cannot be removed, even behind a link, and has no number for a link.
    if call == "remove_dir_all" and name in ODD_TO_SHUTIL:
        return True
    outside = name in ("/", "//", "..", ".", "directory/..")
    return outside and (call in CHANGES_MANY or (call, name) == ("read_dir", ".."))


async def looked(look: Any, name: Any) -> tuple[Any, ...]:
    return shown(await look(name))


READS = (
    "metadata",
    "symlink_metadata",
    "metadata_lite",
    "read_link",
    "canonicalize",
    "read_dir",
    "read",
)


@pytest.mark.parametrize("call", ONE_NAME)
def test_of_one_name(here: Callable[[str], Path], call: str) -> None:
    own, twin = ONE_NAME[call]
    calls: Calls = [
        (repr(name)[:40], partial(own, name), partial(twin, name))
        for name in NAMES
        if not left_out(call, name)
    ]
    assert differences(here, calls, changes=call not in READS) == []


def test_exists(here: Callable[[str], Path]) -> None:
    """As pathlib before 3.14: an error that is no answer is raised."""
    calls: Calls = [
        (repr(name)[:40], partial(fs.exists, name), partial(path_exists, name))
        for name in NAMES
        if isinstance(name, (str, Path))
    ]
    assert differences(here, calls, changes=False) == []


def path_exists(name: Any) -> bool:
    if not os.fspath(name):
        return False  # For Path it is the present directory.
    try:
        os.stat(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False
    return True


TWO_NAMES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "rename": (fs.rename, lambda a, b: os.rename(plain(a), plain(b))),
    "hard_link": (
        fs.hard_link,
        lambda a, b: os.link(plain(a), plain(b), follow_symlinks=False),
    ),
    "symlink": (fs.symlink, lambda a, b: os.symlink(plain(a), plain(b))),
    "copy": (fs.copy, lambda a, b: plain_copy(plain(a), plain(b))),
}

FEW = [name for name in NAMES if name not in ("x/" * 2_500, "/", "//", "null/child")]


def plain_copy(source: Any, target: Any) -> int:
    with open(source, "rb", buffering=0) as one:
        data = one.read()
        if os.path.exists(target) and os.path.samefile(source, target):
            raise ValueError("the same file")
        with open(target, "wb", buffering=0) as other:
            os.fchmod(other.fileno(), stat.S_IMODE(os.fstat(one.fileno()).st_mode))
            other.write(data)
    return len(data)


@pytest.mark.parametrize("call", TWO_NAMES)
def test_of_two_names(here: Callable[[str], Path], call: str) -> None:
    own, twin = TWO_NAMES[call]
    pairs = [("file", name) for name in FEW] + [(name, "fresh") for name in FEW]
    pairs += [("directory", name) for name in FEW if isinstance(name, str)]
    calls: Calls = [
        ((a, b), partial(own, a, b), partial(twin, a, b))
        for a, b in pairs
        if not (call == "copy" and "fifo" in (a, b))
    ]
    assert differences(here, calls) == []


def test_rename_without_replacing(here: Callable[[str], Path]) -> None:
    here("x")
    with pytest.raises(FileExistsError) as caught:
        run(lambda: fs.rename("file", "directory/inner", replace=False))
    assert (caught.value.filename, caught.value.filename2) == ("file", "directory/inner")
    run(lambda: fs.rename("file", "fresh", replace=False))
    assert Path("fresh").read_bytes() == b"content"


SHUT = """
import errno, os, shutil, sys
import spargio
from spargio import fs
top = sys.argv[1]
os.setgroups([]), os.setgid(65534), os.setuid(65534)
os.chdir(top)

def errno_of(call):
    try:
        call()
    except OSError as error:
        return error.errno

pairs = {
    "read": (lambda: fs.read("shut/file"), lambda: open("shut/file", "rb")),
    "read of": (lambda: fs.read("secret"), lambda: open("secret", "rb")),
    "write": (lambda: fs.write("secret", b""), lambda: open("secret", "wb")),
    "atomic": (lambda: fs.write("shut/x", b"", atomic=True), lambda: open("shut/x", "wb")),
    "create_dir": (lambda: fs.create_dir("shut/x"), lambda: os.mkdir("shut/x")),
    "create_dir_all": (lambda: fs.create_dir_all("shut/x/y"), lambda: os.makedirs("shut/x/y")),
    "metadata": (lambda: fs.metadata("shut/file"), lambda: os.stat("shut/file")),
    "exists": (lambda: fs.exists("shut/file"), lambda: os.stat("shut/file")),
    "remove_file": (lambda: fs.remove_file("secret"), lambda: os.unlink("secret")),
    "remove_dir_all": (lambda: fs.remove_dir_all("shut"), lambda: shutil.rmtree("shut")),
    "rename": (lambda: fs.rename("secret", "x"), lambda: os.rename("secret", "x")),
    "hard_link": (lambda: fs.hard_link("shut/file", "x"), lambda: os.link("shut/file", "x")),
    "symlink": (lambda: fs.symlink("x", "shut/y"), lambda: os.symlink("x", "shut/y")),
    "read_dir": (lambda: fs.read_dir("shut"), lambda: os.listdir("shut")),
    "set_permissions": (lambda: fs.set_permissions("secret", 0o777), lambda: os.chmod("secret", 0o777)),
    "canonicalize": (lambda: fs.canonicalize("shut/file"), lambda: os.path.realpath("shut/file", strict=True)),
    "copy": (lambda: fs.copy("secret", "x"), lambda: shutil.copy("secret", "x")),
    "du": (lambda: fs.du("shut/below"), lambda: os.stat("shut/below")),
}

async def main():
    for name, (own, twin) in pairs.items():
        wanted, found = errno_of(twin), None
        try:
            await own()
        except OSError as error:
            found = error.errno
        assert found == wanted and found, (name, found, wanted)

spargio.run(main, shards=1)
print("right")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody else")
def test_without_permission() -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "secret").write_bytes(b"x")
        (top / "secret").chmod(0o600)
        (top / "shut").mkdir()
        (top / "shut/file").write_bytes(b"x")
        (top / "shut").chmod(0o700)
        done = subprocess.run(
            [sys.executable, "-c", SHUT, name], capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("right\n", "")
