"""Methods of anyio.Path: what pathlib's return, raise and leave behind, and no thread makes them."""

from __future__ import annotations

import os
import pathlib
import threading
from typing import Any

import pytest

anyio = pytest.importorskip("anyio", reason="anyio is not installed")
pytest.importorskip("sniffio", reason="sniffio is not installed")

import spargio.anyio  # noqa: E402, F401


def furnish(top: pathlib.Path) -> None:
    (top / "folder" / "inner").mkdir(parents=True)
    (top / "file").write_bytes(b"text\r\n\xc3\xa4")
    (top / "link").symlink_to("file")
    (top / "links").symlink_to("folder")
    (top / "dangling").symlink_to("nowhere")
    (top / "loop").symlink_to("loop")
    os.mkfifo(top / "fifo")


NAMES = [
    "file",
    "folder",
    "link",
    "links",
    "dangling",
    "loop",
    "fifo",
    "none",
    "file/x",
    "a\0b",
    "n" * 300,
]
ASKS: list[tuple[str, tuple[Any, ...]]] = [
    *((name, ()) for name in ("exists", "is_dir", "is_file", "is_symlink", "is_socket", "is_fifo")),
    *((name, ()) for name in ("is_block_device", "is_char_device", "stat", "lstat")),
]
READS: list[tuple[str, tuple[Any, ...]]] = [
    ("read_bytes", ()),
    ("read_text", ("utf-8",)),
    ("read_text", ("ascii", "replace")),
]
CHANGES: list[tuple[str, str, tuple[Any, ...]]] = [
    ("new", "mkdir", ()),
    ("new", "mkdir", (0o700,)),
    ("new/a/b", "mkdir", ()),
    ("new/a/b", "mkdir", (0o750, True)),
    ("folder", "mkdir", ()),
    ("folder", "mkdir", (0o777, False, True)),
    ("links", "mkdir", (0o777, False, True)),
    ("file", "mkdir", (0o777, True, True)),
    ("file/below", "mkdir", (0o777, True)),
    ("folder", "rmdir", ()),
    ("folder/inner", "rmdir", ()),
    ("none", "rmdir", ()),
    ("file", "unlink", ()),
    ("folder", "unlink", ()),
    ("none", "unlink", ()),
    ("none", "unlink", (True,)),
    ("file", "rename", ("moved",)),
    ("file", "replace", ("link",)),
    ("none", "rename", ("moved",)),
    ("folder", "rename", ("file",)),
    ("sym", "symlink_to", ("file",)),
    ("file", "symlink_to", ("folder",)),
    ("hard", "hardlink_to", ("file",)),
    ("file", "hardlink_to", ("link",)),
    ("new", "write_bytes", (b"bytes",)),
    ("file", "write_bytes", (memoryview(b"bytes"),)),
    ("folder", "write_bytes", (b"bytes",)),
    ("new", "write_text", ("täxt\n", "utf-16")),
    ("link", "write_text", ("t\u00e4xt",)),
    ("new", "write_text", (b"no text",)),
]


async def outcome_of(top: pathlib.Path, call: Any) -> Any:
    try:
        result = call()
        if hasattr(result, "__await__"):
            result = await result
    except (OSError, ValueError, TypeError) as error:
        about = [str(error)]
        if isinstance(error, OSError):
            names = error.filename, error.filename2
            about = [error.errno, *(type(one) for one in names), *(str(one) for one in names)]
        return type(error), [str(one).replace(str(top), "TOP") for one in about]
    if isinstance(result, os.stat_result):
        return result.st_mode, result.st_size, result.st_nlink, result.st_blksize
    if hasattr(result, "__fspath__"):
        return str(result).replace(str(top), "TOP")
    return result


def left_in(top: pathlib.Path) -> dict[str, Any]:
    found = {}
    for path in sorted(top.rglob("*")):
        mode = path.lstat().st_mode
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(top))] = mode, content
    return found


def both(tmp_path: pathlib.Path, name: str, method: str, arguments: tuple[Any, ...]) -> None:
    tops = tmp_path / "ours", tmp_path / "theirs"
    for top in tops:
        furnish(top)
    threads = threading.active_count()

    async def main() -> None:
        found = []
        for top, kind in zip(tops, (anyio.Path, pathlib.Path), strict=True):
            given = arguments
            if method in ("rename", "replace", "hardlink_to"):
                given = (kind(top / str(arguments[0])),)
            work = getattr(kind(top / name), method)
            found.append(await outcome_of(top, lambda: work(*given)))  # noqa: B023
        assert found[0] == found[1]
        assert threading.active_count() == threads

    anyio.run(main, backend="spargio")
    assert left_in(tops[0]) == left_in(tops[1])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_there(tmp_path: pathlib.Path, name: str) -> None:
    for number, (method, arguments) in enumerate(ASKS):
        if "\0" in name and "stat" in method:
            continue  # A ValueError too, with the path in it.
        both(tmp_path / str(number), name, method, arguments)


@pytest.mark.parametrize(("method", "arguments"), READS)
@pytest.mark.parametrize("name", ["file", "link", "folder", "none", "dangling"])
def test_reading(
    tmp_path: pathlib.Path, name: str, method: str, arguments: tuple[Any, ...]
) -> None:
    both(tmp_path, name, method, arguments)


@pytest.mark.parametrize(("name", "method", "arguments"), CHANGES)
def test_changing(
    tmp_path: pathlib.Path, name: str, method: str, arguments: tuple[Any, ...]
) -> None:
    both(tmp_path, name, method, arguments)


def test_text_that_cannot_be_encoded_leaves_the_file_as_it_was(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("old")

    async def main() -> None:
        with pytest.raises(UnicodeEncodeError):
            await anyio.Path(tmp_path / "file").write_text("\u20ac", "ascii")

    anyio.run(main, backend="spargio")
    assert (tmp_path / "file").read_text() == "old"


def test_names_in_a_directory(tmp_path: pathlib.Path) -> None:
    for n in range(50):
        (tmp_path / f"f{n}").touch()

    async def main() -> None:
        found = [path async for path in anyio.Path(tmp_path).iterdir()]
        assert all(type(path) is anyio.Path for path in found)
        assert sorted(map(str, found)) == sorted(map(str, tmp_path.iterdir()))
        with pytest.raises(FileNotFoundError):
            async for _ in anyio.Path(tmp_path / "none").iterdir():
                pass

    anyio.run(main, backend="spargio")


def test_a_limiter_has_its_threads(tmp_path: pathlib.Path) -> None:
    """Who brings a limiter wants its calls to be counted."""

    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        await limiter.acquire_on_behalf_of("somebody")
        with anyio.move_on_after(0.01) as scope:
            await anyio.Path(tmp_path, limiter=limiter).exists()
        assert scope.cancelled_caught

    anyio.run(main, backend="spargio")
