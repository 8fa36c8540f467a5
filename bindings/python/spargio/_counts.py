"""Counts and sizes that callers give. A fraction or NaN must not come through: it compares with
integers, but no queue ever has that length."""

from __future__ import annotations

import operator


def at_least(name: str, value: int, least: int) -> int:
    """As an int; ``TypeError`` where it is no integer, ``ValueError`` where it is less."""
    number = _integer(name, value)
    if number < least:
        raise ValueError(f"{name} is {number}: allowed is {least} or more")
    return number


def within(name: str, value: int, least: int, most: int) -> int:
    """The same with both bounds."""
    number = _integer(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}: allowed is {least} to {most}")
    return number


def _integer(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: allowed is an integer") from None
