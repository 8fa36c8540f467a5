"""Events, locks, semaphores and capacity limiters, for the tasks of one shard. (``spargio.sync``
has those that tasks of all shards may share.) A waiter gets the thing from the task that releases
it, in one step; a cancellation that comes after that step comes at the next await."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from types import TracebackType
from typing import Any

from anyio import (
    CapacityLimiter as BaseCapacityLimiter,
)
from anyio import (
    CapacityLimiterStatistics,
    EventStatistics,
    LockStatistics,
    SemaphoreStatistics,
    WouldBlock,
)
from anyio import Event as BaseEvent
from anyio import Lock as BaseLock
from anyio import Semaphore as BaseSemaphore

from .._ffi.core import Future, JoinHandle, native
from ._loop import checkpoint, shielded_checkpoint
from ._plain import Plain
from ._testing import info_of

Task = JoinHandle[Any]


class Event(Plain, BaseEvent):
    """Any thread may set it."""

    __slots__ = ("_future", "_waiting")

    def __init__(self) -> None:
        self._future: Future[None] = native.future()
        self._waiting = 0

    def set(self) -> None:
        self._future.set_result(None)

    def is_set(self) -> bool:
        return self._future.done()

    async def wait(self) -> None:
        if self._future.done():
            await checkpoint()
            return
        self._waiting += 1
        try:
            await self._future
        finally:
            self._waiting -= 1

    def statistics(self) -> EventStatistics:
        return EventStatistics(tasks_waiting=self._waiting if not self._future.done() else 0)


class Lock(Plain, BaseLock):
    """First come, first served."""

    __slots__ = ("_fast", "_owner", "_waiting")

    def __init__(self, *, fast_acquire: bool = False) -> None:
        self._fast = fast_acquire
        self._owner: Task | None = None
        self._waiting: OrderedDict[Task, Future[None]] = OrderedDict()

    async def acquire(self) -> None:
        native.raise_if_cancelled()
        try:
            self.acquire_nowait()
        except WouldBlock:
            pass
        else:
            if not self._fast:
                try:
                    await shielded_checkpoint()
                except BaseException:
                    self.release()
                    raise
            return
        task = _current()
        future = self._waiting[task] = native.future()
        try:
            await future
        except BaseException:
            if self._owner is task:
                self.release()
            else:
                self._waiting.pop(task, None)
            raise

    def acquire_nowait(self) -> None:
        task = _current()
        if self._owner is task:
            raise RuntimeError("Attempted to acquire an already held Lock")
        if self._owner is not None:
            raise WouldBlock
        self._owner = task

    def locked(self) -> bool:
        return self._owner is not None

    def release(self) -> None:
        if self._owner is None or self._owner is not native.current_task():
            raise RuntimeError("The current task is not holding this lock")
        if self._waiting:
            self._owner, future = self._waiting.popitem(last=False)
            future.set_result(None)
        else:
            self._owner = None

    def statistics(self) -> LockStatistics:
        owner = None if self._owner is None else info_of(self._owner)
        return LockStatistics(self.locked(), owner, len(self._waiting))


class Semaphore(Plain, BaseSemaphore):
    """First come, first served."""

    __slots__ = ("_max_value", "_value", "_waiting")

    def __init__(
        self, initial_value: int, *, max_value: int | None = None, fast_acquire: bool = False
    ) -> None:
        super().__init__(initial_value, max_value=max_value, fast_acquire=fast_acquire)
        self._value = initial_value
        self._max_value = max_value
        self._waiting: deque[Future[None]] = deque()

    async def acquire(self) -> None:
        native.raise_if_cancelled()
        if self._value > 0:
            self._value -= 1
            if not self._fast_acquire:
                try:
                    await shielded_checkpoint()
                except BaseException:
                    self.release()
                    raise
            return
        future: Future[None] = native.future()
        self._waiting.append(future)
        try:
            await future
        except BaseException:
            if future.done():
                self.release()
            else:
                self._waiting.remove(future)
            raise

    def acquire_nowait(self) -> None:
        if self._value == 0:
            raise WouldBlock
        self._value -= 1

    def release(self) -> None:
        if self._max_value is not None and self._value == self._max_value:
            raise ValueError("semaphore released too many times")
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._value += 1

    @property
    def value(self) -> int:
        return self._value

    @property
    def max_value(self) -> int | None:
        return self._max_value

    def statistics(self) -> SemaphoreStatistics:
        return SemaphoreStatistics(len(self._waiting))


class CapacityLimiter(Plain, BaseCapacityLimiter):
    """First come, first served."""

    __slots__ = ("_borrowers", "_total", "_waiting")

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: dict[object, None] = {}
        self._waiting: OrderedDict[object, Future[None]] = OrderedDict()
        self.total_tokens = total_tokens

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def total_tokens(self) -> float:
        return self._total

    @total_tokens.setter
    def total_tokens(self, value: float) -> None:
        if not isinstance(value, int) and not math.isinf(value):
            raise TypeError("total_tokens must be an int or math.inf")
        if value < 0:
            raise ValueError("total_tokens must be >= 0")
        self._total = value
        self._serve()

    @property
    def borrowed_tokens(self) -> int:
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        return self._total - len(self._borrowers)

    def _serve(self) -> None:
        while self._waiting and len(self._borrowers) < self._total:
            borrower, future = self._waiting.popitem(last=False)
            self._borrowers[borrower] = None
            future.set_result(None)

    def acquire_nowait(self) -> None:
        self.acquire_on_behalf_of_nowait(_current())

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        if borrower in self._borrowers:
            raise RuntimeError(
                "this borrower is already holding one of this CapacityLimiter's tokens"
            )
        if self._waiting or len(self._borrowers) >= self._total:
            raise WouldBlock
        self._borrowers[borrower] = None

    async def acquire(self) -> None:
        await self.acquire_on_behalf_of(_current())

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        native.raise_if_cancelled()
        try:
            self.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock:
            pass
        else:
            try:
                await shielded_checkpoint()
            except BaseException:
                self.release_on_behalf_of(borrower)
                raise
            return
        future = self._waiting[borrower] = native.future()
        try:
            await future
        except BaseException:
            if future.done():
                self.release_on_behalf_of(borrower)
            else:
                self._waiting.pop(borrower, None)
            raise

    def release(self) -> None:
        self.release_on_behalf_of(_current())

    def release_on_behalf_of(self, borrower: object) -> None:
        try:
            del self._borrowers[borrower]
        except KeyError:
            raise RuntimeError(
                "this borrower isn't holding any of this CapacityLimiter's tokens"
            ) from None
        self._serve()

    def statistics(self) -> CapacityLimiterStatistics:
        return CapacityLimiterStatistics(
            self.borrowed_tokens, self.total_tokens, tuple(self._borrowers), len(self._waiting)
        )


def _current() -> Task:
    task = native.current_task()
    if task is None:
        raise RuntimeError("not in a spargio task")
    return task
