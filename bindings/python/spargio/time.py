"""Time: sleeping, giving way, time limits."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType

from ._ffi.core import native
from .errors import CancelledError

__all__ = ("sleep", "timeout", "yield_now")

_NS = 1_000_000_000
_FOREVER_NS = (1 << 63) - 1


def _nanoseconds(seconds: float, name: str) -> int:
    if not seconds >= 0:
        raise ValueError(f"{name} is {seconds!r}: allowed is 0 or more seconds")
    return min(int(seconds * _NS), _FOREVER_NS) if seconds < 1e9 else _FOREVER_NS


def sleep(seconds: float) -> Awaitable[None]:
    """Suspend the task for at least `seconds`, counted from the await. The shard's own timers; no
    kernel operation. ``ValueError`` for a negative number."""
    return native.sleep(_nanoseconds(seconds, "seconds"))


yield_now = native.yield_now
"""``await yield_now()`` lets the other tasks that are ready on this shard run first."""


class timeout:
    """A time limit in seconds on a block of a task, None for no limit::

        with spargio.timeout(1.5):
            data = await stream.recv(4096)

    When it passes, the await in the block is cancelled and the block ends with ``TimeoutError``. A
    cancellation that comes from elsewhere is never turned into one. ``async with`` works as well.
    """

    __slots__ = ("_limit", "_seconds")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._limit = native.timeout()

    def __enter__(self) -> timeout:
        ns = _FOREVER_NS if self._seconds is None else _nanoseconds(self._seconds, "seconds")
        self._limit.arm(ns)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._limit.disarm()
        if (
            isinstance(exception, CancelledError)
            and getattr(exception, "_scope", None) is self._limit
        ):
            raise TimeoutError(f"the time limit of {self._seconds} s passed") from exception

    async def __aenter__(self) -> timeout:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, exception, traceback)
