"""Locks and what is built like them."""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from .._counts import at_least
from .._ffi.core import Future, native
from ..errors import CancelledError
from ._wait import hand_over, wait


class Semaphore:
    """`permits` that tasks of all shards take and give back; first come, first served. At `most` so
    many are free at a time, by default as many as at the start. ``Semaphore(0, most=8)`` begins
    with none: each :meth:`release` is then a signal that one :meth:`acquire` waits for."""

    def __init__(self, permits: int, *, most: int | None = None) -> None:
        self._permits = self._most = at_least("permits", permits, 0)
        if most is not None:
            self._most = at_least("most", most, max(1, self._permits))
        elif self._most == 0:
            raise ValueError("permits is 0: allowed is 1 or more, or 0 with `most`")
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()

    async def acquire(self) -> None:
        """Take a permit; waits for one."""
        with self._lock:
            if self._take():
                return
            future: Future[None] = native.future()
            self._waiting.append(future)
        await wait(future, self._waiting, future, self._lock, lambda _: self.release())

    def try_acquire(self) -> bool:
        """Take a permit where one is free now. Any thread."""
        with self._lock:
            return self._take()

    def _take(self) -> bool:
        if self._permits == 0:
            return False
        self._permits -= 1
        return True

    def release(self) -> None:
        """Give a permit back, to who waits longest. Any thread. ``RuntimeError`` where `most` are
        free."""
        with self._lock:
            if self._permits == self._most:
                raise RuntimeError(
                    f"release() without acquire(): all {self._most} permits are free"
                )
            if not hand_over(self._waiting, None):
                self._permits += 1

    def available(self) -> int:
        """Free permits now."""
        return self._permits

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class Lock(Semaphore):
    """One task at a time, whatever its shard; first come, first served. Not reentrant."""

    def __init__(self) -> None:
        super().__init__(1)

    def locked(self) -> bool:
        """Whether somebody has it now."""
        return self._permits == 0


class Condition:
    """Waiting under a lock for something that another task brings about."""

    def __init__(self, lock: Lock | None = None) -> None:
        self.lock = lock or Lock()
        self._guard = threading.Lock()
        self._waiting: deque[Future[None]] = deque()

    async def wait(self) -> None:
        """Let go of the lock, wait for a notification, take the lock again: also where it is
        cancelled. What it was notified of in that moment goes to another."""
        self._check("wait")
        future: Future[None] = native.future()
        with self._guard:
            self._waiting.append(future)
        self.lock.release()
        try:
            await wait(future, self._waiting, future, self._guard, lambda _: self._wake(1))
        finally:
            await self._take_again()

    async def _take_again(self) -> None:
        cancelled: list[CancelledError] = []
        while True:
            try:
                await self.lock.acquire()
                break
            except CancelledError as error:
                cancelled.append(error)
        for one in cancelled:
            native.redeliver(one)

    def notify(self, count: int = 1) -> None:
        """Wake `count` that wait, the longest first. Only with the lock."""
        self._check("notify")
        self._wake(at_least("count", count, 0))

    def _wake(self, count: int) -> None:
        with self._guard:
            for _ in range(count):
                if not hand_over(self._waiting, None):
                    return

    def notify_all(self) -> None:
        """Wake all that wait. Only with the lock."""
        self._check("notify_all")
        with self._guard:
            while hand_over(self._waiting, None):
                pass

    def _check(self, what: str) -> None:
        if not self.lock.locked():
            raise RuntimeError(f"Condition.{what}() without its lock")

    async def __aenter__(self) -> None:
        await self.lock.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lock.release()


class Side:
    """One side of an :class:`RwLock`, for ``async with``."""

    def __init__(self, owner: RwLock, writes: bool) -> None:
        self._owner = owner
        self._writes = writes

    async def __aenter__(self) -> None:
        await self._owner._acquire(self._writes)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._owner._release(self._writes)


class RwLock:
    """Many readers or one writer, first come, first served: readers that come after a waiting
    writer wait behind it, so neither starves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._writing = False
        self._waiting: deque[tuple[bool, Future[None]]] = deque()

    def read(self) -> Side:
        """``async with lock.read():``"""
        return Side(self, False)

    def write(self) -> Side:
        """``async with lock.write():``"""
        return Side(self, True)

    async def _acquire(self, writes: bool) -> None:
        future: Future[None] = native.future()
        entry = (writes, future)
        with self._lock:
            self._waiting.append(entry)
            self._grant()
        try:
            await wait(future, self._waiting, entry, self._lock, lambda _: self._release(writes))
        except BaseException:
            with self._lock:
                self._grant()  # Those behind it may go on without it.
            raise

    def _release(self, writes: bool) -> None:
        with self._lock:
            if writes:
                self._writing = False
            else:
                self._readers -= 1
            self._grant()

    def _grant(self) -> None:
        while self._waiting and not self._writing:
            writes, future = self._waiting[0]
            if writes and self._readers:
                return
            self._waiting.popleft()
            future.set_result(None)
            if writes:
                self._writing = True
            else:
                self._readers += 1
