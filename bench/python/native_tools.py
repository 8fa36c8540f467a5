"""Compiles the programs of bench/native, anew for each run: that takes less than a second."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import processes
from harness import why_missing
from processes import MeasurementFailed, Missing

SOURCES: Final = Path(__file__).resolve().parent.parent / "native"
HEADERS: Final = SOURCES.parent.parent / "include"
FIND_LIBRARY: Final = "from spargio._ffi.library import PATH; print(PATH)"


def compiler(language: str = "") -> list[str]:
    """cc (c++ for "++"), or the compiler that the ziglang package brings. Raises Missing."""
    found = shutil.which("c++" if language else "cc")
    if found:
        return [found]
    if why_missing("ziglang") is None:
        return [sys.executable, "-m", "ziglang", f"c{language or 'c'}"]
    raise Missing("no cc, and no ziglang package")


def build(name: str, folder: Path) -> Path:
    """Compile SOURCES/`name`.c into `folder`, if it is not there; gives the program's path."""
    return _compiled(SOURCES / f"{name}.c", folder / name, ["-std=c11"])


def build_linked(name: str, folder: Path, *options: str) -> Path:
    """The same with options of its own: SOURCES/`name`, with its ending."""
    return _compiled(SOURCES / name, folder / Path(name).stem, options)


def build_limit(name: str, folder: Path) -> Path:
    """SOURCES/limit/`name`.c, with the library that the spargio package here uses, so that
    Python's rows and their limit have one core."""
    return build_linked(f"limit/{name}.c", folder, "-std=gnu11", *library_options())


def library_options() -> list[str]:
    """Header and library of the spargio package here."""
    library = Path(processes.run([sys.executable, "-c", FIND_LIBRARY], seconds=20).strip())
    return [f"-I{HEADERS}", str(library), f"-Wl,-rpath,{library.parent}"]


def _compiled(source: Path, program: Path, options: Sequence[str]) -> Path:
    if program.exists():
        return program
    command = [
        *compiler("++" * (source.suffix == ".cpp")),
        "-O2",
        "-pthread",
        str(source),
        *options,
        "-o",
        str(program),
    ]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise MeasurementFailed(f"{source.name} does not compile: {outcome.stderr.strip()}")
    return program
