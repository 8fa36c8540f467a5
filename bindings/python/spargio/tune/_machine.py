"""The machine's settings, which must not change between two runs, and whether it is quiet."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._usage import Usage

__all__ = (
    "FOREIGN_MAX",
    "STOLEN_MAX",
    "NotQuiet",
    "Refused",
    "check_quiet",
    "differences",
    "settings",
)

FOREIGN_MAX = 0.10
"""Of the machine's CPUs, used by others."""
STOLEN_MAX = 0.02
"""Of the machine's CPUs, taken by the host."""

_SYS = Path("/sys/devices/system/cpu")


class Refused(Exception):
    """No honest answer is possible here and now; the text says why."""


class NotQuiet(Refused):
    """Others use the machine now; later they may not."""


def settings(root: Path = _SYS) -> dict[str, Any]:
    """What two runs must have in common to be compared."""
    import spargio

    return {
        "cpu": _model(),
        "cpus": os.cpu_count() or 1,
        "affinity": sorted(os.sched_getaffinity(0)),
        "online": _text(root / "online"),
        "governor": _governors(root),
        "boost": _text(root / "cpufreq/boost") or _text(root / "intel_pstate/no_turbo"),
        "smt": _text(root / "smt/control"),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "spargio": spargio.__version__,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }


def load_now() -> dict[str, str]:
    """Written down, not compared: it differs all the time."""
    return {
        "load average": _text(Path("/proc/loadavg")),
        "pressure": _text(Path("/proc/pressure/cpu")).partition("\n")[0],
    }


def _model() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith(("model name", "Model", "CPU part")):
            return line.partition(":")[2].strip()
    return platform.machine()


def _governors(root: Path) -> str:
    found = {_text(path) for path in root.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(found)) or "not known"


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A sentence for each setting that is another now."""
    return [
        f"{name} was {before.get(name)!r} and is {after.get(name)!r}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def check_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """:exc:`Refused` if a setting changed: runs under different ones say nothing of an option."""
    if found := differences(before, after):
        raise Refused(f"the machine's settings changed between runs: {'; '.join(found)}")


def check_quiet(measure: Callable[[float], Usage], seconds: float) -> Usage:
    """:exc:`NotQuiet` if others use more than a tenth of the machine, or the host takes more than a
    fiftieth, while none of our processes runs."""
    usage = measure(seconds)
    if usage.foreign > FOREIGN_MAX:
        raise NotQuiet(
            f"other processes use {usage.foreign:.0%} of this machine's CPUs, at most "
            f"{FOREIGN_MAX:.0%} may be: stop them, or tune on another machine"
        )
    if usage.stolen > STOLEN_MAX:
        raise NotQuiet(
            f"the host takes {usage.stolen:.0%} of this machine's CPU time (steal), at most "
            f"{STOLEN_MAX:.0%} may be: tune on another machine"
        )
    return usage
