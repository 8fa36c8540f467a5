"""Memory, descriptors and threads of this process over time, and whether they are steady."""

from __future__ import annotations

import gc
import os
import statistics
from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from spargio import RuntimeStats

from .common import Soak

PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLES = 60
RSS_SLACK_B = 4 << 20
FD_SLACK = 24
"""Connections and children come and go: the medians of two thirds of the run differ by chance."""


@dataclass(frozen=True)
class Sample:
    rss_b: int
    descriptors: int
    threads: int
    ops_in_flight: int


class Watch:
    def __init__(self, names: list[str], seconds: float) -> None:
        self.period_s = min(30.0, max(1.0, seconds / SAMPLES))
        self._seen: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._still: Counter[str] = Counter()
        self.samples: list[Sample] = []

    def sample(self, soak: Soak, stats: RuntimeStats) -> None:
        gc.collect()
        with open("/proc/self/statm") as file:
            rss_b = int(file.read().split()[1]) * PAGE
        self.samples.append(
            Sample(
                rss_b,
                len(os.listdir("/proc/self/fd")),
                len(os.listdir("/proc/self/task")),
                stats.ops_in_flight,
            )
        )
        soak.final_stats = stats
        for name, before in list(self._seen.items()):
            now = soak.rounds[name]
            self._still[name] = self._still[name] + 1 if now == before else 0
            assert self._still[name] * self.period_s < 60, f"{name} has not moved for a minute"
            self._seen[name] = now

    def report(self, soak: Soak) -> int:
        """0 where all was steady. The first third is warm-up; the other two are compared."""
        rounds = Table("workload", "rounds")
        for name, count in sorted(soak.rounds.items()):
            rounds.add_row(name, str(count))
        faults = ", ".join(f"{count} {name}" for name, count in sorted(soak.faults.items()))
        console = Console(width=100)
        console.print(rounds, f"faults met: {faults}", soak.final_stats)
        over_time = [
            f"{sample.rss_b >> 20}" for sample in self.samples[:: max(1, len(self.samples) // 20)]
        ]
        console.print(f"memory over time, MiB: {' '.join(over_time)}")
        third = len(self.samples) // 3
        if third < 3:
            console.print("too short to say whether memory is steady")
            return 0
        table = Table("median of", "second third", "last third", "")
        failed = False
        for name, slack in (
            ("rss_b", RSS_SLACK_B),
            ("descriptors", FD_SLACK),
            ("threads", FD_SLACK),
        ):
            middle, last = (
                statistics.median(getattr(sample, name) for sample in part)
                for part in (self.samples[third : 2 * third], self.samples[2 * third :])
            )
            steady = last <= middle * 1.03 + slack
            failed |= not steady
            table.add_row(name, f"{middle:.0f}", f"{last:.0f}", "steady" if steady else "GROWS")
        console.print(table)
        return int(failed)
