"""A short part of the soak of asyncio loops that come and go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aio

ROOT = Path(__file__).parents[3]


def test_loops_come_and_go_and_leave_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.loops", "--cycles", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * aio.LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
