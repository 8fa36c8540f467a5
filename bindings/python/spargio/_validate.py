"""Counts and sizes that callers give. A fraction or NaN must not come through: it compares with
integers, but no queue ever has that length."""

from __future__ import annotations

import operator

from ._ffi.messages import no_buffer
from ._ffi.types import Buffer


def at_least(name: str, value: int, least: int) -> int:
    """As an int; ``TypeError`` where it is no integer, ``ValueError`` where it is less."""
    number = integer(name, value)
    if number < least:
        raise ValueError(f"{name} is {number}: allowed is {least} or more")
    return number


def within(name: str, value: int, least: int, most: int) -> int:
    """The same with both bounds."""
    number = integer(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}: allowed is {least} to {most}")
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
        raise TypeError(f"separator is {separator!r}: allowed is bytes")
    if not separator:
        raise ValueError("separator is empty: allowed is 1 byte or more")


def integer(name: str, value: int) -> int:
    """As an int; ``TypeError`` where it is no integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: allowed is an integer") from None
