"""The C library, installed once per run (tests/builds.py), and a way to compile and run programs against it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import builds
import pytest
from abi_support import STRICT, Run, compiler


@pytest.fixture(scope="session")
def prefix(safe_build: Path) -> Path:
    """Where `zig build install` put the library, with its assertions in."""
    return safe_build


@pytest.fixture
def run_program(prefix: Path, tmp_path: Path) -> Run:
    """Compiles one source file and runs it; the test fails where the compiler or program does."""

    def run(source: Path, *arguments: object, language: str = "c", libraries: tuple[str, ...] = ()):
        standard = ("-std=c11", "-D_GNU_SOURCE") if language == "c" else ("-std=c++17",)
        program = builds.program(
            source.stem,
            source.read_text(),
            *(compiler(language), *standard, *STRICT, "-O1", "-pthread", f"-I{source.parent}"),
            *(f"-I{prefix}/include", f"-L{prefix}/lib", "-lspargio", *libraries),
            suffix=source.suffix,
        )
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib"}
        result = subprocess.run(
            [str(program), *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr.decode()
        return result

    return run
