"""Where a task runs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from ._ffi import constants
from ._records import dataclass

__all__ = ("TaskPlacement",)

_KEY_MASK = (1 << 63) - 1


@dataclass(frozen=True)
class TaskPlacement:
    """Chosen at submission. Only stealable tasks may be taken by an idle shard, and only before
    they have begun.

    ``Pinned(shard)``: there, never elsewhere. ``RoundRobin``: the next shard in turn, then it
    stays. ``Sticky(key)``: equal keys, equal shard. ``Stealable``: preferred shard in
    turn, but with a GIL the shard of the task that spawns.
    ``StealablePreferred(shard)``: preferred shard given.
    """

    kind: int
    value: int = 0

    RoundRobin: ClassVar[TaskPlacement]
    Stealable: ClassVar[TaskPlacement]

    @staticmethod
    def Pinned(shard: int) -> TaskPlacement:
        """On `shard`, never elsewhere."""
        return TaskPlacement(constants.PLACE_PINNED, shard)

    @staticmethod
    def Sticky(key: Hashable) -> TaskPlacement:
        """Equal keys, equal shard."""
        return TaskPlacement(constants.PLACE_STICKY, hash(key) & _KEY_MASK)

    @staticmethod
    def StealablePreferred(shard: int) -> TaskPlacement:
        """Preferably on `shard`; an idle one may take it before it begins."""
        return TaskPlacement(constants.PLACE_STEALABLE_PREFERRED, shard)


TaskPlacement.RoundRobin = TaskPlacement(constants.PLACE_ROUND_ROBIN)
TaskPlacement.Stealable = TaskPlacement(constants.PLACE_STEALABLE)
