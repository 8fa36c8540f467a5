"""Locks and what is built like them."""

from __future__ import annotations

from typing import Any

from .._blocking import redeliver_all
from .._ffi.core import JoinHandle, native
from .._shared import Shared, counted
from .._validate import at_least
from .._wait import ALL, MOST, Persistence, wait
from ..errors import CancelledError


class Semaphore(Shared):
    """`permits` that tasks of all shards take and give back; first come, first served. At `most` so
    many are free at a time, by default as many as at the start. ``Semaphore(0, most=8)`` begins
    with none: each :meth:`release` is then a signal that one :meth:`acquire` waits for."""

    def __init__(self, permits: int, *, most: int | None = None) -> None:
        permits = at_least("permits", permits, 0)
        if most is not None:
            self._most = at_least("most", most, max(1, permits))
        elif permits == 0:
            raise ValueError("permits must be 1 or more, or 0 with `most`, got 0")
        else:
            self._most = permits
        self._permits = native.exchange(0, min(self._most, MOST), min(permits, MOST))

    async def acquire(self) -> None:
        """Take a permit; waits for one."""
        if not self._permits.take_units_in_turn(1):
            await self._wait()

    async def _wait(self) -> None:
        permits = self._permits
        await wait(permits.join_for_units(1), permits.leave, lambda _: self.release())

    def try_acquire(self) -> bool:
        """Take a permit if one is free now. Any thread."""
        return self._permits.take_units(1)

    def release(self) -> None:
        """Return a permit, to the task that waits longest. Any thread, finalizers too.
        ``RuntimeError`` if `most` are free."""
        if not self._permits.put_units(1):
            raise RuntimeError(f"release() without acquire(): all {self._most} permits are free")

    def available(self) -> int:
        """Free permits now."""
        return self._permits.state()[0]

    def _state(self) -> str:
        free, waiting, _, _ = self._permits.state()
        return f"{free} of {self._most} permits free, {waiting} waiting"

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()


class Lock(Semaphore):
    """One task at a time, whatever its shard; first come, first served. Not reentrant."""

    def __init__(self) -> None:
        # As Semaphore does it, without its checks: there are many locks.
        self._most = 1
        self._permits = native.exchange(0, 1, 1)
        # For `repr` only.
        self._owner: JoinHandle[Any] | None = None

    async def acquire(self) -> None:
        """Take it; waits for it."""
        if not self._permits.take_units_in_turn(1):
            await self._wait()
        self._owner = native.current_task()

    def try_acquire(self) -> bool:
        """Take it if it is free now. Any thread."""
        taken = self._permits.take_units(1)
        if taken:
            self._owner = native.current_task()
        return taken

    def release(self) -> None:
        """Return it, to the task that waits longest. Any thread. ``RuntimeError`` if it is free."""
        self._owner = None
        super().release()

    def locked(self) -> bool:
        """Whether somebody has it now."""
        return self._permits.state()[0] == 0

    def _state(self) -> str:
        free, waiting, _, _ = self._permits.state()
        if free:
            return "free"
        owner = self._owner
        return f"held{f' by {owner!r}' if owner is not None else ''}, {waiting} waiting"


class Condition(Shared):
    """Waiting under a lock for something that another task brings about."""

    def __init__(self, lock: Lock | None = None) -> None:
        self.lock = lock or Lock()
        self._waiting = native.exchange(0, 1, 0)

    async def wait(self) -> None:
        """Let go of the lock, wait for a notification, take the lock again: also if it is
        cancelled. What it was notified of in that moment goes to another."""
        self._check("wait")
        future = self._waiting.join()
        self.lock.release()
        try:
            await wait(future, self._waiting.leave, lambda _: self._waiting.serve(1, None))
        finally:
            await self._take_again()

    async def _take_again(self) -> None:
        cancelled: list[CancelledError] = []
        persistence = Persistence()
        try:
            while True:
                try:
                    await self.lock.acquire()
                    break
                except CancelledError as error:
                    persistence.told(error)
                    cancelled.append(error)
        finally:
            persistence.end()
        redeliver_all(cancelled)

    def notify(self, count: int = 1) -> None:
        """Wake `count` that wait, the longest first. Only with the lock."""
        self._check("notify")
        self._waiting.serve(min(at_least("count", count, 0), ALL), None)

    def notify_all(self) -> None:
        """Wake all that wait. Only with the lock."""
        self._check("notify_all")
        self._waiting.serve(ALL, None)

    def _check(self, what: str) -> None:
        if not self.lock.locked():
            raise RuntimeError(f"Condition.{what}() without its lock")

    def _state(self) -> str:
        return f"{self._waiting.state()[1]} waiting, of {self.lock!r}"

    async def __aenter__(self) -> None:
        await self.lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.lock.release()


_ONE_READER = 1
_ONE_WRITER = 1 << 30
"""Units that one takes: a writer takes all."""


class Side(Shared):
    """One side of an :class:`RwLock`, for ``async with``."""

    def __init__(self, owner: RwLock, units: int) -> None:
        self._owner = owner
        self._units = units

    def _state(self) -> str:
        side = "writing" if self._units == _ONE_WRITER else "reading"
        return f"for {side}, of {self._owner!r}"

    async def __aenter__(self) -> None:
        await self._owner._acquire(self._units)

    async def __aexit__(self, *_: object) -> None:
        self._owner._release(self._units)


class RwLock(Shared):
    """Many readers or one writer, first come, first served: readers that come after a waiting
    writer wait behind it, so neither starves."""

    def __init__(self) -> None:
        self._free = native.exchange(0, _ONE_WRITER, _ONE_WRITER)

    def read(self) -> Side:
        """``async with lock.read():``"""
        return Side(self, _ONE_READER)

    def write(self) -> Side:
        """``async with lock.write():``"""
        return Side(self, _ONE_WRITER)

    async def _acquire(self, units: int) -> None:
        free = self._free
        if not free.take_units_in_turn(units):
            await wait(free.join_for_units(units), free.leave, lambda _: self._release(units))

    def _release(self, units: int) -> None:
        if not self._free.put_units(units):
            raise RuntimeError("a side of an RwLock was left that was not entered")

    def _state(self) -> str:
        free, waiting, _, _ = self._free.state()
        if free == _ONE_WRITER:
            return "free"
        held = "held by a writer" if free == 0 else counted(_ONE_WRITER - free, "reader")
        return f"{held}, {waiting} waiting"
