"""Random cancels of every kind of operation, by a program whose memory is checked. The default suite
makes 20,000 per build; `SPARGIO_CANCELS=100000 pytest tests/abi/test_cancels.py` the long run
(about a minute). The seed is printed; `SPARGIO_SEED` sets it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from abi_support import PROGRAMS, STRICT, Run

ATTEMPTS = int(os.environ.get("SPARGIO_CANCELS", "20000"))
SEED = int(os.environ.get("SPARGIO_SEED") or secrets.randbits(32))

LEAKED = 97
"""Exit code of a process with -Dchecking-allocator that did not free all."""


def compiled(program: Path, prefix: Path, compiler: str, source: Path, *flags: str) -> Path:
    """Linked with the static library."""
    build = [compiler, "-std=c11", "-D_GNU_SOURCE", *STRICT, "-O1", "-g", "-pthread", *flags]
    build += [f"-I{prefix}/include", str(source), f"{prefix}/lib/libspargio.a", "-o", str(program)]
    subprocess.run(build, check=True)
    return program


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def check(done: subprocess.CompletedProcess[str]) -> None:
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [f"seed {SEED}"]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("runtime", [(1, 0, 0), (4, 1, 1)], ids=str)
def test_plain(run_program: Run, runtime: tuple[int, int, int]) -> None:
    print(run_program(PROGRAMS / "cancels.c", *runtime, ATTEMPTS // 3, SEED).stdout.decode())


@pytest.mark.timeout(400)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_under_address_sanitizer(prefix: Path, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    sanitize = ("-fsanitize=address", "-fno-omit-frame-pointer")
    program = compiled(tmp_path / "cancels", prefix, compiler, PROGRAMS / "cancels.c", *sanitize)
    check(run(program, 2, 0, 0, ATTEMPTS, SEED))


@pytest.mark.timeout(400)
def test_under_the_checking_allocator(checking_build: Path, tmp_path: Path) -> None:
    program = compiled(tmp_path / "cancels", checking_build, "cc", PROGRAMS / "cancels.c")
    check(run(program, 2, 0, 0, ATTEMPTS, SEED))


def test_the_checking_allocator_tells_of_a_leak(checking_build: Path, tmp_path: Path) -> None:
    source = tmp_path / "leak.c"
    source.write_text(
        '#include "spargio.h"\nint main(void) { spargio_runtime_options o; spargio_runtime r;\n'
        "return spargio_runtime_options_init(&o) || spargio_runtime_start(&o, &r); }\n"
    )
    done = run(compiled(tmp_path / "leak", checking_build, "cc", source))
    assert done.returncode == LEAKED
    assert "allocations were not freed" in done.stderr
