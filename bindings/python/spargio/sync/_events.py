"""Things that happen once, or when enough have come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from .._counts import at_least
from .._ffi.core import Future, native
from ._locks import Lock
from ._wait import hand_over, wait

T = TypeVar("T")


class Event:
    """A flag that tasks wait for. :meth:`set` may be called from a signal handler too."""

    def __init__(self) -> None:
        self._set = False
        # A signal handler may interrupt a thread that has it.
        self._lock = threading.RLock()
        self._waiting: deque[Future[None]] = deque()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._set

    def set(self) -> None:
        """Set it and wake all that wait. Any thread."""
        with self._lock:
            self._set = True
            while hand_over(self._waiting, None):
                pass

    def clear(self) -> None:
        """Those who wait from now on wait for the next :meth:`set`. Any thread."""
        with self._lock:
            self._set = False

    async def wait(self) -> None:
        """Wait until it is set; at once where it is."""
        future: Future[None] = native.future()
        with self._lock:
            self._waiting.append(future)
            if self._set:  # Looked at last: a handler may have set it in between.
                while hand_over(self._waiting, None):
                    pass
        await wait(future, self._waiting, future, self._lock)


class Barrier:
    """A place where tasks wait until `parties` have come; then all go on, and it can be used
    again. One that is cancelled has not come."""

    def __init__(self, parties: int) -> None:
        self._parties = at_least("parties", parties, 1)
        self._lock = threading.Lock()
        self._waiting: deque[Future[int]] = deque()

    async def wait(self) -> int:
        """The place in the order of arrival, 0 to parties - 1."""
        with self._lock:
            if len(self._waiting) + 1 == self._parties:
                for place in range(self._parties - 1):
                    hand_over(self._waiting, place)
                return self._parties - 1
            future: Future[int] = native.future()
            self._waiting.append(future)
        return await wait(future, self._waiting, future, self._lock)


class OnceCell(Generic[T]):
    """A value that is made once, by the first who needs it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._value: tuple[T] | None = None

    def get(self) -> T | None:
        """The value, or None where there is none yet."""
        return None if self._value is None else self._value[0]

    async def get_or_init(self, make: Callable[[], Awaitable[T]]) -> T:
        """The value; the first caller awaits ``make()``, the others wait for that. Where it fails
        or is cancelled the next caller tries."""
        if self._value is None:
            async with self._lock:
                if self._value is None:
                    self._value = (await make(),)
        return self._value[0]
