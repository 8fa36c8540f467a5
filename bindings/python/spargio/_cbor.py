"""What a snapshot of the statistics is made of (docs/stats.cddl), decoded: whole numbers, text,
arrays, maps. cbor2 knows all of CBOR, and its import costs a third of spargio's own."""

from __future__ import annotations

from typing import Any

_UINT, _TEXT, _ARRAY, _MAP = 0, 3, 4, 5


def loads(data: bytes) -> Any:
    """``ValueError`` for what is cut short, goes on, or is of another kind."""
    try:
        value, end = _item(data, 0)
    except IndexError:
        raise ValueError(f"a snapshot of {len(data)} bytes is cut short") from None
    if end != len(data):
        raise ValueError(f"a snapshot of {end} bytes is followed by {len(data) - end} others")
    return value


def split_last(data: bytes, key: str) -> tuple[dict[str, Any], bytes]:
    """A map whose last key is `key`: all but that, decoded, and the bytes of its value.
    ``ValueError`` if it is not."""
    try:
        if data[0] >> 5 != _MAP:
            raise ValueError("a snapshot must be a map")
        count, at = _item(bytes((data[0] & 31,)) + data[1:10], 0)
        found: dict[str, Any] = {}
        for _ in range(count - 1):
            name, at = _item(data, at)
            found[name], at = _item(data, at)
        name, at = _item(data, at)
    except IndexError:
        raise ValueError(f"a snapshot of {len(data)} bytes is cut short") from None
    if name != key:
        raise ValueError(f"the last key of a snapshot must be {key!r}, got {name!r}")
    return found, data[at:]


def _item(data: bytes, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""
    first = data[at]
    kind, number = first >> 5, first & 31
    at += 1
    if number >= 24:
        size = 1 << (number - 24)
        if size > 8:
            raise ValueError(f"byte {at - 1} of a snapshot is {first:#x}: a length without an end")
        number = int.from_bytes(data[at : at + size], "big")
        at += size
    if kind == _UINT:
        if at > len(data):
            raise IndexError
        return number, at
    if kind == _TEXT:
        if at + number > len(data):
            raise IndexError
        return str(data[at : at + number], "utf-8"), at + number
    if kind == _ARRAY:
        values = []
        for _ in range(number):
            value, at = _item(data, at)
            values.append(value)
        return values, at
    if kind == _MAP:
        found = {}
        for _ in range(number):
            key, at = _item(data, at)
            found[key], at = _item(data, at)
        return found, at
    raise ValueError(
        f"byte {at - 1} of a snapshot must begin an item of kind 0, 3, 4 or 5, got {kind}"
    )
