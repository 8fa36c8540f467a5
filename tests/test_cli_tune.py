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
    command = [sys.executable, "-m", "spargio", "tune", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "workload must be module:workload, got 'nowhere'"),
        (("nowhere:work",), "No module named 'nowhere'"),
        (("mine:missing",), "workload must name a function or a Load of mine, got 'missing'"),
        (("--", "python", "server.py"), "a COMMAND needs --load"),
        (("--load", "tcp://127.0.0.1:80", "--", "x"), "target must have {port}"),
        (("mine:work", "--margin", "mean=5"), "--margin: must be METRIC=% with one of cpu, p50"),
        (("mine:work", "--margin", "p99"), "--margin: must be p99=% with a number above 0"),
        (("mine:work", "--gain", "0"), "--gain: must be a number between 0 and 100, got '0'"),
        (("mine:work", "--gain", "nan"), "--gain: must be a number between 0 and 100, got 'nan'"),
        (("mine:work", "--pairs", "11"), "--pairs: must be a whole number from 12 to 10000"),
        (("mine:work", "--control", "9"), "--control: must be a whole number from 20 to 1000"),
        (("mine:work", "--wait", "-1"), "--wait: must be a number from 0 to 86400, got '-1'"),
        (("mine:work", "--rate", "0"), "--rate: must be a number between 0 and"),
        (("mine:work", "--connections", "0"), "--connections: must be a whole number from 1"),
        (
            ("mine:work", "--options", "no.conf"),
            "options file cannot be read: No such file or directory",
        ),
        (("mine:work", "--target", "mean"), "--target: invalid choice: 'mean' (choose from"),
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
    command = [sys.executable, "-m", "spargio", "tune", "mine:work", "--rate", "50"]
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
    assert (
        "is of another session: rate was 50.0 and is 60.0; load.arrivals.rate was 50.0 and is 60.0. Runs "
        in other.stderr
    )


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
        if "other processes use" in done.stderr:
            assert "`--resume --wait 600` goes on here" in done.stderr
        assert "%" in done.stderr or "overloaded" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
        assert "nothing is kept" in done.stdout
    again = tune(tmp_path, "mine:load", "--rate", "8000", "--pairs", "12")
    assert again.returncode == 2
    assert "--resume goes on with it" in again.stderr
