"""Under valgrind, which keeps its lock while a thread is in io_uring_enter: runtimes take epoll and say
so once, and io_uring where it is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spargio

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="no valgrind on this machine"),
]

LIMIT_S = 200
"""valgrind takes some fifty times as long, on a machine that may be busy."""

PROGRAM = """
import spargio

async def add(numbers):
    total = 0
    for number in numbers:
        total += number
        await (spargio.sleep(0.001) if number % 100 == 0 else spargio.yield_now())
    return total

async def main(handle):
    shards = handle.shard_count()
    jobs = [handle.spawn_pinned(n, add(range(n, 400, shards))) for n in range(shards)]
    print(sum([await job for job in jobs]), handle.backend(), shards)

spargio.run(main, SHARDS)
"""


def under_valgrind(source: str, tool: str, folder: Path, **environment: str) -> tuple[str, str]:
    known = {name: value for name, value in os.environ.items() if name != "SPARGIO_BACKEND"}
    command = ["valgrind", f"--tool={tool}", f"--log-file={folder}/log"]
    if tool != "none":
        command.append(f"--{tool}-out-file={folder}/out")
    command += [sys.executable, "-c", source]
    done = subprocess.run(
        command, env=known | environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    assert tool == "none" or (folder / "out").stat().st_size > 1000
    return done.stdout, done.stderr


@pytest.mark.timeout(LIMIT_S + 20)
def test_four_shards_end_with_the_right_result(tmp_path: Path) -> None:
    source = PROGRAM.replace("SHARDS", "shards=4")
    told, said = under_valgrind(source, "cachegrind", tmp_path)
    assert told == f"{sum(range(400))} epoll 4\n"
    line, *more = said.splitlines()
    assert line.startswith("valgrind keeps its lock while a thread is in io_uring_enter")
    assert "SPARGIO_BACKEND=epoll" in line and not more


@pytest.mark.timeout(LIMIT_S + 20)
def test_epoll_that_was_asked_for_says_nothing(tmp_path: Path) -> None:
    source = PROGRAM.replace("SHARDS", "shards=2, backend='epoll'")
    told, said = under_valgrind(source, "callgrind", tmp_path)
    assert (told, said) == (f"{sum(range(400))} epoll 2\n", "")


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("by", ["environment", "option"])
def test_io_uring_is_had_by_who_asks_for_it(by: str, tmp_path: Path) -> None:
    option = ", backend='io_uring'" if by == "option" else ""
    environment = {"SPARGIO_BACKEND": "io_uring"} if by == "environment" else {}
    source = PROGRAM.replace("SHARDS", f"shards=1{option}")
    if spargio.probe().setup_errno != 0:
        pytest.skip("no io_uring on this machine")
    told, said = under_valgrind(source, "none", tmp_path, **environment)
    assert (told, said) == (f"{sum(range(400))} io_uring 1\n", "")
