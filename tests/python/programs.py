"""What tests start besides the runtime: programs in a process of their own, traced ones, and compiled C
functions."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from support import LIMIT_S

import spargio


@functools.cache
def _environment() -> dict[str, str]:
    package = str(Path(spargio.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def start_program(
    source: str, *flags: str, before: tuple[str, ...] = (), python: str = sys.executable
) -> subprocess.Popen[str]:
    """A Python program given as text; `before` is what runs it."""
    return subprocess.Popen(
        [*before, python, *flags, "-c", textwrap.dedent(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    )


def run_program(
    source: str, *flags: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    with start_program(source, *flags, before=before) as process:
        try:
            out, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            pytest.fail(f"the program did not end in {LIMIT_S} s:\n{out}\n{errors}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> float:
    """Sends the signal when the program has printed a line; gives seconds until it ended."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(number)
    process.wait(LIMIT_S)
    return time.monotonic() - began


# ---- traced by strace ----

RING_CALLS = ("io_uring_setup", "io_uring_enter", "io_uring_register")


def system_calls(tmp_path: Path, source: str, *calls: str, late: str = "") -> list[str]:
    """The lines of strace for such calls of a program; skips the test where strace cannot run. `late`
    is what it does to them."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not on the PATH")
    log = tmp_path / "strace"
    wanted = ["-e", f"trace={','.join(calls)}", *(["-e", late] if late else [])]
    before = (strace, "-f", "-qq", *wanted, "-o", str(log))
    tried = subprocess.run([*before, "true"], capture_output=True, text=True, timeout=30)
    if tried.returncode != 0:
        pytest.skip(f"strace cannot trace here: {tried.stderr.strip()}")
    done = run_program(source, before=before)
    assert (done.returncode, done.stderr) == (0, "")
    return log.read_text().splitlines()


# ---- compiled C functions ----


@functools.cache
def compiled() -> ctypes.CDLL:
    """The functions of native.c; skips the test without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: `cc` is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "native.so")
        source = Path(__file__).with_name("native.c")
        command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Werror", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", library, source], check=True, timeout=LIMIT_S)
        return ctypes.CDLL(str(library))


def address(function: Any) -> int:
    value = ctypes.cast(function, ctypes.c_void_p).value
    assert value is not None
    return value
