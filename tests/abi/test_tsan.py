"""A C program under ThreadSanitizer: what the runtime orders is no race, and what nobody orders is one."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from abi_support import PROGRAMS, STRICT

FOUND = 66
"""Exit code of a program in which ThreadSanitizer found something."""


def built(compiler: str, source: Path, made: Path, *flags: str) -> Path:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    build = [compiler, "-std=c11", "-D_GNU_SOURCE", *STRICT, "-O1", "-g", "-pthread"]
    subprocess.run([*build, "-fsanitize=thread", str(source), "-o", str(made), *flags], check=True)
    return made


def run(program: Path, *arguments: str, library: str = "") -> subprocess.CompletedProcess[str]:
    """Without a random layout, which some versions of ThreadSanitizer do not know."""
    return subprocess.run(
        ["setarch", platform.machine(), "-R", str(program), *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": library, "TSAN_OPTIONS": f"exitcode={FOUND}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_false_report_and_each_true_one(
    compiler: str, backend: str, prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARGIO_BACKEND", backend)
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    if run(built(compiler, empty, tmp_path / "empty")).returncode != 0:
        pytest.skip(f"ThreadSanitizer of {compiler} does not run on this machine")
    flags = (f"-I{prefix}/include", f"-L{prefix}/lib", "-lspargio")
    program = built(compiler, PROGRAMS / "ordered.c", tmp_path / "ordered", *flags)
    done = run(program, library=f"{prefix}/lib")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    raced = run(program, "race", library=f"{prefix}/lib")
    assert raced.returncode == FOUND
    assert raced.stderr.count("WARNING: ThreadSanitizer: data race") == 1, raced.stderr
