"""What the asyncio loop itself costs: instructions of spargio's library for one operation of an
asyncio program, under callgrind. What the interpreter and libc do is not counted, so the figure is
nearly the same on every Python.

What an empty program takes is not counted. The baseline is bench/loop_instructions.json;
bench/instructions.py compares and updates."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import asyncio_calls
import asyncio_loops
import asyncio_more
import band
from harness import SPARGIO
from ping_pong import Echo, Ping

LIBRARY: Final = "libspargio_python.so"
BASELINE: Final = Path(__file__).resolve().parent.parent / "loop_instructions.json"
BAND: Final = 0.05
RUN_LIMIT_S: Final = 120


async def echo(count: int) -> None:
    """Both ends of a connection."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    ended: asyncio.Future[None] = loop.create_future()
    transport, _ = await loop.create_connection(
        lambda: Ping(count, ended), *server.sockets[0].getsockname()[:2]
    )
    await ended
    transport.close()
    server.close()
    await server.wait_closed()


async def udp(count: int) -> None:
    await asyncio_more.udp(Path(), count)


def _call(name: str) -> Callable[[int], Awaitable[Any]]:
    return asyncio_calls.PROGRAMS[name][0]


async def nothing(count: int) -> None:
    await asyncio.sleep(0)


EMPTY: Final = "nothing"
# The program, and how many operations.
ROWS: Final[dict[str, tuple[Callable[[int], Awaitable[Any]], int]]] = {
    "loop_call_soon": (_call("call_soon"), 10_000),
    "loop_timer": (_call("timer"), 10_000),
    "loop_sleep_0": (_call("sleep_0"), 10_000),
    "loop_echo": (echo, 1_000),
    "loop_udp": (udp, 1_000),
}


def is_measurable() -> bool:
    """Whether there is a spargio with a library that is built for users."""
    tried = subprocess.run([sys.executable, "-c", "import spargio.asyncio"], capture_output=True)
    return tried.returncode == 0


def of_library(file: Path) -> int:
    """Instructions of the library's functions themselves."""
    found, inside, after_call = 0, False, False
    for line in file.read_text(errors="replace").splitlines():
        if line.startswith("ob="):
            inside = line.endswith(LIBRARY)
        elif line.startswith("calls="):
            after_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if inside and not after_call:  # What the callee cost is in its own lines.
                found += int(line.split()[1])
            after_call = False
    return found


def _run(row: str, count: int, folder: Path) -> int:
    out = folder / f"{row}.{count}"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    valgrind = ["valgrind", "--tool=callgrind", "--compress-strings=no"]
    valgrind += ["--compress-pos=no", f"--callgrind-out-file={out}"]
    program = [sys.executable, __file__, "--row", row, "--count", str(count)]
    outcome = subprocess.run(
        [*valgrind, *program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
    )
    if outcome.returncode != 0:
        raise SystemExit(f"loop_instructions.py: {row}: {outcome.stderr.strip()[-2000:]}")
    return of_library(out)


def counts() -> dict[str, int]:
    """For a hundred operations of each row."""
    with tempfile.TemporaryDirectory(prefix="spargio-instructions-") as name:
        folder = Path(name)
        start = _run(EMPTY, 1, folder)
        return {
            row: (_run(row, count, folder) - start) * 100 // count
            for row, (_, count) in ROWS.items()
        }


def compared(found: dict[str, int]) -> list[band.Line]:
    return band.compare(json.loads(BASELINE.read_text()), found, BAND, "lower")


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs one program: for a profiler.")
    parser.add_argument("--row", required=True, choices=(*ROWS, EMPTY))
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    program = nothing if arguments.row == EMPTY else ROWS[arguments.row][0]
    asyncio_loops.run(SPARGIO, program(arguments.count))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
