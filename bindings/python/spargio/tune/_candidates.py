"""Which values of one option are tried, one after the other."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from typing import Any

__all__ = ("Values", "climb", "listed")

Values = Generator[Any, bool, None]
"""Yields a value; what is sent back says whether it was kept."""

_FACTOR_MAX = 256


def listed(values: Iterable[Any]) -> Values:
    """Each in turn."""
    for value in values:
        _ = yield value  # Not `yield from`: an iterator takes nothing that is sent.


def climb(start: int, least: int, most: int, *, up: bool, powers: bool = False) -> Values:
    """Twice the value (or half of it), then four times, sixteen times as much, as long as that is
    kept; then once between the last value that was kept and the first one that was not. `powers`:
    only powers of two are allowed."""
    kept, factor = start, 2
    while True:
        value = min(max(kept * factor if up else kept // factor, least), most)
        if value == kept:
            return
        if not (yield value):
            break
        kept, factor = value, min(factor**2, _FACTOR_MAX)
    if kept == start:
        return
    middle = _between(kept, value, powers)
    if middle not in (kept, value):
        yield middle


def _between(one: int, other: int, powers: bool) -> int:
    middle = math.sqrt(max(one, 1) * max(other, 1))
    return 2 ** round(math.log2(middle)) if powers else round(middle)
