"""What fuzzing has found, and inputs that reach much: each goes through its target again. Searching for more
is a command of its own, tests/fuzz/run.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "fuzz" / "run.py"


@pytest.mark.early
@pytest.mark.timeout(1800)  # It builds a library first.
def test_every_entry_of_the_corpus() -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: `cc` is not on the PATH")
    done = subprocess.run(
        [sys.executable, RUN, "--replay"], capture_output=True, text=True, timeout=1780
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" inputs") == 6
