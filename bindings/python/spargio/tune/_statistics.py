"""The sequential test that decides a comparison. Evidence is an e-process: it may be looked at
after each block, and under its null it ever reaches ``1 / alpha`` with a probability of at most
`alpha`.

Each block of rounds is ABBA or BAAB by coin, so under the null "B is `limit` times A" the
differences of the block, less the limit, change their signs all together with the coin. The bet on
a block is divided by its mean over the two sides of the coin. So the guarantee rests on the coin
alone: not on any distribution, and not on independent blocks. A difference counts for at most one
scale (the median absolute deviation of an A/A control), so that no stall decides anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median

__all__ = ("Evidence", "evidence_of", "floor_of", "log_ratio", "scale_of")

BETS = (0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Parts of the capital that are set on a block; the evidence is the mean of what each has made."""
SCALE_MIN = 0.005
"""Of log-ratios: what is quieter than half a percent is not told apart from rounding."""
LONGEST = 5.0
_FLOOR_EVIDENCE = 20.0


class Evidence:
    """That the differences are below `limit` (``above=False``) or above it. `scale` must be known
    before the first block. One thread at a time."""

    __slots__ = ("_capitals", "_limit", "_slope", "best")

    def __init__(self, limit: float, scale: float, *, above: bool) -> None:
        self._limit = limit
        self._slope = (1.0 if above else -1.0) / max(scale, SCALE_MIN)
        self._capitals = [1.0] * len(BETS)
        self.best = 1.0
        """The greatest value so far."""

    @property
    def value(self) -> float:
        """1 before the first block."""
        return sum(self._capitals) / len(BETS)

    def add(self, differences: Iterable[float]) -> float:
        """The log-ratios B / A of one block, which share its coin. Returns the new value."""
        parts = []
        for difference in differences:
            part = (difference - self._limit) * self._slope
            parts.append(1.0 if part > 1.0 else -1.0 if part < -1.0 else part)
        capitals = self._capitals
        if len(parts) == 2:  # Nearly all: it is worth two lines.
            total, product = parts[0] + parts[1], parts[0] * parts[1]
            for n, bet in enumerate(BETS):
                even = 1.0 + bet * bet * product
                capitals[n] *= (even + bet * total) / even
        else:
            for n, bet in enumerate(BETS):
                up = math.prod(1.0 + bet * part for part in parts)
                down = math.prod(1.0 - bet * part for part in parts)
                capitals[n] *= 2.0 * up / (up + down)
        value = self.value
        self.best = max(self.best, value)
        return value


def evidence_of(
    blocks: Iterable[Iterable[float]], limit: float, scale: float, *, above: bool
) -> float:
    """What a whole series is worth."""
    evidence = Evidence(limit, scale, above=above)
    for block in blocks:
        evidence.add(block)
    return evidence.value


def scale_of(blocks: Iterable[Sequence[float]]) -> float:
    """The median absolute deviation of an A/A control's differences from 0, which is their median
    by the coin."""
    every = [abs(one) for block in blocks for one in block]
    return max(median(every), SCALE_MIN) if every else 1.0


def floor_of(blocks: Sequence[Sequence[float]], scale: float) -> float:
    """The least difference that an A/A control rules out between two equal processes, in either
    direction, with evidence of 20: no smaller gain may be claimed. `LONGEST` if it rules out
    none."""

    def rules_out(limit: float) -> bool:
        return (
            evidence_of(blocks, limit, scale, above=False) >= _FLOOR_EVIDENCE
            and evidence_of(blocks, -limit, scale, above=True) >= _FLOOR_EVIDENCE
        )

    return _least(rules_out, LONGEST)


def _least(holds: Callable[[float], bool], most: float) -> float:
    """The least value for which a monotonic condition holds, to a thousandth; else `most`."""
    if not holds(most):
        return most
    low, high = 0.0, most
    while high - low > 0.001:
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def log_ratio(b: float, a: float) -> float:
    """log(B / A); what is 0 counts as the smallest value that can be told from it."""
    return math.log(max(b, 1e-9) / max(a, 1e-9))
