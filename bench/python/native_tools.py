"""Compiles the programs of bench/native, anew for each run: that takes less than a second."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from harness import why_missing
from processes import MeasurementFailed, Missing

SOURCES: Final = Path(__file__).resolve().parent.parent / "native"


def compiler() -> list[str]:
    """cc, or the compiler that the ziglang package brings. Raises Missing."""
    found = shutil.which("cc")
    if found:
        return [found]
    if why_missing("ziglang") is None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise Missing("no cc, and no ziglang package")


def build(name: str, folder: Path) -> Path:
    """Compile SOURCES/`name`.c into `folder`, if it is not there; gives the program's path."""
    program = folder / name
    if program.exists():
        return program
    command = [*compiler(), "-O2", "-std=c11", "-pthread"]
    command += [str(SOURCES / f"{name}.c"), "-o", str(program)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise MeasurementFailed(f"{name}.c does not compile: {outcome.stderr.strip()}")
    return program
