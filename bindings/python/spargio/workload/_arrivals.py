"""When operations should begin. An open loop does not wait for answers: a slow server meets the
same arrivals as a fast one, as with users who know nothing of each other."""

from __future__ import annotations

import heapq
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

__all__ = ("Arrivals", "Bursts", "Closed", "Constant", "Poisson", "Ramp", "Replay", "arrivals_of")


class Arrivals(ABC):
    """A sequence of instants, the same for the same seed."""

    kind: str

    @property
    @abstractmethod
    def rate(self) -> float:
        """Mean arrivals per second."""

    @abstractmethod
    def times(self, random: Random) -> Iterator[float]:
        """Seconds since the beginning, ascending; mostly without an end."""

    @abstractmethod
    def scaled(self, rate: float) -> Arrivals:
        """The same shape with another mean rate."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What :func:`arrivals_of` reads."""

    def __repr__(self) -> str:
        words = ", ".join(f"{key}={value!r}" for key, value in self.spec().items() if key != "kind")
        return f"{type(self).__name__}({words})"


class Constant(Arrivals):
    """One arrival every ``1 / rate`` seconds."""

    kind = "constant"

    def __init__(self, rate: float) -> None:
        self._rate = positive("rate", rate)

    @property
    def rate(self) -> float:
        return self._rate

    def times(self, random: Random) -> Iterator[float]:
        for n in itertools.count():
            yield n / self._rate

    def scaled(self, rate: float) -> Constant:
        return Constant(rate)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "rate": self._rate}


class Poisson(Arrivals):
    """Independent users: exponential pauses with a mean of ``1 / rate`` seconds."""

    kind = "poisson"

    def __init__(self, rate: float) -> None:
        self._rate = positive("rate", rate)

    @property
    def rate(self) -> float:
        return self._rate

    def times(self, random: Random) -> Iterator[float]:
        now = 0.0
        while True:
            now += random.expovariate(self._rate)
            yield now

    def scaled(self, rate: float) -> Poisson:
        return Poisson(rate)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "rate": self._rate}


class Bursts(Arrivals):
    """A steady base (Poisson, `base_rate` per second), and `size` more at once every `every`
    seconds, spread over `width` seconds."""

    kind = "bursts"

    def __init__(self, base_rate: float, size: int, every: float, width: float = 0.0) -> None:
        self._base = positive("base_rate", base_rate)
        self._size = int(positive("size", size))
        self._every = positive("every", every)
        if not 0 <= width <= every:
            raise ValueError(f"width must be between 0 and every ({every}), got {width!r}")
        self._width = width

    @property
    def rate(self) -> float:
        return self._base + self._size / self._every

    def times(self, random: Random) -> Iterator[float]:
        return heapq.merge(Poisson(self._base).times(random), self._bursts())

    def _bursts(self) -> Iterator[float]:
        for n in itertools.count(1):
            for i in range(self._size):
                yield n * self._every + self._width * i / self._size

    def scaled(self, rate: float) -> Bursts:
        factor = positive("rate", rate) / self.rate
        size = max(1, round(self._size * factor))
        return Bursts(self._base * factor, size, self._every, self._width)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "base_rate": self._base,
            "size": self._size,
            "every": self._every,
            "width": self._width,
        }


class Ramp(Arrivals):
    """From `start` to `end` arrivals per second over `seconds`, then `end`."""

    kind = "ramp"

    def __init__(self, start: float, end: float, seconds: float) -> None:
        self._start = positive("start", start)
        self._end = positive("end", end)
        self._seconds = positive("seconds", seconds)

    @property
    def rate(self) -> float:
        return (self._start + self._end) / 2

    def times(self, random: Random) -> Iterator[float]:
        slope = (self._end - self._start) / self._seconds
        for n in itertools.count():
            # The n-th arrival: n = start * t + slope * t^2 / 2.
            if slope == 0:
                now = n / self._start
            else:
                root = self._start * self._start + 2 * slope * n
                now = (math.sqrt(root) - self._start) / slope if root > 0 else math.inf
            if now > self._seconds:
                break
            yield now
        for n in itertools.count(1):
            yield self._seconds + n / self._end

    def scaled(self, rate: float) -> Ramp:
        factor = positive("rate", rate) / self.rate
        return Ramp(self._start * factor, self._end * factor, self._seconds)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "start": self._start,
            "end": self._end,
            "seconds": self._seconds,
        }


class Replay(Arrivals):
    """Recorded instants, in seconds, from the first one on; `speed` 2.0 replays twice as fast."""

    kind = "replay"

    def __init__(self, instants: Iterable[float], speed: float = 1.0) -> None:
        given = sorted(float(one) for one in instants)
        if not given:
            raise ValueError("instants must have one at least, got none")
        self._instants = [one - given[0] for one in given]
        self._speed = positive("speed", speed)

    @classmethod
    def from_file(cls, path: str | Path, speed: float = 1.0) -> Replay:
        """One number of seconds per line; what follows it, and lines that begin with ``#``, are
        ignored. ``ValueError`` names the line that is no number."""
        instants = []
        for number, line in enumerate(Path(path).read_text().splitlines(), 1):
            words = line.replace(",", " ").split()
            if not words or words[0].startswith("#"):
                continue
            try:
                instants.append(float(words[0]))
            except ValueError:
                raise ValueError(
                    f"{path}:{number} must begin with a number of seconds, got {line!r}"
                ) from None
        return cls(instants, speed)

    @property
    def rate(self) -> float:
        return self._speed * len(self._instants) / max(self._instants[-1], 1e-9)

    def times(self, random: Random) -> Iterator[float]:
        for one in self._instants:
            yield one / self._speed

    def scaled(self, rate: float) -> Replay:
        return Replay(self._instants, self._speed * positive("rate", rate) / self.rate)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "instants": self._instants, "speed": self._speed}


class Closed(Arrivals):
    """No arrivals: each connection sends its next request when it has the answer to the last one,
    and `think` seconds have passed. For comparison only: a server that stalls stops its own load,
    so the time that users would have waited is never seen."""

    kind = "closed"

    def __init__(self, think: float = 0.0) -> None:
        if not 0 <= think < math.inf:
            raise ValueError(f"think must be 0 or more seconds, got {think!r}")
        self.think = think

    @property
    def rate(self) -> float:
        return 0.0

    def times(self, random: Random) -> Iterator[float]:
        raise TypeError("a closed loop has no arrivals")

    def scaled(self, rate: float) -> Closed:
        raise TypeError("a closed loop has no rate: choose open arrivals")

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "think": self.think}


def positive(name: str, value: float) -> float:
    try:
        allowed = 0 < value < math.inf
    except TypeError:
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not allowed:
        raise ValueError(f"{name} must be more than 0, got {value!r}")
    return value


_KINDS: dict[str, type[Arrivals]] = {
    one.kind: one for one in (Bursts, Closed, Constant, Poisson, Ramp, Replay)
}


def arrivals_of(spec: Mapping[str, Any]) -> Arrivals:
    """From a ``spec()``; a replay may name a ``file``. ``ValueError`` for an unknown kind."""
    values = dict(spec)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"arrivals must be one of {', '.join(sorted(_KINDS))}, got {kind!r}")
    if kind == "replay" and "file" in values:
        return Replay.from_file(values.pop("file"), **values)
    return _KINDS[kind](**values)
