"""The C library, installed once per session, and a way to compile and run programs against it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from abi_support import STRICT, Run, compiler, install_c


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as `zig build install` makes it, with its assertions in."""
    target = tmp_path_factory.mktemp("prefix")
    install_c(target, "safe")
    return target


@pytest.fixture
def run_program(prefix: Path, tmp_path: Path) -> Run:
    """Compiles one source file and runs it; the test fails where the compiler or program does."""

    def run(source: Path, *arguments: object, language: str = "c", libraries: tuple[str, ...] = ()):
        program = tmp_path / source.stem
        standard = ("-std=c11", "-D_GNU_SOURCE") if language == "c" else ("-std=c++17",)
        build = [compiler(language), *standard, *STRICT, "-O1", "-pthread", f"-I{prefix}/include"]
        build += [str(source), "-o", str(program), f"-L{prefix}/lib", "-lspargio", *libraries]
        subprocess.run(build, check=True)
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
