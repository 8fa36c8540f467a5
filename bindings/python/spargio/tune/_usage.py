"""Who used the CPUs: the processes of a comparison, others, or the host of a virtual machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ("Usage", "cpu_ns", "sample", "tree_of")

_PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """An instant, or what happened between two (``after - before``). In seconds of CPU."""

    time: float
    busy: float
    """All of the machine's CPUs, as /proc/stat counts them, in ticks."""
    steal: float
    """What the host took from this virtual machine."""
    own: float
    """Of the processes that belong to the measurement."""
    cpus: int

    def __sub__(self, before: Usage) -> Usage:
        return Usage(
            self.time - before.time,
            self.busy - before.busy,
            self.steal - before.steal,
            self.own - before.own,
            self.cpus,
        )

    @property
    def foreign(self) -> float:
        """The part of the machine that others used, 0 to 1."""
        whole = self.time * self.cpus
        return min(max((self.busy - self.own) / whole, 0.0), 1.0) if whole > 0 else 0.0

    @property
    def stolen(self) -> float:
        """The part of the machine that the host took, 0 to 1."""
        whole = self.time * self.cpus
        return min(self.steal / whole, 1.0) if whole > 0 else 0.0


def sample(pids: Iterable[int], proc: Path = _PROC) -> Usage:
    """Now. `pids` are the measurement's own processes; one that has ended counts nothing."""
    busy, steal = _ticks(proc)
    own = sum(cpu_ns(pid) for pid in pids) / 1e9
    return Usage(time.monotonic(), busy, steal, own, os.cpu_count() or 1)


def _ticks(proc: Path) -> tuple[float, float]:
    with open(proc / "stat") as lines:
        numbers = [int(word) for word in next(lines).split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = numbers
    return (user + nice + system + irq + softirq) / _TICK, steal / _TICK


def cpu_ns(pid: int) -> int:
    """CPU time of a process and all its threads, in nanoseconds: clock_getcpuclockid(3). 0 if there
    is no such process."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def tree_of(pid: int, proc: Path = _PROC) -> list[int]:
    """The process and those that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue  # It ended meanwhile.
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        left += children.get(one, ())
    return found
