"""What the counters of the tuned runtime say, in the words that the rules use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._rounds import Counters, Round

__all__ = ("Seen", "seen_in")

_IDLE_SHARE = 0.25
_BUSY_MIN = 0.1


@dataclass(frozen=True)
class Seen:
    """A baseline under the load."""

    counters: Counters
    cpus: int
    """Of the machine, that this process may use."""
    cpu: float = 0.0
    """CPUs that the tuned process used."""
    overloaded: int = 0
    """Operations that the client saw refused."""
    margins: Mapping[str, float] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the program declared: docs/tuning.md, "Choices of the program"."""

    def __getitem__(self, name: str) -> int:
        """A counter's total; 0 for one that an older library lacks."""
        return self.counters.total.get(name, 0)

    def option(self, name: str) -> int:
        """The value in force."""
        return self.counters.options.get(name, 0)

    def rate(self, name: str) -> float:
        """Per second."""
        return self[name] / self.counters.seconds if self.counters.seconds else 0.0

    def share(self, part: str, whole: str) -> float:
        return self[part] / self[whole] if self[whole] else 0.0

    @property
    def shards(self) -> int:
        return len(self.counters.shards)

    @property
    def busy(self) -> list[float]:
        """The part of the time that each shard was awake."""
        ns = self.counters.seconds * 1e9
        return [one["busy_ns"] / ns for one in self.counters.shards] if ns else []

    @property
    def is_uneven(self) -> bool:
        """One shard does nearly all of the work."""
        busy = sorted(self.busy)
        return len(busy) > 1 and busy[-1] > _BUSY_MIN and busy[0] < _IDLE_SHARE * busy[-1]

    @property
    def awake(self) -> float:
        """CPUs that the shards would use if they got one whenever they are awake."""
        return sum(self.busy)

    @property
    def refused(self) -> int:
        return max(self["stealable_backpressure"], self.overloaded)

    @property
    def never_sleeps(self) -> bool:
        """The shards spin: no time asleep, and passes that find nothing to run."""
        return (
            self.shards > 0
            and self.share("idle_ns", "busy_ns") < 0.01
            and (self["passes"] > 10 * max(self["polls"], 1))
        )


def seen_in(
    rounds: Sequence[Round],
    cpus: int,
    margins: Mapping[str, float],
    choices: Mapping[str, Mapping[str, Any]],
) -> Seen:
    """All rounds of one side together."""
    counters, cpu_ns, overloaded = Counters(), 0, 0
    for one in rounds:
        counters = counters + one.counters
        cpu_ns += one.cpu_ns
        overloaded += one.latency.overloaded
    cpu = cpu_ns / 1e9 / counters.seconds if counters.seconds else 0.0
    return Seen(counters, cpus, cpu, overloaded, margins, choices)
