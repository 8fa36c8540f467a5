"""Counts and sizes that callers give. A fraction or NaN must not come through: it compares with
integers, but no queue ever has that length."""

from __future__ import annotations

import operator

from ._ffi.messages import no_buffer
from ._ffi.types import Buffer


def wrong(name: str, allowed: str, value: object, way: str = "") -> str:
    """What errors say of an argument: its name, what is allowed and what was given. `way` is the
    way out, if there is one, after a separator."""
    return f"{name} must be {allowed}, got {value!r}{way}"


def at_least(name: str, value: int, least: int) -> int:
    """As an int; ``TypeError`` if it is no integer, ``ValueError`` if it is less."""
    number = integer(name, value)
    if number < least:
        raise ValueError(wrong(name, f"{least} or more", number))
    return number


def within(name: str, value: int, least: int, most: int) -> int:
    """The same with both bounds."""
    number = integer(name, value)
    if not least <= number <= most:
        raise ValueError(wrong(name, f"between {least} and {most}", number))
    return number


def view_of(data: Buffer) -> memoryview:
    """Its bytes, without a copy; ``TypeError`` for what has none."""
    try:
        return memoryview(data).cast("B")
    except TypeError as error:
        raise no_buffer(error, data, False) from None


def check_separator(separator: object) -> None:
    """``TypeError`` and ``ValueError`` for what cannot be looked for among bytes."""
    if not isinstance(separator, (bytes, bytearray, memoryview)):
        raise TypeError(wrong("separator", "bytes", separator))
    if not separator:
        raise ValueError(wrong("separator", "1 byte or more", separator))


def integer(name: str, value: int) -> int:
    """As an int; ``TypeError`` if it is no integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(wrong(name, "an integer", value)) from None
