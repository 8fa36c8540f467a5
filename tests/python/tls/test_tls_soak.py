"""A short part of the soak, which is as long as one wants: ``python -m tests.soak --only tls``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_few_seconds_of_the_soak(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", "0.05", "--only", "tls", "--shards", "2"],
        cwd=ROOT,
        env={**os.environ, "SPARGIO_TLS_ENGINE": engine, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    # So short a time says nothing about memory.
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
