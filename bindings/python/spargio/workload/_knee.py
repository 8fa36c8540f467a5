"""Finds the knee: the highest rate that the target serves within its latency limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._arrivals import positive
from ._load import Load
from ._report import BUSY_SHARE, COMPLETED_SHARE, CPU_SHARE, LATE_SHARE, LoadReport

__all__ = ("Knee", "find_knee")

P99_FACTOR = 10
STEPS_MAX = 40


@dataclass(frozen=True)
class Knee:
    """What a search found."""

    rate: float
    """The highest rate that was good, per second; 0.0 if none was."""
    p99_limit_ns: int
    limited_by: str
    """What was wrong above: ``"p99"``, ``"errors"``, ``"completed"``, or ``"load"``, if the
    generator was the limit; ``"max_rate"`` if nothing was."""
    steps: list[tuple[float, LoadReport, str]]
    """(rate, report, what was wrong or "")."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "p99_limit_ns": self.p99_limit_ns,
            "limited_by": self.limited_by,
            "steps": [
                {"rate": rate, "wrong": wrong, "report": report.to_dict()}
                for rate, report, wrong in self.steps
            ],
        }


def find_knee(
    load: Load,
    start_rate: float = 100.0,
    *,
    max_rate: float = 1e6,
    p99_limit: float | None = None,
    step_seconds: float = 2.0,
    precision: float = 0.05,
    run: Callable[[Load], LoadReport] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Knee:
    """Double the rate from `start_rate` until a step of `step_seconds` is bad, then halve the
    interval until it is as narrow as `precision`. A step is bad if its p99 exceeds `p99_limit`
    seconds (10 times that of the first step if it is missing, 1 ms at least), operations failed,
    fewer than 98 % of them ended in time, or the generator was late. A bad step is repeated once,
    because a machine has bad moments. `run` carries a step out (:meth:`Load.run`)."""
    positive("start_rate", start_rate)
    positive("precision", precision)
    carry_out = run or Load.run
    steps: list[tuple[float, LoadReport, str]] = []
    limit_ns = 0 if p99_limit is None else int(positive("p99_limit", p99_limit) * 1e9)

    def wrong_at(rate: float) -> str:
        nonlocal limit_ns
        wrong = ""
        for attempt in range(2):
            step = load.changed(
                arrivals=rate, duration=step_seconds, seed=load.seed + 2 * len(steps) + attempt
            )
            report = carry_out(step)
            if not limit_ns:
                limit_ns = max(1_000_000, P99_FACTOR * report.latency.p99_ns)
            wrong = _wrong(report, limit_ns)
            steps.append((rate, report, wrong))
            if tell is not None:
                shown = wrong or "good"
                p99_ms = report.latency.p99_ns / 1e6
                tell(f"{rate:10.1f}/s  p99 {p99_ms:9.3f} ms  {shown}")
            if not wrong:
                return ""
        return wrong

    good, bad, reason = 0.0, 0.0, "max_rate"
    rate = min(start_rate, max_rate)
    while len(steps) < STEPS_MAX:
        if wrong := wrong_at(rate):
            bad, reason = rate, wrong
        else:
            good = rate
        if not bad:
            if rate >= max_rate:
                break
            rate = min(rate * 2, max_rate)
            continue
        if bad - good <= precision * bad or bad < 1:
            break
        rate = (good + bad) / 2 if good else bad / 2
    return Knee(good, limit_ns, reason, steps)


def _wrong(report: LoadReport, limit_ns: int) -> str:
    busy = max(report.cpu_share / CPU_SHARE, report.busy_share / BUSY_SHARE)
    if report.late_share > LATE_SHARE or busy >= 1:
        return "load"
    if report.completed_share < COMPLETED_SHARE:
        return "completed"
    if report.latency.failed:
        return "errors"
    return "p99" if report.latency.p99_ns > limit_ns else ""
