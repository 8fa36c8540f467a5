"""Where rounds are measured: two sides alive, one of them stopped at a time. A session knows only
the :class:`Lab`, so that a test can put a model in its place."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from spargio import RuntimeStats
from spargio.workload import Load, LoadReport

from . import _choice, _options, _usage
from ._processes import ProcessFailed, Side, Subject
from ._rounds import WINDOW_OPERATIONS, WINDOW_S, Counters, Round

__all__ = ("Lab", "Machine", "Shape")

_SETTLE_S = 0.005
_WARMUP = 0.1
_SHORT_S, _LONG_S = 0.25, 1.0
_SHORT_OPERATIONS = 2000


class Shape:
    """A round of a comparison: the rate, and how long. The same for both sides."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.seconds = _SHORT_S if rate * _SHORT_S >= _SHORT_OPERATIONS else _LONG_S

    def changes(self, seed: int) -> dict[str, Any]:
        return {
            "arrivals": self.rate,
            "duration": self.seconds,
            "warmup": _WARMUP * self.seconds,
            "window": WINDOW_S,
            "seed": seed,
        }


class Lab(Protocol):
    """Sides are ``"A"`` and ``"B"``."""

    def settings(self) -> dict[str, Any]:
        """The machine's, which must stay as they are."""

    def idle(self, seconds: float) -> _usage.Usage:
        """What others use while no side runs."""

    def start(self, side: str, options: Mapping[str, Any]) -> None:
        """Start a side with these options, or start it again. :exc:`ProcessFailed`."""

    def round(self, side: str, shape: Shape, seed: int) -> Round:
        """Measure one, while the other side is stopped. :exc:`ProcessFailed`."""

    def load(self, side: str, load: Load) -> LoadReport:
        """One step of the search for the knee."""

    def choices(self) -> dict[str, Mapping[str, Any]]:
        """What the program of side A declared (:func:`spargio.tune.choice`)."""

    def close(self) -> None:
        """End all processes."""


class Machine:
    """This machine."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject = subject
        self._folder = folder
        self._sides: dict[str, Side] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def settings(self) -> dict[str, Any]:
        from ._machine import settings

        return settings()

    def idle(self, seconds: float) -> _usage.Usage:
        before = self._usage()
        time.sleep(seconds)
        return self._usage() - before

    def start(self, side: str, options: Mapping[str, Any]) -> None:
        if side in self._sides:
            self._sides.pop(side).close()
        for other in self._sides.values():
            other.pause()
        path = self._folder / f"{side}.conf"
        _options.write(path, options)
        choices = self._choices(side)
        choices.unlink(missing_ok=True)
        environment = {_choice.FILE: str(path), _choice.DECLARED: str(choices)}
        started = Side(self._subject, environment, self._folder / f"{side}.log")
        self._sides[side] = started
        started.pause()

    def round(self, side: str, shape: Shape, seed: int) -> Round:
        return self._measured(self._sides[side], shape.changes(seed))

    def load(self, side: str, load: Load) -> LoadReport:
        changes = {
            "arrivals": load.arrivals.rate,
            "duration": load.duration,
            "seed": load.seed,
        }
        one = self._sides[side]
        one.resume()
        try:
            return LoadReport.from_dict(one.ask(changes)["report"])
        finally:
            one.pause()

    def _measured(self, one: Side, changes: Mapping[str, Any]) -> Round:
        one.resume()
        try:
            time.sleep(_SETTLE_S)
            before = self._usage()
            measure = self._hosted if self._subject.hosts else self._served
            report, work = measure(one, changes)
            usage = self._usage() - before
        finally:
            one.pause()
        return round_of(report, work, usage)

    def _hosted(self, one: Side, changes: Mapping[str, Any]) -> tuple[LoadReport, Work]:
        """The generator counted itself, without what it did before and after."""
        answer = one.ask(changes)
        report = LoadReport.from_dict(answer["report"])
        first, last = (RuntimeStats.from_cbor(bytes.fromhex(data)) for data in answer["stats"])
        cpu_ns = round(report.cpu_seconds * 1e9)
        return report, Work(cpu_ns, report.latency.count, Counters.of(last - first))

    def _served(self, one: Side, changes: Mapping[str, Any]) -> tuple[LoadReport, Work]:
        pids, stats = one.tuned_pids(), one.stats()
        began = _cpu_ns(pids)
        report = LoadReport.from_dict(one.ask(changes)["report"])
        cpu_ns = _cpu_ns(pids) - began
        counters = Counters.of(self._after(one) - stats) if stats else Counters()
        return report, Work(cpu_ns, report.offered, counters)

    def choices(self) -> dict[str, Mapping[str, Any]]:
        return _choice.declared(self._choices("A"))

    def _choices(self, side: str) -> Path:
        return self._folder / f"{side}.choices"

    def _after(self, one: Side) -> RuntimeStats:
        stats = one.stats()
        if stats is None:
            raise ProcessFailed("the server's runtime ended during a round")
        return stats

    def _usage(self) -> _usage.Usage:
        return _usage.sample(_usage.tree_of(os.getpid()))

    def close(self) -> None:
        while self._sides:
            self._sides.popitem()[1].close()


def _cpu_ns(pids: list[int]) -> int:
    return sum(_usage.cpu_ns(pid) for pid in pids)


class Work(NamedTuple):
    """What the tuned process did."""

    cpu_ns: int
    operations: int
    counters: Counters


def round_of(report: LoadReport, work: Work, usage: _usage.Usage) -> Round:
    """What a comparison keeps of a report."""
    tails = [
        (window.latency.p95_ns, window.latency.p99_ns)
        for window in report.windows
        if window.latency.count >= WINDOW_OPERATIONS and window.seconds >= WINDOW_S * 0.9
    ]
    return Round(
        latency=report.latency,
        tails=tails,
        operations=work.operations,
        completed=report.completed_share,
        cpu_ns=work.cpu_ns,
        late=report.late_share,
        foreign=usage.foreign,
        stolen=usage.stolen,
        counters=work.counters,
    )
