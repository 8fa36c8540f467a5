"""The input of a Python target, eaten from the front; zeros when it is used up."""

from __future__ import annotations

import array
import ctypes
import decimal
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

EDGES = [0, 1, -1, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32]
EDGES += [2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**400]


class Index:
    """An int by __index__ alone, which may raise."""

    def __init__(self, value: int, error: Exception | None = None) -> None:
        self.value, self.error = value, error

    def __index__(self) -> int:
        if self.error is not None:
            raise self.error
        return self.value


class Data:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def left(self) -> int:
        return max(0, len(self._data) - self._at)

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size), "little")

    def flag(self) -> bool:
        return bool(self.number() & 1)

    def choose(self, options: Sequence[T]) -> T:
        return options[self.number() % len(options)]

    def integer(self) -> int:
        how = self.number()
        if how < 100:
            return self.choose(EDGES) + (self.number() % 3 - 1) * (how & 1)
        return self.number(how % 9) - (how & 1) * self.number()

    def blob(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        """Any str: surrogates, NULs and what lies outside the first plane included."""
        return self.blob().decode("utf-8", self.choose(["surrogateescape", "replace", "ignore"]))

    def buffer(self) -> Any:
        """What has the buffer protocol, some of it of an odd shape."""
        size = self.number() % 64
        wide = memoryview(array.array("I", range(size)))
        return self.choose(
            [
                bytes(size),
                bytearray(size),
                memoryview(bytes(size)),
                memoryview(bytearray(size))[::2],
                memoryview(bytearray(size))[::-1],
                wide,
                wide.cast("B").cast("B", [2, size * 2]) if size else wide,
                array.array("d", [0.5] * size),
                (ctypes.c_char * size)(),
                released(),
            ]
        )

    def anything(self, more: Sequence[Any] = ()) -> Any:
        """A value that an argument may not be meant to be."""
        how = self.number() % 12
        if how < 4:
            return self.integer()
        if how < 6:
            return self.buffer()
        if how < 8 and more:
            return self.choose(more)
        if how == 8:
            return Index(self.integer(), ValueError("no index") if self.flag() else None)
        if how == 9:
            return tuple(self.anything(more) for _ in range(self.number() % 3))
        return self.choose(
            [
                None,
                True,
                1.5,
                float("nan"),
                float("inf"),
                -0.0,
                "",
                "text",
                "\udc80",
                b"/",
                b"\0",
                (),
                [],
                {},
                object(),
                object,
                Ellipsis,
                NotImplemented,
                decimal.Decimal(3),
                1j,
                len,
            ]
        )


def released() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view
