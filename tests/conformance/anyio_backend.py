"""anyio's own test suite on the backend ``spargio``.

The suite is in anyio's source archive; pip fetches it, and what the suite needs, once into the user's
cache directory. Each file runs in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent / "anyio_site"
VERSION = "4.16.0"
FILE_LIMIT_S = 300

NEEDS = [
    f"anyio=={VERSION}",
    "sniffio==1.3.1",
    "pytest==9.2.0",
    "pytest-mock==3.17.0",
    "pytest-timeout==2.4.0",
    "psutil==7.2.2",
    "trio==0.35.0",
]
# The newest hypothesis has no wheel for the free-threaded 3.13.
NEEDS += ["hypothesis==6.155.7"]
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    NEEDS.append("trustme==1.2.1")  # Its cryptography has no wheel for the free-threaded 3.13.

PART = [
    "test_taskgroups.py",
    "test_synchronization.py",
    "test_debugging.py",
    "test_lowlevel.py",
    "test_signals.py",
    "streams/test_memory.py",
]
"""What runs in CI."""


class Unavailable(Exception):
    """The suite cannot be fetched."""


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "spargio" / f"anyio-suite-{VERSION}"


def prepare() -> tuple[Path, Path]:
    """(the unpacked archive, what the suite needs); :class:`Unavailable` says why not."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"anyio-{VERSION}"
    if not source.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _pip("download", "--no-deps", "--no-binary", "anyio", "--dest", scratch, NEEDS[0])
            with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
                archive.extractall(scratch, filter="data")
            _move(Path(scratch) / source.name, source)
    needs = folder / f"needs-{sysconfig.get_config_var('SOABI')}"
    if not needs.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _pip("install", "--only-binary", ":all:", "--target", f"{scratch}/needs", *NEEDS)
            _move(Path(scratch) / "needs", needs)
    return source, needs


def _move(made: Path, place: Path) -> None:
    """Another run may have been faster."""
    try:
        made.rename(place)
    except OSError:
        if not place.is_dir():
            raise


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"pip {words[0]} failed: {done.stderr.strip()[-500:]}")


def run_files(names: list[str], *words: str) -> tuple[int, str]:
    """These files of the suite in one process: pytest's status and output."""
    source, needs = prepare()
    paths = [str(SITE), str(needs), str(ROOT / "bindings" / "python")]
    if "trustme" not in " ".join(NEEDS):
        paths.insert(1, str(ROOT / "tests" / "without_trustme"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "--no-header"]
    command += ["-p", "spargio_suite", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    # A test that hangs ends the file: the runtime on the main thread may not get the signal.
    command += ["-o", "timeout_method=thread", "-p", "no:cacheprovider"]
    command += [*words, *(f"tests/{name}" for name in names)]
    try:
        done = subprocess.run(
            command,
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FILE_LIMIT_S,
            check=False,
            preexec_fn=_interruptible,
        )
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        return -1, f"{output}\nno end after {FILE_LIMIT_S} s"
    return done.returncode, done.stdout + done.stderr


def _interruptible() -> None:
    """What a shell has started in the background ignores Ctrl-C, and so would the tests of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def counts_of(output: str) -> dict[str, int]:
    """Of pytest's closing line."""
    found = re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|deselected)", output)
    return {word.rstrip("s") if word.startswith("error") else word: int(n) for n, word in found}


def run(patterns: list[str]) -> bool:
    """All files whose name has one of `patterns`; ``part`` is what CI runs."""
    try:
        source, _ = prepare()
    except Unavailable as error:
        print(f"anyio's suite cannot be run: {error}")
        return False
    tests = source / "tests"
    names = sorted(str(path.relative_to(tests)) for path in tests.rglob("test_*.py"))
    if patterns == ["part"]:
        names = PART
    elif patterns:
        names = [name for name in names if any(one in name for one in patterns)]
    total: dict[str, int] = {}
    good = True
    for name in names:
        began = time.monotonic()
        status, output = run_files([name])
        counts = counts_of(output)
        for word, count in counts.items():
            total[word] = total.get(word, 0) + count
        shown = ", ".join(f"{n} {word}" for word, n in counts.items() if word != "deselected")
        print(f"{name:28} {time.monotonic() - began:6.1f} s  {shown}", flush=True)
        if status not in (0, 5):  # 5: the file has no test for us.
            good = False
            print(output[-8000:])
    total.pop("deselected", None)
    print("anyio's suite: " + ", ".join(f"{n} {word}" for word, n in total.items()))
    return good
