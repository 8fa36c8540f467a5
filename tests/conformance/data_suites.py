"""The suites of fsspec and zarr, and what reads through spargio, in an environment of its own:
``python -m tests.conformance data [PART...]``, with PART fsspec, zarr, readers, torch or dask.

The environment is made in a temporary folder, or stays in the folder that
``SPARGIO_DATA_ENVIRONMENT`` names, for the next run. ``SPARGIO_DATA_PYTHON`` is a Python that has all
packages already."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "data"
LIMIT_S = 600
LEAST = (3, 12)
_NOTHING_RAN = 5
"""pytest's word for it."""

# What each part needs. Exact, as in pyproject.toml.
FSSPEC = ["fsspec==2026.9.0"]
ZARR = ["zarr==3.4.2", "pytest-asyncio==1.5.0"]
PARTS = {
    "fsspec": FSSPEC,
    "zarr": ZARR,
    "readers": [
        *(*FSSPEC, *ZARR, "pandas==3.1.1", "pyarrow==26.0.1", "xarray==2026.9.0"),
        *("kerchunk==0.2.10", "scipy"),
    ],
    "torch": [],  # Skipped, unless SPARGIO_DATA_PYTHON has it.
    "dask": [*FSSPEC, "dask[dataframe]==2026.8.0", "distributed==2026.8.0"],
}
ALWAYS = ["pytest==9.2.0", "pytest-timeout==2.4.0", "pytest-asyncio==1.5.0", "rich>=13.7.0"]


def run_data(patterns: list[str]) -> bool:
    """True if all passed, or if the packages cannot be installed, which it says."""
    parts = [part for part in PARTS if not patterns or any(one in part for one in patterns)]
    with contextlib.ExitStack() as stack:
        python = os.environ.get("SPARGIO_DATA_PYTHON")
        if python is None:
            base = _interpreter()
            if base is None:
                print(f"data: SKIPPED, no Python {LEAST[0]}.{LEAST[1]} or newer, which zarr needs")
                return True
            python = stack.enter_context(_environment(base, parts))
        if python is None:
            print("data: SKIPPED, the packages cannot be installed here (no network?)")
            return True
        files = [str(HERE / f"test_{part}.py") for part in parts]
        command = [python, "-m", "pytest", "-c", str(HERE / "pytest.ini"), "-q", *files]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'bindings' / 'python'}"}
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=LIMIT_S, check=False)
        return done.returncode == 0 or (parts == ["torch"] and done.returncode == _NOTHING_RAN)


def _interpreter() -> str | None:
    """This Python, or another one of this machine: spargio's library is the same for each."""
    if sys.version_info >= LEAST:
        return sys.executable
    for name in ("python3.13", "python3.12", "python3.14"):
        path = shutil.which(name)
        # A shim may be there without its Python.
        if (
            path
            and subprocess.run([path, "-c", "import venv"], capture_output=True).returncode == 0
        ):
            return path
    return None


@contextlib.contextmanager
def _environment(base: str, parts: list[str]) -> Iterator[str | None]:
    with contextlib.ExitStack() as stack:
        given = os.environ.get("SPARGIO_DATA_ENVIRONMENT")
        folder = Path(given or stack.enter_context(tempfile.TemporaryDirectory()))
        python = folder / "bin" / "python"
        if not python.exists():
            subprocess.run([base, "-m", "venv", str(folder)], check=True)
        wanted = sorted({*ALWAYS, *(one for part in parts for one in PARTS[part])})
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
            *wanted,
        ]
        done = subprocess.run(install, check=False)
        yield str(python) if done.returncode == 0 else None
