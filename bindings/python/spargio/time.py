"""Time: sleeping, giving way, time limits, intervals. Instants are ``time.monotonic()``'s."""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum
from time import monotonic as monotonic
from types import TracebackType
from typing import Any, TypeVar

from ._ffi.core import native
from ._ffi.types import Coro
from ._shared import Shared
from ._validate import wrong
from .errors import CancelledError, carry_written

__all__ = (
    "Interval",
    "MissedTickBehavior",
    "Sleep",
    "interval",
    "interval_at",
    "move_on_after",
    "sleep",
    "sleep_until",
    "timeout",
    "timeout_at",
    "yield_now",
)

L = TypeVar("L", bound="_Limit")

_NS = 1_000_000_000
FOREVER_NS = (1 << 63) - 1


# `spargio.testing` replaces these, and `monotonic`, by a clock that a test moves.
_sleep = native.sleep
_arm = type(native.timeout()).arm
_rearm = type(native.timeout()).rearm
_disarm = type(native.timeout()).disarm
_alarm = native.alarm


def nanoseconds(seconds: float, name: str) -> int:
    try:
        allowed = seconds >= 0
    except TypeError:
        raise _no_seconds(name, seconds) from None
    if not allowed:
        raise ValueError(wrong(name, "0 or more seconds", seconds))
    return min(int(seconds * _NS), FOREVER_NS) if seconds < 1e9 else FOREVER_NS


def _no_seconds(name: str, value: object) -> TypeError:
    way = "; .total_seconds() has those of a timedelta" if hasattr(value, "total_seconds") else ""
    return TypeError(wrong(name, "a number of seconds", value, way))


def sleep(seconds: float) -> Coro[None]:
    """Suspend the task for at least `seconds`, counted from the await. The shard's own timers; no
    kernel operation. ``ValueError`` for a negative number."""
    return _sleep(nanoseconds(seconds, "seconds"))


yield_now = native.yield_now
"""``await yield_now()`` lets the other tasks that are ready on this shard run first."""


class _Limit:
    """A time limit on a block of a task; what its end means, the classes below say."""

    __slots__ = ("_limit", "_seconds")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._limit = native.timeout()

    def __repr__(self) -> str:
        limit = "no limit" if self._seconds is None else f"{self._seconds} s"
        return f"<{type(self).__name__}, {limit}>"

    def _after(self) -> int:
        return FOREVER_NS if self._seconds is None else nanoseconds(self._seconds, "seconds")

    def __enter__(self: L) -> L:
        _arm(self._limit, self._after())
        return self

    async def __aenter__(self: L) -> L:
        return self.__enter__()

    def reschedule(self, seconds: float | None) -> None:
        """Let it pass `seconds` from now instead, None for never. In the task that is in the block;
        ``RuntimeError`` elsewhere, and when it has passed already."""
        before, self._seconds = self._seconds, seconds
        try:
            _rearm(self._limit, self._after())
        except BaseException:
            self._seconds = before
            raise

    def expired(self) -> bool:
        """Whether it has passed."""
        return self._limit.expired()

    def _ended(self, exception: BaseException | None) -> bool:
        """The block is left: whether by this limit."""
        _disarm(self._limit)
        return (
            isinstance(exception, CancelledError)
            and getattr(exception, "_scope", None) is self._limit
        )


class timeout(_Limit):
    """A time limit in seconds on a block of a task, None for no limit::

        with spargio.timeout(1.5):
            data = await stream.recv(4096)

    When it passes, the await in the block is cancelled and the block ends with ``TimeoutError``. A
    cancellation that comes from elsewhere is never turned into one. ``async with`` works as well.
    """

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._ended(exception):
            assert exception is not None
            # No name for the new exception here: its traceback would hold it in a cycle.
            raise carry_written(
                exception, TimeoutError(f"the time limit of {self._seconds} s passed")
            ) from exception

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, exception, traceback)


