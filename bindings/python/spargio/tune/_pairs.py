"""Blocks of four rounds, ABBA or BAAB by coin. A pair with a mark on either side is measured again;
a mark says that others disturbed it, and nothing of how the server did."""

from __future__ import annotations

from random import Random

from ._lab import Lab, Shape
from ._machine import NotQuiet
from ._rounds import Block, Pair, Round

__all__ = ("REDONE_SHARE", "Pairs")

REDONE_SHARE = 0.25
"""Pairs that may be measured again, as a part of all."""
_REDONE_FREE = 6
"""So many may be, before the share counts."""


class Pairs:
    """The pairs of one comparison. `redo` is False where a noisy series is what is wanted."""

    def __init__(self, lab: Lab, shape: Shape, *, redo: bool = True) -> None:
        self._lab, self._shape, self._redo = lab, shape, redo
        self.measured = 0
        self.redone = 0

    def block(self, random: Random, seed: int) -> Block:
        """Both rounds of a pair have the same arrivals."""
        first, second = ("AB", "BA") if random.random() < 0.5 else ("BA", "AB")
        return [self._pair(first, seed), self._pair(second, seed + 1)]

    def _pair(self, order: str, seed: int) -> Pair:
        redone = 0
        while True:
            rounds: dict[str, Round] = {
                side: self._lab.round(side, self._shape, seed) for side in order
            }
            self.measured += 1
            pair = Pair(rounds["A"], rounds["B"], redone)
            if not self._redo or not (pair.a.is_marked or pair.b.is_marked):
                return pair
            redone += 1
            self.count_redone(pair)

    def count_redone(self, pair: Pair) -> None:
        """:exc:`NotQuiet` if it is too many."""
        self.redone += 1
        if self.redone > max(_REDONE_FREE, REDONE_SHARE * self.measured):
            foreign = max(pair.a.foreign, pair.b.foreign)
            stolen = max(pair.a.stolen, pair.b.stolen)
            raise NotQuiet(
                f"the machine changed: {self.redone} of {self.measured} pairs were disturbed (in "
                f"the last one others used {foreign:.0%} of the CPUs, the host took {stolen:.0%})"
            )
