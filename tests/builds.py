"""What tests need that takes minutes to build: built once in a run, whichever process is first to need
it, before the test's own time limit begins (conftest.py), and under a limit of its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from build_library import install_c  # noqa: E402

LIMIT_S = 1800
"""Of one build, on a slow and busy machine with empty caches."""
FOLDER = "SPARGIO_TEST_RUN"
"""In the environment: the folder that the processes of one run share."""


class Failed(Exception):
    """What the build said."""


def begin() -> Path | None:
    """The run's folder, if this process is the first of the run: it ends it too."""
    if FOLDER in os.environ:
        return None
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="spargio-tests-")
    return Path(os.environ[FOLDER])


def end(folder: Path) -> None:
    os.environ.pop(FOLDER, None)
    shutil.rmtree(folder, ignore_errors=True)


def lock(name: str, kind: int = fcntl.LOCK_EX) -> IO[str]:
    """Taken among the processes of this run, until it is closed."""
    path = Path(os.environ[FOLDER], f"{name}.lock")
    file = open(path, "w")  # noqa: SIM115
    fcntl.flock(file, kind)
    return file


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """A step of a build. Its output is shown where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}")


def get(name: str) -> Path:
    """The folder of a build; `Failed` for each caller, if it failed once."""
    folder = Path(os.environ[FOLDER], name)
    done, failed = folder.with_suffix(".done"), folder.with_suffix(".failed")
    with lock(name):
        if failed.exists():
            raise Failed(failed.read_text())
        if not done.exists():
            folder.mkdir(exist_ok=True)
            try:
                BUILDS[name](folder)
            except (Failed, OSError, subprocess.SubprocessError) as error:
                failed.write_text(str(error))
                raise Failed(str(error)) from None
            done.touch()
    return folder


def prepare(fixtures: set[str]) -> None:
    """Build what these fixtures give. A failure is told by the fixture, not here."""
    for name in sorted(fixtures & BUILDS.keys()):
        with contextlib.suppress(Failed):
            get(name)


def program(name: str, text: str, *command: str | Path, suffix: str = ".c") -> Path:
    """What a compiler makes of this text: its command has no source and no output. Compiled once in
    a run, by the first test that runs it; the others run the same file."""
    words = [str(word) for word in command]
    key = hashlib.sha256("\0".join([name, suffix, text, *words]).encode()).hexdigest()[:20]
    folder = Path(os.environ[FOLDER], f"program-{key}")
    made = folder / name
    with lock(folder.name):
        if not made.exists():
            folder.mkdir(exist_ok=True)
            source = folder / f"source{suffix}"
            source.write_text(text)
            # Libraries follow what uses them.
            run(words[0], str(source), *words[1:], "-o", folder / "new")
            (folder / "new").rename(made)
    return made


# ---- by the names of the fixtures that give them ----


def safe_build(folder: Path) -> None:
    """The C library as installed, with its assertions in."""
    install_c(folder, "safe")


def checking_build(folder: Path) -> None:
    """The static library alone, whose allocator finds what is not freed."""
    install_c(folder, "safe", checking_allocator=True, static_alone=True)


def release_build(folder: Path) -> None:
    """The C library as users install it."""
    run(sys.executable, "-m", "ziglang", "build", "install", "--prefix", folder)


def dist_build(folder: Path) -> None:
    """The sdist, and the wheel that an empty environment builds from it."""
    # A user's shell has none of what this run set.
    clean = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    build = (sys.executable, "-m", "build", "--outdir", folder)
    # An environment of its own has a compiler of its own: 400 MB to unpack, which a list of files
    # does not need.
    run(*build, "--sdist", "--no-isolation", ROOT, env=clean)
    (sdist,) = folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as unpacked:
        shutil.unpack_archive(sdist, unpacked)
        run(*build, "--wheel", Path(unpacked, sdist.name.removesuffix(".tar.gz")), env=clean)


FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHON_GIL", "LD_LIBRARY_PATH")

BUILDS: dict[str, Callable[[Path], None]] = {
    "safe_build": safe_build,
    "checking_build": checking_build,
    "release_build": release_build,
    "dist_build": dist_build,
}