class move_on_after(_Limit):
    """:class:`timeout`, but if the limit passes the block just ends::

    with spargio.move_on_after(1.5) as limit:
        data = await stream.recv(4096)
    if limit.cancelled_caught:
        ...  # Nothing came in time.
    """

    __slots__ = ("cancelled_caught",)

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.cancelled_caught = False
        """Whether the limit ended the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self.cancelled_caught = self._ended(exception)
        return self.cancelled_caught

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return self.__exit__(kind, exception, traceback)


def _instant(value: float, name: str) -> float:
    if not hasattr(value, "__float__"):
        raise TypeError(wrong(name, "an instant of time.monotonic()", value))
    if value != value:
        raise ValueError(wrong(name, "an instant of time.monotonic()", value))
    return value


async def sleep_until(deadline: float) -> None:
    """Suspend the task until `deadline`, seconds of ``time.monotonic()``; one that has passed gives
    way once."""
    await sleep(max(0.0, _instant(deadline, "deadline") - monotonic()))


class timeout_at(timeout):
    """:class:`timeout` with an instant of ``time.monotonic()`` instead of a duration; None for no
    limit."""

    __slots__ = ("_deadline",)

    def __init__(self, deadline: float | None) -> None:
        super().__init__(None)
        self._deadline = None if deadline is None else _instant(deadline, "deadline")

    def _after(self) -> int:
        if self._deadline is not None:
            self._seconds = max(0.0, self._deadline - monotonic())
        return super()._after()

    def reschedule(self, deadline: float | None) -> None:
        """Let it pass at `deadline` instead, an instant of ``time.monotonic()``; None for never.
        See :meth:`timeout.reschedule`."""
        before = self._deadline, self._seconds
        self._deadline = None if deadline is None else _instant(deadline, "deadline")
        try:
            super().reschedule(None)
        except BaseException:
            self._deadline, self._seconds = before
            raise


class Sleep(Shared):
    """A sleep that can be moved while somebody awaits it. Any thread may move it, any number of
    tasks may await it."""

    def __init__(self, seconds: float) -> None:
        nanoseconds(seconds, "seconds")
        self._deadline = monotonic() + seconds
        self._waiting = native.exchange(0, 1, 0)

    @classmethod
    def until(cls, deadline: float) -> Sleep:
        """Until an instant of ``time.monotonic()``."""
        made = cls(0)
        made._deadline = _instant(deadline, "deadline")
        return made

    @property
    def deadline(self) -> float:
        """The instant, of ``time.monotonic()``."""
        return self._deadline

    def is_elapsed(self) -> bool:
        """Whether it has passed."""
        return monotonic() >= self._deadline

    def reset(self, deadline: float) -> None:
        """Another instant, also for those who wait already. Finalizers too."""
        self._deadline = _instant(deadline, "deadline")
        self._waiting.serve(FOREVER_NS, None)

    def _state(self) -> str:
        left = self._deadline - monotonic()
        state = "elapsed" if left <= 0 else f"{left:.3f} s left"
        return f"{state}, {self._waiting.state()[1]} waiting"

    async def _wait(self) -> None:
        while True:
            moved = self._waiting.join()
            try:
                deadline = self._deadline  # Looked at last: a reset wakes those that have joined.
                if monotonic() >= deadline:
                    return
                with timeout_at(deadline):
                    await moved
            except TimeoutError:
                continue
            finally:
                self._waiting.leave(moved)

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()


class MissedTickBehavior(Enum):
    """What an :class:`Interval` does after a tick that nobody took in time."""

    BURST = "burst"
    """The missed ones follow at once, until it has caught up."""
    DELAY = "delay"
    """The next one comes a period after the late one."""
    SKIP = "skip"
    """The next one is the next that is due by the first schedule."""


class Interval:
    """Ticks at `start`, `start + period` and so on. One task at a time takes them."""

    def __init__(
        self,
        start: float,
        period: float,
        missed_tick_behavior: MissedTickBehavior = MissedTickBehavior.BURST,
    ) -> None:
        if nanoseconds(period, "period") == 0:
            raise ValueError(wrong("period", "more than 0 seconds", period))
        self._period = period
        self._next = _instant(start, "start")
        self.missed_tick_behavior = missed_tick_behavior

    def __repr__(self) -> str:
        missed = self.missed_tick_behavior.name.lower()
        return f"<Interval of {self._period} s, {missed} after missed ticks>"

    @property
    def period(self) -> float:
        """Seconds."""
        return self._period

    async def tick(self) -> float:
        """Wait for the next tick; returns the instant it was due, of ``time.monotonic()``. A wait
        that is cancelled takes no tick."""
        due = self._next
        await sleep_until(due)
        late = monotonic() - due
        if late < self._period or self.missed_tick_behavior is MissedTickBehavior.BURST:
            self._next = due + self._period
        elif self.missed_tick_behavior is MissedTickBehavior.DELAY:
            self._next = due + late + self._period
        else:
            self._next = due + (late // self._period + 1) * self._period
        return due

    def __aiter__(self) -> Interval:
        return self

    async def __anext__(self) -> float:
        return await self.tick()


def interval(
    period: float, missed_tick_behavior: MissedTickBehavior = MissedTickBehavior.BURST
) -> Interval:
    """Ticks every `period` seconds, the first one at once."""
    return Interval(monotonic(), period, missed_tick_behavior)


def interval_at(
    start: float,
    period: float,
    missed_tick_behavior: MissedTickBehavior = MissedTickBehavior.BURST,
) -> Interval:
    """Ticks every `period` seconds from `start` on, an instant of ``time.monotonic()``."""
    return Interval(start, period, missed_tick_behavior)
