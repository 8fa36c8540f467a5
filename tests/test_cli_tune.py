"""`spargio tune` as a process: its arguments, its exit codes, and a refusal on a busy machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FUNCTION = "async def work():\n    pass\n"
LOAD = "from spargio import workload\nload = workload.Load('mine:work', 8000, connections=2)\n"


def tune(folder: Path, *words: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spargio._cli", "tune", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "workload must be module:workload, got 'nowhere'"),
        (("nowhere:work",), "No module named 'nowhere'"),
        (("mine:missing",), "workload must name a function or a Load of mine, got 'missing'"),
        (("--", "python", "server.py"), "a COMMAND needs --load"),
        (("--load", "tcp://127.0.0.1:80", "--", "x"), "target must have {port}"),
        (("mine:work", "--margin", "mean=5"), "margins must be of cpu, p50"),
        (("mine:work", "--margin", "p99"), "margin of p99 must be between 0 and 10, got nan"),
        (("mine:work", "--gain", "0"), "gain must be between 0 and 1, got 0.0"),
        (("mine:work", "--options", "no.conf"), "no.conf cannot be read: NOENT"),
        (("mine:work", "--target", "mean"), "target must be one of cpu, p50"),
    ],
)
def test_wrong_arguments(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    done = tune(tmp_path, *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "spargio-tune.journal").exists()


def test_help_names_the_exit_codes(tmp_path: Path) -> None:
    done = tune(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("COMMAND", "{port}", "--resume", "3: refused", "--margin"):
        assert word in done.stdout


def test_ctrl_c_leaves_a_journal_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    journal = tmp_path / "spargio-tune.journal"
    command = [sys.executable, "-m", "spargio._cli", "tune", "mine:work", "--rate", "50"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 50
        while not (journal.exists() and journal.read_bytes().endswith(b"\n")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=50)
    assert running.returncode == 130, said
    assert "--resume --journal spargio-tune.journal goes on" in said
    other = tune(tmp_path, "mine:work", "--rate", "60", "--resume")
    assert other.returncode == 3
    assert "is of a session with another asked" in other.stderr


@pytest.mark.timeout(150)
@pytest.mark.alone
def test_a_session_ends_or_is_refused(tmp_path: Path) -> None:
    """On a machine that others use it must say so; else it ends, and there is nothing to change."""
    (tmp_path / "mine.py").write_text(FUNCTION + LOAD)
    words = (
        "mine:load",
        "--rate",
        "8000",
        "--pairs",
        "12",
        "--control",
        "20",
        "--html",
        "report.html",
        "--out",
        "t.conf",
    )
    done = tune(tmp_path, *words, timeout=140)
    if done.returncode == 3:
        assert "spargio tune: refused: " in done.stderr
        assert "%" in done.stderr or "overloaded" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
        assert "nothing is kept" in done.stdout
    again = tune(tmp_path, "mine:load", "--rate", "8000", "--pairs", "12")
    assert again.returncode == 2
    assert "--resume goes on with it" in again.stderr
