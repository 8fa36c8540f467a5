"""What a C task has since 0.4: its own handle to be woken by, an owned context, limits and callbacks of its
operations; and that programs of 0.3 go on as they did."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from abi_support import PROGRAMS, STRICT, Run, compiler

PROGRAM_NAMES = [
    "wake",
    "owned",
    "any_op",
    "calls",
    "servers",
    "shared",
    "children",
    "batches",
    "room",
]
BACKENDS = ["io_uring", "epoll"]
SANITIZE = ("-fsanitize=address,undefined", "-fno-omit-frame-pointer")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_behaviour(
    run_program: Run, program: str, shards: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARGIO_BACKEND", backend)
    run_program(PROGRAMS / f"{program}.c", shards)


@pytest.mark.parametrize(
    "backend", [BACKENDS[0], pytest.param(BACKENDS[1], marks=pytest.mark.long)]
)
def test_lookups_of_a_silent_name_server(
    prefix: Path, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program makes namespaces of its own, with a name server that never answers."""
    monkeypatch.setenv("SPARGIO_BACKEND", backend)
    made = tmp_path / "names"
    build = [compiler("c"), "-std=c11", "-D_GNU_SOURCE", *STRICT, "-O1", "-g", "-pthread"]
    build += [*SANITIZE, f"-I{prefix}/include", str(PROGRAMS / "names.c")]
    build += [f"{prefix}/lib/libspargio.a", "-o", str(made)]
    subprocess.run(build, check=True)
    done = subprocess.run([made, "2"], cwd=tmp_path, timeout=60, capture_output=True, check=False)
    if done.returncode == 77:
        pytest.skip("no user namespaces with a network here")
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("program", PROGRAM_NAMES)
def test_under_address_sanitizer(program: str, prefix: Path, tmp_path: Path) -> None:
    source, made = PROGRAMS / f"{program}.c", tmp_path / program
    build = [
        compiler("c"),
        "-std=c11",
        "-D_GNU_SOURCE",
        *STRICT,
        "-O1",
        "-g",
        "-pthread",
        *SANITIZE,
    ]
    build += [f"-I{prefix}/include", str(source), f"{prefix}/lib/libspargio.a", "-o", str(made)]
    subprocess.run(build, check=True)
    subprocess.run([made, "2"], check=True, timeout=120)


def test_a_program_that_was_linked_with_0_3(prefix: Path, tmp_path: Path) -> None:
    """It has declarations of its own, and asks for the symbol versions of then."""
    made = tmp_path / "linked_0_3"
    build = [compiler("c"), "-std=c11", "-D_GNU_SOURCE", *STRICT, "-O1", "-pthread"]
    build += [str(PROGRAMS / "linked_0_3.c"), "-o", str(made), f"-L{prefix}/lib", "-lspargio"]
    subprocess.run(build, check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib"}
    subprocess.run([made], check=True, timeout=60, env=environment)
