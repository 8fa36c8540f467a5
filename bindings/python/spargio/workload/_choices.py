"""What an operation is: its name from a mix, its size and its key from distributions."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from ._arrivals import positive

__all__ = (
    "Empirical",
    "Fixed",
    "HotSet",
    "Keys",
    "LogNormal",
    "Mix",
    "Sizes",
    "UniformKeys",
    "UniformSizes",
    "Zipf",
    "keys_of",
    "sizes_of",
)

SIZE_MAX = 1 << 30


class Mix:
    """Names of operations by weight: ``Mix({"get": 9, "put": 1})``."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        if not weights:
            raise ValueError("weights must name one operation at least, got none")
        self.weights = {
            str(name): positive(f"the weight of {name!r}", weight)
            for name, weight in weights.items()
        }
        self._names = list(self.weights)
        self._cumulated = list(itertools.accumulate(self.weights.values()))

    def draw(self, random: Random) -> str:
        if len(self._names) == 1:
            return self._names[0]
        place = random.random() * self._cumulated[-1]
        return self._names[bisect_left(self._cumulated, place)]


class Sizes(ABC):
    """Payload sizes in bytes."""

    kind: str

    @abstractmethod
    def draw(self, random: Random) -> int: ...

    @abstractmethod
    def spec(self) -> dict[str, Any]: ...


class Fixed(Sizes):
    """Always the same size."""

    kind = "fixed"

    def __init__(self, size: int) -> None:
        self._size = _size("size", size)

    def draw(self, random: Random) -> int:
        return self._size

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self._size}


class UniformSizes(Sizes):
    """Each size from `least` to `most` equally often."""

    kind = "uniform"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = _size("least", least), _size("most", most)
        if least > most:
            raise ValueError(f"least must be at most {most}, got {least}")

    def draw(self, random: Random) -> int:
        return random.randint(self._least, self._most)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "least": self._least, "most": self._most}


class LogNormal(Sizes):
    """Many small ones and few large ones, as files and messages are: half are below `median`, and
    `sigma` says how far they spread (1.0: a sixth are 2.7 times the median or more)."""

    kind = "lognormal"

    def __init__(self, median: int, sigma: float = 1.0, most: int = SIZE_MAX) -> None:
        self._median, self._most = _size("median", median), _size("most", most)
        self._sigma = positive("sigma", sigma)

    def draw(self, random: Random) -> int:
        return min(self._most, round(random.lognormvariate(math.log(self._median), self._sigma)))

    def spec(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "median": self._median,
            "sigma": self._sigma,
            "most": self._most,
        }


class Empirical(Sizes):
    """Sizes that were observed, each as often as it is listed."""

    kind = "empirical"

    def __init__(self, sizes: Iterable[int]) -> None:
        self._sizes = [_size("a size", size) for size in sizes]
        if not self._sizes:
            raise ValueError("sizes must have one at least, got none")

    @classmethod
    def from_file(cls, path: str | Path) -> Empirical:
        """Whole numbers, divided by white space."""
        return cls(int(word) for word in Path(path).read_text().split())

    def draw(self, random: Random) -> int:
        return random.choice(self._sizes)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "sizes": self._sizes}


class Keys(ABC):
    """Whole numbers from 0 to ``count - 1``, some more often than others."""

    kind: str
    count: int

    @abstractmethod
    def draw(self, random: Random) -> int: ...

    @abstractmethod
    def spec(self) -> dict[str, Any]: ...


class UniformKeys(Keys):
    """All equally often."""

    kind = "uniform"

    def __init__(self, count: int) -> None:
        self.count = _count(count)

    def draw(self, random: Random) -> int:
        return random.randrange(self.count)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "count": self.count}


class Zipf(Keys):
    """Key n (from 1) as often as ``1 / n ** exponent``: what popularity looks like."""

    kind = "zipf"

    def __init__(self, count: int, exponent: float = 1.0) -> None:
        self.count = _count(count)
        self._exponent = positive("exponent", exponent)
        weights = (1 / n**exponent for n in range(1, self.count + 1))
        self._cumulated = list(itertools.accumulate(weights))

    def draw(self, random: Random) -> int:
        return bisect_left(self._cumulated, random.random() * self._cumulated[-1])

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "count": self.count, "exponent": self._exponent}


class HotSet(Keys):
    """The first `hot` part of the keys gets `share` of the operations."""

    kind = "hot"

    def __init__(self, count: int, hot: float = 0.01, share: float = 0.9) -> None:
        self.count = _count(count)
        for name, value in (("hot", hot), ("share", share)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be more than 0, at most 1, got {value!r}")
        self._hot, self._share = hot, share
        self._hot_count = max(1, round(count * hot))

    def draw(self, random: Random) -> int:
        if random.random() < self._share or self._hot_count == self.count:
            return random.randrange(self._hot_count)
        return random.randrange(self._hot_count, self.count)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "count": self.count, "hot": self._hot, "share": self._share}


def _size(name: str, value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not 0 < value <= SIZE_MAX:
        raise ValueError(f"{name} must be between 1 and {SIZE_MAX} bytes, got {value}")
    return value


def _count(value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"count must be an integer, got {value!r}")
    if not 0 < value <= 10_000_000:
        raise ValueError(f"count must be between 1 and 10000000, got {value}")
    return value


_SIZES: dict[str, type[Sizes]] = {
    one.kind: one for one in (Empirical, Fixed, LogNormal, UniformSizes)
}
_KEYS: dict[str, type[Keys]] = {one.kind: one for one in (HotSet, UniformKeys, Zipf)}


def sizes_of(spec: Mapping[str, Any] | int) -> Sizes:
    """From a ``spec()``, or a number of bytes. ``ValueError`` for an unknown kind."""
    if isinstance(spec, int):
        return Fixed(spec)
    values = dict(spec)
    kind = values.pop("kind", None)
    if kind not in _SIZES:
        raise ValueError(f"sizes must be one of {', '.join(sorted(_SIZES))}, got {kind!r}")
    if kind == "empirical" and "file" in values:
        return Empirical.from_file(values["file"])
    return _SIZES[kind](**values)


def keys_of(spec: Mapping[str, Any] | int) -> Keys:
    """From a ``spec()``, or a number of keys. ``ValueError`` for an unknown kind."""
    if isinstance(spec, int):
        return UniformKeys(spec)
    values = dict(spec)
    kind = values.pop("kind", None)
    if kind not in _KEYS:
        raise ValueError(f"keys must be one of {', '.join(sorted(_KEYS))}, got {kind!r}")
    return _KEYS[kind](**values)
