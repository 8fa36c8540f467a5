"""Suites of other projects on spargio: ``python -m tests.conformance [SUITE...]``.

Each module runs in a process of its own, with a time limit. Ends with 1 if anything failed."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from . import anyio_backend
from .data_suites import run_data

ROOT = Path(__file__).parents[2]
MODULE_LIMIT_S = 180

CPYTHON = [
    "test_events",
    "test_sock_lowlevel",
    "test_server",
    "test_buffered_proto",
    "test_sendfile",
    "test_streams",
    "test_tasks",
    "test_subprocess",
    "test_taskgroups",
    "test_timeouts",
    "test_queues",
    "test_locks",
    "test_waitfor",
    "test_runners",
    "test_futures",
    "test_eager_task_factory",
    "test_pep492",
    "test_context",
    "test_base_events",
    "test_unix_events",
    "test_selector_events",
    "test_protocols",
    "test_transports",
    "test_ssl",
    "test_sslproto",
]


def run_cpython(patterns: list[str]) -> bool:
    good = True
    for name in CPYTHON:
        if patterns and not any(one in name for one in patterns):
            continue
        good = _module(name) and good
    return good


def _module(name: str) -> bool:
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.conformance.cpython_module", name]
    began = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=MODULE_LIMIT_S, check=False
        )
        output, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        output = (error.stderr or b"").decode(
            errors="replace"
        ) + f"\nno end after {MODULE_LIMIT_S} s"
        status = -1
    if "ModuleNotFoundError: No module named" in output and f"test_asyncio.{name}" in output:
        print(f"{name:28} not in this Python")
        return True
    ran = re.search(r"^Ran (\d+) tests", output, re.M)
    last = output.strip().splitlines()[-1] if output.strip() else ""
    count = ran[1] if ran else "?"
    print(f"{name:28} {count:>5} tests  {time.monotonic() - began:6.1f} s  {last}", flush=True)
    if status != 0:
        print(output[-6000:])
    return status == 0


SUITES = {"cpython": run_cpython, "anyio-backend": anyio_backend.run, "data": run_data}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("suite", nargs="?", choices=sorted(SUITES))
    parser.add_argument("patterns", nargs="*", help="parts of names of modules")
    given = parser.parse_args()
    chosen = [given.suite] if given.suite else sorted(SUITES)
    results = [SUITES[name](given.patterns) for name in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
