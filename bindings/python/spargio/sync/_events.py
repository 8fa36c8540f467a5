"""Things that happen once, or when enough have come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from .._ffi.core import native
from .._shared import Shared
from .._validate import at_least
from .._wait import ALL, MOST, wait
from ._locks import Lock

T = TypeVar("T")


class Event(Shared):
    """A flag that tasks wait for. :meth:`set` may be called from a signal handler too."""

    def __init__(self) -> None:
        self._set = False
        self._waiting = native.exchange(0, 1, 0)

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it and wake all that wait. Any thread, finalizers too."""
        self._set = True
        self._waiting.serve(ALL, None)

    def clear(self) -> None:
        """Those who wait from now on wait for the next :meth:`set`. Any thread."""
        self._set = False

    async def wait(self) -> None:
        """Wait until it is set; at once if it is."""
        if self._set:
            return
        future = self._waiting.join()
        if self.is_set():  # Looked at last: it may have been set in between.
            self._waiting.serve(ALL, None)
        await wait(future, self._waiting.leave)

    def _state(self) -> str:
        return f"{'set' if self._set else 'not set'}, {self._waiting.state()[1]} waiting"


class Barrier(Shared):
    """A place where tasks wait until `parties` have come; then all go on, and it can be used
    again. One that is cancelled has not come."""

    def __init__(self, parties: int) -> None:
        self._parties = at_least("parties", parties, 1)
        self._waiting = native.exchange(0, 1, 0)

    async def wait(self) -> int:
        """The place in the order of arrival, 0 to parties - 1."""
        future = self._waiting.meet(min(self._parties, MOST))
        await wait(future, self._waiting.leave)
        return self._waiting.arrival(future)

    def _state(self) -> str:
        return f"{self._waiting.state()[1]} of {self._parties} waiting"


class OnceCell(Shared, Generic[T]):
    """A value that is made once, by the first task that needs it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._value: tuple[T] | None = None

    def get(self) -> T | None:
        """The value, or None before it is made."""
        return None if self._value is None else self._value[0]

    async def get_or_init(self, make: Callable[[], Awaitable[T]]) -> T:
        """The value; the first caller awaits ``make()``, the others wait for that. If it fails
        or is cancelled the next caller tries."""
        if self._value is None:
            async with self._lock:
                if self._value is None:
                    self._value = (await make(),)
        return self._value[0]

    def _state(self) -> str:
        if self._value is not None:
            return "with a value"
        return "being made" if self._lock.locked() else "empty"
