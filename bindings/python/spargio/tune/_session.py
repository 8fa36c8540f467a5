"""The tuning loop: preflight, baseline, one change at a time, and a last check of all together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._budget import Budget
from ._comparison import Limits, Verdict, check_target
from ._journal import Journal
from ._lab import Lab, Shape
from ._machine import NotQuiet, Refused, check_quiet
from ._measuring import Control, Measured, Measuring, comparison_of
from ._options import PROGRAM
from ._processes import Subject
from ._rounds import Counters, Round
from ._rules import PHASES, Rule, proposals
from ._seen import Seen, seen_in
from ._usage import Usage

__all__ = ("Outcome", "Session", "Settings", "Trial")

CALIBRATIONS_MAX = 3
PREFLIGHT_S = 5.0
_CPU_MOVED = 0.25
_COMPLETED_MIN = 0.98


@dataclass(frozen=True)
class Settings:
    """What a session is asked to do. All of it is in the journal: a session that is resumed must be
    asked the same."""

    limits: Limits = field(default_factory=Limits)
    rate: float | None = None
    """Arrivals per second; None: found from the knee."""
    target: str | None = None
    """The metric that every change must lower; None: the one of its rule."""
    baseline: Mapping[str, Any] = field(default_factory=dict)
    """Options of the baseline, beyond those of the program."""
    control_pairs: int = 40
    """Of the A/A control."""
    comparisons: int = 20
    alpha: float = 0.05
    seed: int = 1

    def __post_init__(self) -> None:
        if not 20 <= self.control_pairs <= 1000:
            raise ValueError(
                f"control_pairs must be between 20 and 1000, got {self.control_pairs!r}"
            )
        if self.target is not None:
            check_target(self.target)

    def to_dict(self) -> dict[str, Any]:
        limits = {**self.limits.__dict__, "margins": dict(self.limits.margins)}
        return {**self.__dict__, "limits": limits, "baseline": dict(self.baseline)}


@dataclass(frozen=True)
class Trial:
    """One change that was tried, or a check of several."""

    change: Mapping[str, Any]
    why: str
    verdict: Verdict


@dataclass
class Outcome:
    """What a session found."""

    subject: str
    machine: Mapping[str, Any]
    rate: float = 0.0
    noise: Mapping[str, float] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    finals: list[Trial] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)
    final: Measured | None = None
    """The last check that held: side A is the first baseline, side B has all that is kept."""
    last: Measured | None = None
    """The last comparison of all, if nothing is kept."""
    late: float = 0.0
    """Operations that the generator began late, in the A/A control."""


class Session:
    """``Session(subject, lab, settings, journal_path).run()``. :exc:`Refused` if no honest
    answer is possible. `tell` gets lines for people."""

    def __init__(
        self,
        subject: Subject,
        lab: Lab,
        settings: Settings,
        journal: Path,
        *,
        resume: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._lab, self._settings, self._tell = lab, settings, tell
        self._machine = lab.settings()
        self._budget = Budget(settings.alpha, settings.comparisons)
        head = {
            "settings": self._machine,
            "subject": subject.to_dict(),
            "asked": settings.to_dict(),
        }
        self.outcome = Outcome(str(subject), self._machine)
        self._journal = Journal(journal, head, resume=resume)
        self._measuring = Measuring(lab, self._journal, subject.load, settings.seed, tell)
        self._cpus = len(self._machine.get("affinity", ())) or os.cpu_count() or 1
        self._kept: dict[str, Any] = {}
        self._gains: dict[str, Trial] = {}
        self._calibrations = 0

    def run(self, wait_s: float = 0.0) -> Outcome:
        """To its end, from where the journal is. Ends no process: :meth:`close` does. Waits up to
        `wait_s` seconds for a quiet machine."""
        quiet = self._wait_until_quiet(wait_s)
        self._tell(
            f"the machine is quiet: others use {quiet.foreign:.1%} of it, the host takes "
            f"{quiet.stolen:.1%}"
        )
        self._calibrate()
        for phase in range(len(PHASES)):
            self._search(phase)
        self._check_all()
        return self.outcome

    def close(self) -> None:
        self._lab.close()
        self._journal.close()

    def _wait_until_quiet(self, wait_s: float) -> Usage:
        waited = 0.0
        while True:
            try:
                return check_quiet(self._lab.idle, PREFLIGHT_S)
            except NotQuiet as error:
                if waited >= wait_s:
                    raise
                self._tell(f"waiting: {error}")
            waited += PREFLIGHT_S

    # ---- the baseline ----

    def _options(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._settings.baseline, **changes}

    def _calibrate(self) -> None:
        """The rate, and how noisy it is; again if the machine is another than before."""
        self._calibrations += 1
        if self._calibrations > CALIBRATIONS_MAX:
            raise Refused(
                f"the machine changed: the baseline's CPU time per operation moved by more than "
                f"{_CPU_MOVED:.0%}, or it fell behind, {CALIBRATIONS_MAX} times"
            )
        turn, options = f"turn {self._calibrations}", self._options(self._kept)
        rate = self._settings.rate or self._measuring.knee(f"{turn} knee", options, self._cpus)
        self._shape = Shape(rate)
        self._control = self._measuring.control(
            f"{turn} control", options, self._shape, self._settings.control_pairs // 2
        )
        control = self._control
        if control.completed < _COMPLETED_MIN:
            raise Refused(
                f"the baseline ends {control.completed:.0%} of its arrivals at {rate:g}/s: it is "
                "overloaded, and an overloaded server is not tuned but relieved. Lower the rate"
            )
        self._tell(
            "equal processes differ by up to "
            + ", ".join(f"{part:.1%} ({name})" for name, part in _shown(control).items())
        )
        rounds = control.rounds
        self._cpu_ns = _cpu_of(rounds)
        self._seen = self._look(rounds)
        if not self._seen.counters.total and not self._seen.choices:
            raise Refused(
                "no runtime of spargio answers in the program, though SPARGIO_MONITOR=1 is set for "
                "it: without its counters there is nothing to go by"
            )
        self.outcome.rate, self.outcome.noise = rate, control.floors
        self.outcome.late = sum(one.late for one in rounds) / len(rounds)

    def _look(self, rounds: Any) -> Seen:
        found = self._journal.once(f"choices {len(self._kept)}", self._lab.choices)
        choices = {
            name: {**one, "value": self._kept.get(PROGRAM + name, one["value"])}
            for name, one in found.items()
        }
        return seen_in(rounds, self._cpus, self._settings.limits.margins, choices)

    def _has_moved(self, rounds: list[Round]) -> bool:
        """The baseline is not what it was when its noise was measured."""
        if not rounds:
            return False
        ended = sorted(one.completed for one in rounds)[len(rounds) // 2]
        return ended < _COMPLETED_MIN or abs(_cpu_of(rounds) / self._cpu_ns - 1) > _CPU_MOVED

    # ---- one change at a time ----

    def _search(self, phase: int) -> None:
        done: set[str] = set()
        while True:
            rule = next(
                (one for one in proposals(phase, self._seen) if _name(one) not in done), None
            )
            if rule is None:
                return
            done.add(_name(rule))
            self._climb(rule)

    def _climb(self, rule: Rule) -> None:
        """The values of one option, each against what is kept so far."""
        values = rule.values(self._seen)
        value = next(values, None)
        while value is not None and rule.when(self._seen) and self._may_go_on():
            trial = self._try(rule, value)
            try:
                value = values.send(trial.verdict.is_kept)
            except StopIteration:
                return

    def _may_go_on(self) -> bool:
        """The last check needs its part of the error budget, and one for each change to take
        back."""
        return self._budget.left > 1 + len(self._kept)

    def _try(self, rule: Rule, value: Any) -> Trial:
        why = f"{rule.why(self._seen)}: {rule.option} = {value} may lower {rule.target}"
        self._tell(why)
        before = self._options(self._kept)
        after = {**before, rule.option: value}
        measured = self._compare(rule.target, before, after, f"trial {len(self.outcome.trials)}")
        trial = Trial({rule.option: value}, why, measured.verdict)
        self.outcome.trials.append(trial)
        self.outcome.last = measured
        rounds = measured.a
        if trial.verdict.is_kept:
            self._kept[rule.option] = value
            self._gains[rule.option] = trial
            rounds = measured.b
            self._cpu_ns = _cpu_of(rounds)
        elif self._has_moved(rounds):
            self._tell("the baseline is not what it was: measuring the noise again")
            self._calibrate()
            return trial
        if rounds:
            self._seen = self._look(rounds)
        return trial

    def _compare(
        self, target: str, a: Mapping[str, Any], b: Mapping[str, Any], key: str
    ) -> Measured:
        wanted = self._settings.target or target
        comparison = comparison_of(
            wanted, self._settings.limits, self._control, self._budget.take()
        )
        measured = self._measuring.compare(key, a, b, self._shape, comparison)
        found = measured.verdict
        self._tell(f"  {found.kind} after {found.pairs} pairs: {found.reason}")
        return measured

    # ---- all changes together ----

    def _check_all(self) -> None:
        """Against the first baseline, with new processes and other arrivals. What does not hold is
        taken back, the weakest first."""
        left = sorted(self._gains, key=lambda name: self._gains[name].verdict.change)
        while left and self._budget.left:
            changes = {name: self._kept[name] for name in left}
            target = self._gains[left[0]].verdict.target
            key = f"final {len(self.outcome.finals)}"
            measured = self._compare(target, self._options({}), self._options(changes), key)
            why = f"all {len(left)} changes together, against the first baseline"
            self.outcome.finals.append(Trial(changes, why, measured.verdict))
            self.outcome.last = measured
            if measured.verdict.is_kept:
                self.outcome.kept, self.outcome.final = changes, measured
                return
            self._tell(f"  {left[-1]} is taken back")
            left.pop()


def _name(rule: Rule) -> str:
    return f"{rule.option} for {rule.target}"


def _cpu_of(rounds: Any) -> float:
    ordered = sorted(one.cpu_per_operation_ns for one in rounds)
    return max(float(ordered[len(ordered) // 2]), 1.0)


def _shown(control: Control) -> dict[str, float]:
    return {name: control.floors[name] for name in ("cpu", "p50", "p99")}


def counters_of(rounds: list[Round]) -> Counters:
    """All of one side."""
    total = Counters()
    for one in rounds:
        total = total + one.counters
    return total
