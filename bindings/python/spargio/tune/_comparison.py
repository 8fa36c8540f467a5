"""One comparison of a candidate (B) with a baseline (A): a target that must be better, and gates
that must be shown not to be worse. What is not shown counts as no."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._statistics import Evidence

__all__ = ("METRICS", "Comparison", "Limits", "Verdict")

COUNTED = ("errors", "backpressure")
METRICS = ("cpu", "p50", "p95", "p99", "p999", "max", *COUNTED)
"""``cpu`` is CPU time per operation; ``errors`` and ``backpressure`` are counts; the others are
latencies from the intended start. There is no mean: it hides what the tails say."""
MARGINS: Mapping[str, float] = {
    "cpu": 0.05,
    "p50": 0.05,
    "p95": 0.10,
    "p99": 0.10,
    "p999": 0.25,
    "max": 1.00,
    "errors": 0.10,
    "backpressure": 0.10,
}
"""By how much each may rise. Never widened by the tuner; ``max`` must only not be shown worse."""
HARM_ONLY = ("max",)
_COUNTED_MORE = 3


@dataclass(frozen=True)
class Limits:
    """What a comparison asks for, fixed before its first block."""

    gain: float = 0.03
    """The target must be better by more than this part."""
    margins: Mapping[str, float] = field(default_factory=lambda: dict(MARGINS))
    alpha: float = 0.0025
    """How often "better" may be said of what is not, at most."""
    gate_alpha: float = 0.05
    """The same of one gate. All gates must hold, so it is not divided among them."""
    pairs_min: int = 12
    pairs_max: int = 120

    def __post_init__(self) -> None:
        if not 0 < self.gain < 1:
            raise ValueError(f"gain must be between 0 and 1, got {self.gain!r}")
        unknown = set(self.margins) - set(METRICS)
        if unknown:
            raise ValueError(f"margins must be of {', '.join(METRICS)}, got {sorted(unknown)}")
        for name, margin in self.margins.items():
            if not 0 < margin <= 10:
                raise ValueError(f"margin of {name} must be between 0 and 10, got {margin!r}")
        if not 2 <= self.pairs_min <= self.pairs_max:
            raise ValueError(
                f"pairs_min must be between 2 and pairs_max ({self.pairs_max}), got "
                f"{self.pairs_min}"
            )


@dataclass(frozen=True)
class Verdict:
    """``better``, ``worse``, ``no gain``, ``undecided``, or ``failed``: it did not run."""

    kind: str
    reason: str
    """A sentence: which metric decided, or was not shown."""
    pairs: int
    target: str
    change: float = 0.0
    """Of the target: the median ratio B / A, less 1."""
    gates: Mapping[str, float] = field(default_factory=dict)
    """Evidence that each did not rise by its margin: 20 is enough."""

    @property
    def is_kept(self) -> bool:
        return self.kind == "better"

    def to_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "gates": dict(self.gates)}


def check_target(name: str) -> None:
    """``ValueError`` for what no change can be asked to lower."""
    if name not in METRICS or name in HARM_ONLY:
        allowed = ", ".join(one for one in METRICS if one not in HARM_ONLY)
        raise ValueError(f"target must be one of {allowed}, got {name!r}")


class _Gate:
    def __init__(self, name: str, margin: float, scale: float) -> None:
        rise = math.log1p(margin)
        self.name, self.margin = name, margin
        self.holds = Evidence(rise, scale, above=False)
        self.broken = Evidence(rise, scale, above=True)

    def add(self, block: Sequence[float]) -> None:
        self.holds.add(block)
        self.broken.add(block)


class Comparison:
    """Takes the differences of block after block, until :meth:`verdict` says something. `scales`
    are those of the A/A control."""

    def __init__(self, target: str, limits: Limits, scales: Mapping[str, float]) -> None:
        check_target(target)
        self.target, self.limits = target, limits
        self.pairs = 0
        gain = math.log1p(-limits.gain)
        self._better = Evidence(gain, scales[target], above=False)
        self._no_gain = Evidence(gain, scales[target], above=True)
        self._gates = [
            _Gate(name, limits.margins.get(name, MARGINS[name]), scales[name])
            for name in METRICS
            if name in scales
        ]
        self._differences: list[float] = []
        self._counts = {name: [0, 0] for name in COUNTED}

    def add(self, differences: Mapping[str, Sequence[float]], pairs: int = 2) -> None:
        """The log-ratios B / A of one block of `pairs` pairs. A metric that is pooled over several
        blocks comes with the last of them, with 0 pairs."""
        self.pairs += pairs
        if (found := differences.get(self.target)) is not None:
            self._better.add(found)
            self._no_gain.add(found)
            self._differences += found
        for gate in self._gates:
            if (found := differences.get(gate.name)) is not None:
                gate.add(found)

    def count(self, name: str, a: int, b: int) -> None:
        """Errors or refusals of a block, as they are: see :meth:`_more`."""
        self._counts[name][0] += a
        self._counts[name][1] += b

    def _more(self, name: str) -> bool:
        """B has plainly more of them: no evidence from ratios may outvote that."""
        a, b = self._counts[name]
        margin = self.limits.margins.get(name, MARGINS[name])
        return b > a * (1 + margin) + _COUNTED_MORE

    def verdict(self) -> Verdict | None:
        """None: more blocks are needed."""
        if self.pairs < self.limits.pairs_min:
            return None
        enough, gate_enough = 1 / self.limits.alpha, 1 / self.limits.gate_alpha
        for gate in self._gates:
            if gate.broken.best >= gate_enough:
                return self._said("worse", f"{gate.name} rose by more than {gate.margin:.0%}")
        for name in COUNTED:
            if self._more(name):
                a, b = self._counts[name]
                return self._said("worse", f"{name} rose from {a} to {b}")
        if self._better.best >= enough and not self._open(gate_enough):
            gain = f"{self.target} fell by more than {self.limits.gain:.1%}"
            return self._said("better", f"{gain}, and nothing else was worse")
        if self._no_gain.best >= gate_enough:
            return self._said("no gain", f"{self.target} fell by less than {self.limits.gain:.1%}")
        if self.pairs < self.limits.pairs_max:
            return None
        return self._said("undecided", self._undecided(enough, gate_enough))

    def _open(self, enough: float) -> list[_Gate]:
        return [
            gate
            for gate in self._gates
            if gate.name not in HARM_ONLY and gate.name != self.target and gate.holds.best < enough
        ]

    def _undecided(self, enough: float, gate_enough: float) -> str:
        if self._better.best < enough:
            return f"{self.target} was not shown to fall by more than {self.limits.gain:.1%}"
        names = " and ".join(
            f"{gate.name} was not shown to stay within {gate.margin:.0%}"
            for gate in self._open(gate_enough)
        )
        return f"{self.target} fell, but {names}"

    @property
    def change(self) -> float:
        """The target's median ratio B / A so far, less 1."""
        if not self._differences:
            return 0.0
        ordered = sorted(self._differences)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        return math.expm1(middle)

    def _said(self, kind: str, reason: str) -> Verdict:
        gates = {gate.name: gate.holds.best for gate in self._gates if gate.name != self.target}
        return Verdict(kind, reason, self.pairs, self.target, self.change, gates)
