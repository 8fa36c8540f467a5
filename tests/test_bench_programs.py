"""The benchmarks' C programs compile: a run takes half an hour and is not part of the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "bench/native"
SOURCES = sorted(path for path in NATIVE.rglob("*.c"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(NATIVE)))
def test_compiles(source: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no cc")
    if source.parent.name == "instructions" and not Path("/usr/include/valgrind").exists():
        pytest.skip("no headers of valgrind")
    if "liburing" in source.name and not Path("/usr/include/liburing.h").exists():
        pytest.skip("no headers of liburing (Debian: liburing-dev)")
    options = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
    outcome = subprocess.run(
        [compiler, *options, "-fsyntax-only", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
