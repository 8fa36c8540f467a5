"""Where the suites of other projects run: an environment with exact versions, and their source
distributions, in the user's cache. Made at the first use, and again if requirements.txt changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import spargio

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_REQUIREMENTS = HERE / "requirements.txt"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spargio" / "conformance"


def interpreter() -> Path:
    """The Python of an environment that has all that the suites need, but for spargio."""
    abi = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    place = _cache() / f"{abi}-{wanted}"
    python = place / "bin" / "python"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        print(f"installs requirements.txt in {place}", flush=True)
        base = getattr(sys, "_base_executable", sys.executable)
        subprocess.run([base, "-m", "venv", place], check=True)
        _pip(python, "install", "-r", str(_REQUIREMENTS))
        (place / "complete").touch()
    return python


def version_of(package: str) -> str:
    """The version that requirements.txt names."""
    for line in _REQUIREMENTS.read_text().splitlines():
        name, _, version = line.partition(";")[0].strip().partition("==")
        if name == package:
            return version.strip()
    raise LookupError(f"requirements.txt names no {package}")


def source_of(package: str) -> Path:
    """The unpacked source distribution of `package`, without the package itself: its tests run
    against the one that is installed."""
    version = version_of(package)
    place = _cache() / f"{package}-{version}"
    if not place.exists():
        _cache().mkdir(parents=True, exist_ok=True)
        archive = _cache() / f"{package}-{version}.tar.gz"
        if not archive.exists():
            _pip(
                interpreter(),
                *("download", "--no-deps", "--no-binary", ":all:", "--dest", str(_cache())),
                f"{package}=={version}",
            )
        with tarfile.open(archive) as opened:
            _extract(opened, _cache() / "unpacked")
        for unwanted in (package, f"src/{package}"):
            shutil.rmtree(_cache() / "unpacked" / place.name / unwanted, ignore_errors=True)
        (_cache() / "unpacked" / place.name).rename(place)
    return place


def _extract(archive: tarfile.TarFile, place: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        archive.extractall(place, filter="data")
    else:
        archive.extractall(place)


def _pip(python: Path, *words: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    subprocess.run(command, check=True, timeout=900)


def variables(scratch: Path, *, replaced: bool = True) -> dict[str, str]:
    """The variables of a process in which ``asyncio.new_event_loop`` makes spargio's loop, if
    `replaced`."""
    package = scratch / "path" / "spargio"
    if not package.exists():
        package.parent.mkdir(exist_ok=True)
        package.symlink_to(Path(spargio.__file__).parent)
    path = [str(HERE / "site")] if replaced else []
    own = {
        "PYTHONPATH": os.pathsep.join([*path, str(package.parent)]),
        "PYTHONFAULTHANDLER": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    return {**os.environ, **own}
