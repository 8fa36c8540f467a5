"""Clients of real servers, on our loop: the servers are started by the tests, from the system's packages."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .environment import HERE, ROOT, interpreter, variables
from .packages import counts
from .results import Result

LIMIT_S = 180


def run(patterns: list[str]) -> Iterator[Result]:
    began = time.monotonic()
    files = sorted(str(file) for file in (HERE / "smoke").glob("smoke_*.py"))
    words = ["-k", " or ".join(patterns)] if patterns else []
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        report = Path(folder, "report.xml")
        command = [str(interpreter()), "-m", "pytest", "-q", "-rs", "-c", "/dev/null"]
        command += ["--rootdir", str(HERE / "smoke"), "--confcutdir", str(HERE / "smoke")]
        command += ["-p", "no:cacheprovider", "-p", "pytest_timeout", "--timeout=60"]
        environment = variables(Path(folder))
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        try:
            done = subprocess.run(
                [*command, *words, f"--junitxml={report}", *files],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=LIMIT_S,
                check=False,
            )
            output, problem = done.stdout, ""
            if done.returncode not in (0, 1):
                problem = f"pytest ended with {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode(errors="replace")
            problem = f"no end after {LIMIT_S} s"
        passed, failed, skipped = counts(report)
    if not passed and not problem:
        problem = "no test ran"
    seconds = time.monotonic() - began
    yield Result("servers", "clients", passed, failed, skipped, seconds, problem, output)
