"""The preflight: who used the CPUs, and the settings that must not change."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spargio.tune import Refused
from spargio.tune._machine import check_quiet, check_same, settings
from spargio.tune._usage import Usage, cpu_ns, sample, tree_of


def usage(foreign: float = 0.0, stolen: float = 0.0) -> Usage:
    """Of one second on two CPUs."""
    return Usage(1.0, foreign * 2 + 0.5, stolen * 2, 0.5, 2)


def test_foreign_and_stolen_are_parts_of_the_machine() -> None:
    found = Usage(12.0, 9.0, 0.5, 2.0, 4) - Usage(10.0, 4.0, 0.1, 1.0, 4)
    assert found.foreign == pytest.approx((5.0 - 1.0) / 8)
    assert found.stolen == pytest.approx(0.4 / 8)
    assert (
        Usage(1.0, 0.1, 0.0, 0.2, 1)
    ).foreign == 0.0  # Ticks are rougher than a process's clock.


@pytest.mark.parametrize(
    ("found", "said"),
    [(usage(0.101), "other processes use 10%"), (usage(0.0, 0.021), r"the host takes 2% .*steal")],
)
def test_a_machine_that_is_not_quiet_is_refused(found: Usage, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_quiet(lambda seconds: found, 5.0)
    assert check_quiet(lambda seconds: usage(0.09, 0.019), 5.0).foreign == pytest.approx(0.09)


def test_settings_that_differ_are_named() -> None:
    before = {"governor": "performance", "cpus": 2}
    check_same(before, dict(before))
    with pytest.raises(Refused, match=r"cpus was 2 and is 4; governor was 'performance' and is"):
        check_same(before, {"governor": "powersave", "cpus": 4})


def test_the_settings_of_this_machine() -> None:
    found = settings()
    assert found == settings()
    assert found["affinity"] == sorted(os.sched_getaffinity(0))
    assert {"cpu", "governor", "kernel", "boost", "spargio", "python", "nice"} <= set(found)


def test_settings_are_read_where_the_kernel_has_them(tmp_path: Path) -> None:
    for n, name in enumerate(("performance", "performance", "powersave")):
        folder = tmp_path / f"cpu{n}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(name + "\n")
    (tmp_path / "cpufreq").mkdir()
    (tmp_path / "cpufreq" / "boost").write_text("1\n")
    found = settings(tmp_path)
    assert found["governor"] == "performance, powersave"
    assert found["boost"] == "1"


def test_the_ticks_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 2 3\n")
    found = sample([], tmp_path)
    tick = os.sysconf("SC_CLK_TCK")
    assert found.busy == pytest.approx((100 + 20 + 30 + 6 + 7) / tick)
    assert found.steal == pytest.approx(8 / tick)


def test_cpu_time_of_another_process_is_to_the_nanosecond() -> None:
    program = "import sys\nwhile sys.stdin.readline(): print(sum(range(10**5)), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        seen = [cpu_ns(child.pid)]
        for _ in range(3):
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()
            seen.append(cpu_ns(child.pid))
        assert seen == sorted(set(seen))
        assert child.pid in tree_of(os.getpid())
        child.stdin.close()
    assert cpu_ns(child.pid) == 0
    mine = cpu_ns(os.getpid())
    assert 0 < mine <= time.process_time_ns()
