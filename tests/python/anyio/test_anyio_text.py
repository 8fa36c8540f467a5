"""Text files under anyio's interface: what Python's own does, and no thread does it."""

from __future__ import annotations

import io
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest

anyio = pytest.importorskip("anyio", reason="anyio is not installed")
pytest.importorskip("sniffio", reason="sniffio is not installed")

from spargio.anyio._text import RingText  # noqa: E402

TEXTS = {
    "lines": "first\n\nlast without an end",
    "all ends": "a\r\nb\rc\n\r\n\rd\r",
    "long": "ä€😀x" * 60_000 + "\n" + "y" * 200_000 + "\r\n" + "z\n" * 30_000,
    "empty": "",
}


def run(main: Any, *arguments: Any) -> Any:
    threads = threading.active_count()

    async def checked() -> Any:
        result = await main(*arguments)
        assert threading.active_count() == threads
        return result

    return anyio.run(checked, backend="spargio")


def steps(dice: random.Random, writes: bool) -> list[tuple[str, tuple[Any, ...]]]:
    """Calls of a file, of which "place" stands for an answer that tell() gave."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    for _ in range(40):
        call = dice.choice(["read", "readline", "tell", "seek", "read", "readline"])
        if writes and dice.random() < 0.3:
            # Python does not say where a write goes that follows a read without a seek.
            found.append(("seek", (0, io.SEEK_END)))
            found.append(("write", (dice.choice(["new\n", "ü" * 5000, "x" * 20_000]),)))
            found.append(dice.choice([("flush", ()), ("writelines", (["one\n", "two"],))]))
            found.append(dice.choice([("truncate", ()), ("tell", ())]))
            call = "seek"
        if call == "read":
            found.append((call, (dice.choice([0, 1, 7, 100, 9000, 70_000]),)))
        else:
            found.append((call, ("place",) if call == "seek" else ()))
    found += [("readlines", ()), ("read", (-1,)), ("seek", (0, io.SEEK_END)), ("seek", (0,))]
    return [*found, ("read", (-1,))]


def outcome_of(call: Any) -> Any:
    try:
        return call()
    except (OSError, ValueError, io.UnsupportedOperation) as error:
        return type(error), str(error)


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_it_does_what_python_does(tmp_path: Path, name: str, newline: Any, mode: str) -> None:
    paths = tmp_path / "ours", tmp_path / "theirs"
    for path in paths:
        path.write_bytes(TEXTS[name].encode())
    dice = random.Random(f"{name}{newline!r}{mode}")
    calls = steps(dice, mode == "r+")

    async def main() -> None:
        places = [0]
        options: dict[str, Any] = {"encoding": "utf-8", "newline": newline}
        async with await anyio.open_file(paths[0], mode, **options) as ours:
            assert type(ours.wrapped) is RingText
            with open(paths[1], mode, **options) as theirs:
                assert (ours.encoding, ours.mode) == (theirs.encoding, theirs.mode)
                for call, arguments in calls:
                    if arguments == ("place",):
                        arguments = (dice.choice(places),)
                    want = outcome_of(lambda: getattr(theirs, call)(*arguments))  # noqa: B023
                    try:
                        got = await getattr(ours, call)(*arguments)
                    except (OSError, ValueError) as error:
                        got = type(error), str(error)
                    assert got == want, (call, arguments)
                    if call == "tell" and isinstance(want, int):
                        places.append(want)

    run(main)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_writing_and_appending(tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        async with await anyio.open_file(path, "w", encoding="utf-16", newline="\r\n") as file:
            assert await file.write("one\n") == 4
            await file.writelines(["two\n", "x" * 100_000])
        assert path.read_bytes() == ("one\r\ntwo\r\n" + "x" * 100_000).encode("utf-16")
        async with await anyio.open_file(path, "wt", encoding="latin-1") as file:
            await file.write("é")
        async with await anyio.open_file(path, "a", encoding="latin-1", buffering=1) as file:
            await file.write("nd\nheld back")
            assert path.read_bytes() == "énd\nheld back".encode("latin-1")  # Line by line.
        with pytest.raises(FileExistsError):
            await anyio.open_file(path, "x")
        with pytest.raises(LookupError):
            await anyio.open_file(path, encoding="nothing of the kind")
        with pytest.raises(IsADirectoryError):
            await anyio.open_file(tmp_path)
        file = await anyio.Path(path).open(encoding="latin-1")
        assert [line async for line in file] == ["énd\n", "held back"]
        await file.aclose()
        closed.append(file)

    async def then() -> None:
        with pytest.raises(ValueError, match="closed file"):
            await closed[0].read()

    closed: list[Any] = []
    run(main)
    anyio.run(then, backend="spargio")


def test_a_pipe_gives_what_there_is(tmp_path: Path) -> None:
    """Nothing is read ahead of it, which might never come."""
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        keep = os.open(path, os.O_RDWR)
        try:
            os.write(keep, b"a line\n")
            async with await anyio.open_file(path) as file:
                assert type(file.wrapped) is io.TextIOWrapper
                assert await file.readline() == "a line\n"
        finally:
            os.close(keep)

    anyio.run(main, backend="spargio")
