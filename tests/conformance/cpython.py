"""CPython's own test_asyncio: each module in a process of its own, with a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .environment import ROOT
from .results import Result

MODULE_LIMIT_S = 240

MODULES = (
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_events",
    "test_free_threading",
    "test_futures",
    "test_futures2",
    "test_locks",
    "test_pep492",
    "test_protocols",
    "test_queues",
    "test_runners",
    "test_selector_events",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_threads",
    "test_timeouts",
    "test_transports",
    "test_unix_events",
    "test_waitfor",
)
# Those that ask most of a loop; some 40 s on two CPUs.
PART = (
    "test_buffered_proto",
    "test_eager_task_factory",
    "test_events",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_sslproto",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_timeouts",
)


def run(patterns: list[str], part: bool, jobs: int) -> Iterator[Result]:
    names = PART if part else MODULES
    chosen = [n for n in names if not patterns or any(one in n for one in patterns)]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(_module, chosen)


def _module(name: str) -> Result:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-X", "faulthandler", "-m", "tests.conformance.cpython_module"]
        try:
            done = subprocess.run(
                [*command, name, "--report", str(report)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=MODULE_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode(errors="replace")
            return _result(name, began, 0, 0, 0, f"no end after {MODULE_LIMIT_S} s", output)
        if not report.exists():
            problem = f"ended with {done.returncode} before its end"
            return _result(name, began, 0, 0, 0, problem, done.stdout)
        told = json.loads(report.read_text())
    problem = told["problem"]
    if done.returncode != 0 and not told["failed"] and not problem:
        problem = f"ended with {done.returncode} after its end"
    counts = (told["passed"], told["failed"], told["skipped"])
    return _result(name, began, *counts, problem, done.stdout)


def _result(
    name: str, began: float, passed: int, failed: int, skipped: int, problem: str, output: str
) -> Result:
    seconds = time.monotonic() - began
    return Result("cpython", name, passed, failed, skipped, seconds, problem, output)
