"""What a figure depends on, beside the code: for the JSON file and the heading of the tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

import native_tools
from processes import Missing

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PACKAGES: Final = (
    "uvloop",
    "rloop",
    "blazio",
    "trio",
    "aiofiles",
    "urio",
    "turbofile",
    "py-asyncfiles",
    "httptools",
    "matplotlib",
)


def describe() -> dict[str, Any]:
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git_commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
        "git_modified": bool(_output("git", "-C", str(ROOT), "status", "--porcelain")),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "python_gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "compiler": _compiler(),
        "packages": {"spargio": _spargio(), **{name: _version(name) for name in PACKAGES}},
        "wrk": _wrk(),
    }


def _output(*command: str) -> str | None:
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return outcome.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, "unknown")


def _compiler() -> str | None:
    try:
        version = _output(*native_tools.compiler(), "--version")
    except Missing:
        return None
    return version.partition("\n")[0] if version else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _spargio() -> str | None:
    """As it says itself: there may be no metadata of an installation, or another one's."""
    return _output(sys.executable, "-c", "import spargio; print(spargio.__version__)")


def _wrk() -> str | None:
    """Its first line; it ends with status 1 when asked."""
    try:
        outcome = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return outcome.stdout.partition(" [")[0].strip() or None
