"""Measures what a session asks for, or takes it from the journal: the knee, an A/A control, and
comparisons. Processes are started only when something is really measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from spargio.latency import Latencies
from spargio.workload import Load, find_knee

from ._comparison import COUNTED, METRICS, Comparison, Limits, Verdict
from ._journal import Journal
from ._lab import Lab, Shape
from ._machine import Refused, check_same
from ._pairs import Pairs
from ._processes import ProcessFailed
from ._rounds import Block, Differences, Pair, Round, merged
from ._statistics import LONGEST, floor_of, scale_of

__all__ = ("Control", "Measured", "Measuring")

RESTART_BLOCKS = 8
"""Both processes are started anew: two of them may differ by chance, by where their memory is."""
_COUNTED_SCALE_MIN = 0.25
_KNEE_STEP_S = 2.0
_FEW_CPUS, _KNEE_SHARE, _KNEE_SHARE_FEW = 4, 0.6, 0.4

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Control:
    """What an A/A control says of the noise."""

    scales: Mapping[str, float]
    floors: Mapping[str, float]
    """By metric: the part by which two equal processes may differ. No smaller gain is claimed."""
    rounds: Sequence[Round]
    completed: float
    """The median part of the arrivals that ended in time."""


@dataclass
class Measured:
    """Both sides of a comparison."""

    verdict: Verdict
    a: list[Round] = field(default_factory=list)
    b: list[Round] = field(default_factory=list)

    def latencies(self) -> tuple[Latencies, Latencies]:
        return merged(one.latency for one in self.a), merged(one.latency for one in self.b)


class Measuring:
    """For one session. `tell` gets lines for people."""

    def __init__(
        self, lab: Lab, journal: Journal, load: Load, seed: int, tell: Callable[[str], None]
    ) -> None:
        self._lab, self._journal, self._load = lab, journal, load
        self._seed, self._tell = seed, tell
        self._running: dict[str, tuple[Any, ...]] = {}
        self._settings = lab.settings()

    def knee(self, key: str, options: Options, cpus: int) -> float:
        """The rate at which comparisons run: a part of the highest one that is served."""

        def measure() -> dict[str, Any]:
            self._want("A", options, key)
            found = find_knee(
                self._load,
                self._load.arrivals.rate,
                step_seconds=_KNEE_STEP_S,
                run=lambda load: self._lab.load("A", load),
                tell=self._tell,
            )
            return {"rate": found.rate, "limited_by": found.limited_by}

        knee = self._journal.once(key, measure)
        if not knee["rate"]:
            raise Refused(
                f"no rate is served well ({knee['limited_by']}), from "
                f"{self._load.arrivals.rate:g}/s on: give the rate with --rate"
            )
        share = _KNEE_SHARE if cpus >= _FEW_CPUS else _KNEE_SHARE_FEW
        self._tell(
            f"the knee is at {knee['rate']:.1f}/s ({knee['limited_by']}); the load is {share:.0%} "
            "of it"
        )
        rate: float = knee["rate"] * share
        return rate

    def control(self, key: str, options: Options, shape: Shape, blocks: int) -> Control:
        """Two equal processes."""
        pairs = Pairs(self._lab, shape)
        measured = [self._equal(f"{key} block {n}", pairs, options) for n in range(blocks)]
        found: dict[str, list[list[float]]] = {name: [] for name in METRICS}
        differences = Differences()
        for block in measured:
            for part in differences.add(block):
                for name, values in part.items():
                    found[name].append(values)
        scales = {name: scale_of(values) for name, values in found.items()}
        for name in COUNTED:
            scales[name] = max(scales[name], _COUNTED_SCALE_MIN)
        floors = {name: _part(floor_of(found[name], scales[name])) for name in METRICS}
        rounds = [one for block in measured for pair in block for one in (pair.a, pair.b)]
        ended = sorted(one.completed for one in rounds)
        return Control(scales, floors, rounds, ended[len(ended) // 2])

    def compare(
        self,
        key: str,
        a: Options,
        b: Options,
        shape: Shape,
        comparison: Comparison,
    ) -> Measured:
        """Blocks of pairs until there is a verdict."""
        check_same(self._settings, self._lab.settings())
        pairs, differences = Pairs(self._lab, shape), Differences()
        found = Measured(Verdict("undecided", "", 0, comparison.target))
        n = 0
        while (verdict := comparison.verdict()) is None:
            block = self._block(f"{key} block {n}", pairs, a, b)
            if isinstance(block, str):
                found.verdict = Verdict("failed", block, comparison.pairs, comparison.target)
                return found
            n += 1
            found.a += [pair.a for pair in block]
            found.b += [pair.b for pair in block]
            own, pooled = differences.add(block)
            comparison.add(own, len(block))
            comparison.add(pooled, 0)
            for name in COUNTED:
                comparison.count(
                    name,
                    sum(pair.a.counted(name) for pair in block),
                    sum(pair.b.counted(name) for pair in block),
                )
        found.verdict = verdict
        return found

    def _equal(self, key: str, pairs: Pairs, options: Options) -> Block:
        block = self._block(key, pairs, options, options)
        if isinstance(block, str):
            raise Refused(f"the program does not run as it is: {block}")
        return block

    def _block(self, key: str, pairs: Pairs, a: Options, b: Options) -> Block | str:
        """A text: the candidate failed."""
        turn, n = key.rsplit(" block ", 1)
        random = Random(f"{self._seed} {key}")

        def measure() -> dict[str, Any]:
            again = int(n) // RESTART_BLOCKS
            try:
                self._want("A", a, turn, again)
                self._want("B", b, turn, again)
                block = pairs.block(random, random.randrange(1 << 31))
            except ProcessFailed as error:
                return {"failed": str(error)}
            return {"pairs": [pair.to_dict() for pair in block]}

        value = self._journal.once(key, measure)
        if "failed" in value:
            return str(value["failed"])
        return [Pair.from_dict(one) for one in value["pairs"]]

    def _want(self, side: str, options: Options, *turn: Any) -> None:
        """Starts a side, unless it runs with these options for the same turn."""
        wanted = (dict(options), *turn)
        if self._running.get(side) != wanted:
            self._running.pop(side, None)
            self._lab.start(side, options)
            self._running[side] = wanted


def _part(log: float) -> float:
    """A log-ratio as a part of A."""
    return -math.expm1(-min(log, LONGEST))


def comparison_of(target: str, limits: Limits, control: Control, alpha: float) -> Comparison:
    """No gain below the noise floor is claimed."""
    gain = min(max(limits.gain, control.floors[target]), 0.99)
    return Comparison(target, replace(limits, gain=gain, alpha=alpha), control.scales)
