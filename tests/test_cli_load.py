"""`spargio load` as a process: what it prints, writes and ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spargio.latency import read_hdr_log
from spargio.workload import LoadReport


def load(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spargio", "load", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_function_of_the_folder_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import spargio\nasync def work(operation):\n    await spargio.sleep(0.001)\n"
        "    return operation.size\n"
    )
    written = [tmp_path / name for name in ("report.json", "report.html", "report.hlog")]
    done = load(
        tmp_path, "mine:work", "--rate", "100", "--duration", "0.5", "--window", "0.25",
        "--size", "10-20", "--mix", "a=1,b=3", "--keys", "zipf:100:1.2", "--arrivals", "poisson",
        *(word for path, flag in zip(written, ("--json", "--html", "--hdr"), strict=True) for word in (flag, path)),
    )  # fmt: skip
    assert "p99.9" in done.stdout, done.stderr
    assert done.stderr.count("/s") == 2
    report = LoadReport.from_dict(json.loads(written[0].read_text()))
    assert done.returncode == (3 if report.limits else 0)
    assert report.spec["keys"] == {"kind": "zipf", "count": 100, "exponent": 1.2}
    assert report.spec["sizes"] == {"kind": "uniform", "least": 10, "most": 20}
    assert report.latency.ok == report.latency.count == report.offered
    assert 10 * report.offered <= report.latency.bytes <= 20 * report.offered
    assert written[1].read_text().startswith("<!doctype html>")
    assert sum(one.count for _, _, one in read_hdr_log(written[2])) == report.latency.count
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(report.spec))
    again = load(tmp_path, "--spec", str(spec), "--quiet", "--json", "-")
    assert json.loads(again.stdout)["offered"] == report.offered
    assert again.stderr == ""


def test_a_warning_is_an_exit_code_of_its_own(tmp_path: Path) -> None:
    """The generator computes on its only shard: the load itself is the limit, and nothing failed."""
    (tmp_path / "mine.py").write_text(
        "import time\nasync def work():\n    end = time.perf_counter() + 0.02\n"
        "    while time.perf_counter() < end:\n        pass\n"
    )
    done = load(tmp_path, "mine:work", "--rate", "60", "--duration", "0.5")
    assert "WARNING" in done.stdout, done.stdout
    assert done.returncode == 3


def test_a_closed_loop_warns_and_ends_well(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import spargio\nasync def work():\n    await spargio.sleep(0.05)\n"
    )
    words = ("--arrivals", "closed", "--connections", "1", "--duration", "0.3")
    done = load(tmp_path, "mine:work", *words, "--json", "-")
    report = LoadReport.from_dict(json.loads(done.stdout))
    assert "a closed loop waits" in report.warnings[-1]
    assert done.returncode == (3 if report.limits else 0)


def test_failures_are_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("async def work():\n    raise KeyError\n")
    done = load(tmp_path, "mine:work", "--rate", "50", "--duration", "0.2")
    assert done.returncode == 1
    assert "10 KeyError" in done.stdout
    refused = load(tmp_path, "tcp://127.0.0.1:1", "--duration", "0.2")
    assert refused.returncode == 1
    assert "tcp://127.0.0.1:1" in refused.stderr
    assert "refused" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "a TARGET is needed"),
        (("nowhere",), "target must be module:function"),
        (("nowhere:work",), "No module named 'nowhere'"),
        (("dir:/etc", "--rate", "0"), "rate must be more than 0"),
        (("dir:/etc", "--arrivals", "bursts"), "bursts need --burst and --every"),
        (("dir:/etc", "--size", "lots"), "lots"),
    ],
)
def test_wrong_arguments(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = load(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_knee(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("async def work():\n    pass\n")
    done = load(tmp_path, "mine:work", "--knee", "--rate", "50", "--duration", "0.1", "--json", "-")
    found = json.loads(done.stdout)
    assert found["steps"]
    assert found["limited_by"]
    assert os.listdir(tmp_path).count("mine.py") == 1
