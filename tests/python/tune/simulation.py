"""Sessions of comparisons over a recorded A/A control: how often the tuner would be wrong, and how
often it finds what is there. As a command with as many as one likes:

    python tests/python/tune/simulation.py [SESSIONS]
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from spargio.tune import Comparison, Evidence, Limits
from spargio.tune._budget import Budget
from spargio.tune._statistics import scale_of

RECORDED = Path(__file__).parent / "data" / "control.json"
"""From `python bench/tune_sessions.py record`, on two CPUs that others used too."""
METRICS = ("cpu", "p50", "p95", "p99", "p999", "max")
CONTROL_BLOCKS = 20

Block = Mapping[str, Sequence[float]]


def recorded() -> dict[str, list[Block]]:
    found: dict[str, list[Block]] = json.loads(RECORDED.read_text())
    return found


def of(blocks: Sequence[Block], name: str) -> list[Sequence[float]]:
    return [block[name] for block in blocks if name in block]


def scales_of(blocks: Sequence[Block]) -> dict[str, float]:
    return {name: scale_of(of(blocks, name)) for name in METRICS}


class Drawn:
    """Contiguous runs of the recorded blocks, with the signs that a new coin gives them. `effect` is
    added to each metric: log(B / A) of the candidate."""

    def __init__(
        self, blocks: Sequence[Block], random: Random, effect: Mapping[str, float]
    ) -> None:
        self._blocks, self._random, self._effect = blocks, random, effect
        self._at = random.randrange(len(blocks))

    def block(self) -> dict[str, list[float]]:
        block = self._blocks[self._at % len(self._blocks)]
        self._at += 1
        sign = self._random.choice((1, -1))
        return {
            name: [sign * one + self._effect.get(name, 0.0) for one in block[name]]
            for name in METRICS
            if name in block
        }


def false_gain(blocks: Sequence[Block], scale: float, target: str, random: Random) -> bool:
    """Whether a session of 20 candidates that change nothing has one whose target looks better. The
    gates, which would refuse some of them, are left out, so this is an upper bound."""
    budget, limits = Budget(), Limits()
    series = of(blocks, target)
    while budget.left:
        enough = 1 / budget.take()
        evidence = Evidence(math.log1p(-limits.gain), scale, above=False)
        at = random.randrange(len(series))
        for n in range(limits.pairs_max // 2):
            block = series[(at + n) % len(series)]
            if random.random() < 0.5:
                block = [-one for one in block]
            if evidence.add(block) >= enough:
                return True
    return False


def verdict(
    blocks: Sequence[Block],
    effect: Mapping[str, float],
    random: Random,
    target: str = "cpu",
    limits: Limits | None = None,
) -> str:
    """Of one comparison, with all gates."""
    comparison = Comparison(target, limits or Limits(), scales_of(blocks))
    drawn = Drawn(blocks, random, effect)
    while (found := comparison.verdict()) is None:
        block = drawn.block()
        pooled = {name: block.pop(name) for name in ("p999", "max") if name in block}
        comparison.add(block, len(block["cpu"]))
        comparison.add(pooled, 0)
    return found.kind


def quiet(blocks: Sequence[Block], part: float) -> list[Block]:
    """The same noise, but smaller."""
    return [
        {name: [one * part for one in block[name]] for name in METRICS if name in block}
        for block in blocks
    ]


def main() -> None:
    sessions = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for name, blocks in recorded().items():
        scales = scales_of(blocks)
        for target in ("cpu", "p50", "p99"):
            random = Random(1)
            wrong = sum(false_gain(blocks, scales[target], target, random) for _ in range(sessions))
            print(f"{name} {target}: false gain in {wrong} of {sessions} sessions")
        for part in (1.0, 0.2):
            for effect in (
                {},
                {"cpu": math.log(0.9)},
                {"cpu": math.log(0.7)},
                {"cpu": math.log(0.85), "p99": math.log(1.3), "p999": math.log(1.3)},
                {"cpu": math.log(0.85), "p99": math.log(2), "p999": math.log(2)},
            ):
                random, count = Random(2), max(sessions // 50, 20)
                kinds = [verdict(quiet(blocks, part), effect, random) for _ in range(count)]
                found = {kind: kinds.count(kind) / count for kind in sorted(set(kinds))}
                shown = {key: round(math.exp(value), 2) for key, value in effect.items()}
                print(f"{name} noise x {part}, {shown}: {found}")


if __name__ == "__main__":
    main()
