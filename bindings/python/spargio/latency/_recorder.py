"""The recorder of a program's own latencies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .. import _cbor
from .._ffi.core import RecorderCore
from ._latencies import Latencies

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ("Recorder",)

_CO_COROUTINE = 0x80


class Recorder(RecorderCore):
    """Latencies under a name, of this process. The same name means the same recorder; there are at
    most 256, and each lives as long as the process.

    A duration is 0 to 1 hour, kept with three significant digits. A longer one is an hour for
    the percentiles; ``max_ns`` and ``mean_ns`` have all of it. Two objects of a name are equal.
    Each shard that records has a histogram of its own, of up to 264 KiB; only the pages around the
    values that came take memory, some 80 KiB for durations that span three powers of ten. Threads
    outside the runtimes share one. Any thread may use it.

    ``ValueError`` for a name that is not 1 to 64 bytes long; ``RuntimeError`` for the 257th.
    """

    __slots__ = ()

    def __init__(self, name: str) -> None:
        self._open(name)

    def timed(self, function: F) -> F:
        """A decorator: records each call; of a coroutine function, until its coroutine ends."""
        if isinstance(function, FunctionType) and function.__code__.co_flags & _CO_COROUTINE:

            @functools.wraps(function)
            async def timed_coroutine(*arguments: Any, **keywords: Any) -> Any:
                with self.time():
                    return await function(*arguments, **keywords)

            return cast("F", timed_coroutine)

        @functools.wraps(function)
        def timed_call(*arguments: Any, **keywords: Any) -> Any:
            with self.time():
                return function(*arguments, **keywords)

        return cast("F", timed_call)

    def read(self) -> Latencies:
        """What it holds now. Take two and subtract for an interval."""
        return Latencies(_cbor.loads(self._read()))

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Recorder) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<Recorder {self.name!r}>"
