"""One operation that finds its shard."""

from __future__ import annotations

import os
import warnings
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, NamedTuple, TypeVar

from .._blocking import redeliver_all
from .._ffi import constants
from .._ffi.core import JoinHandle, native
from .._ffi.types import Buffer
from .._wait import Persistence
from ..errors import CancelledError, TaskCancelled
from ._state import State

T = TypeVar("T")


class Completion(NamedTuple):
    """What the kernel said of an SQE, as it is."""

    res: int
    """A count, a descriptor, 0; or -errno."""
    flags: int
    """IORING_CQE_F_*."""

    def check(self, filename: object = None) -> int:
        """`res`, or the ``OSError`` that it stands for."""
        if self.res >= 0:
            return self.res
        if filename is None:
            raise OSError(-self.res, os.strerror(-self.res))
        raise OSError(-self.res, os.strerror(-self.res), filename)


def address_of(buffer: Buffer) -> int:
    """Where the bytes of a contiguous buffer lie (bytes, bytearray, array, ctypes objects...). It
    stays true only while the buffer is alive and not resized: name it in ``keep``."""
    return native.address_of(buffer)


class NativeOp(Generic[T]):
    """An operation of :class:`UringNativeAny`. In a task: await it, once; it begins then, on the
    shard that the selector chooses at that moment. On an ordinary thread it has begun:
    :meth:`result`.

    Cancelling the task that awaits it cancels the operation. If that is too late, the result is
    given and the cancellation comes at the task's next await."""

    __slots__ = (
        "__weakref__",
        "_awaited",
        "_close",
        "_fd",
        "_job",
        "_kind",
        "_make",
        "_preferred",
        "_shard",
        "_state",
    )

    def __init__(
        self,
        state: State,
        make: Callable[[], Awaitable[T]],
        fd: int | None,
        kind: str | None,
        preferred: int | None,
        shard: int | None = None,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._close = close
        self._state = state
        self._make = make
        self._fd = fd
        self._kind = kind
        self._preferred = preferred
        self._shard = shard
        self._job: JoinHandle[T] | None = None
        self._awaited = False
        if native.current_task() is None:
            self.start()

    def start(self) -> NativeOp[T]:
        """Begin now, as a task of its own on the chosen shard; returns the operation itself, which
        may be awaited later, and more than once. For several at a time::

            ops = [uring.read_at(fd, offset, 4096).start() for offset in offsets]
            pages = [await op for op in ops]
        """
        if self._job is None:
            self._check_fresh()
            self._spawn(self._choose())
        return self

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    def result(self, timeout: float | None = None) -> T:
        """Wait on an ordinary thread, at most `timeout` seconds; see :meth:`JoinHandle.result`.
        After a ``TimeoutError`` the operation goes on: ask again, or :meth:`cancel` it."""
        if self._job is None:
            raise RuntimeError("the operation has not begun: await it, or call start()")
        return self._job.result(timeout)

    def cancel(self) -> bool:
        """Ask for its end, which :class:`TaskCancelled` tells if it comes. False if it has
        not begun, or runs in the task that awaits it (cancel that), or has ended."""
        return self._job is not None and self._job.cancel()

    def done(self) -> bool:
        """Whether it was begun by :meth:`start`, or on an ordinary thread, and has ended."""
        return self._job is not None and self._job.done()

    def __repr__(self) -> str:
        if self._job is not None:
            state = "ended" if self._job.done() else "under way"
        else:
            state = "awaited" if self._awaited else "not awaited"
        on = "" if self._fd is None else f" on descriptor {self._fd}"
        return f"<NativeOp{on}, {state}>"

    def __del__(self) -> None:
        if self._close is not None:
            self._close()  # What it would have awaited is not to say that nobody did.
        if self._job is None and not self._awaited:
            on = "" if self._fd is None else f" on descriptor {self._fd}"
            warnings.warn(f"a native operation{on} was never awaited", RuntimeWarning, stacklevel=2)

    def _check_fresh(self) -> None:
        if self._awaited:
            raise RuntimeError("an operation can be awaited once, unless it was started")
        self._awaited = True

    def _choose(self) -> int:
        if self._shard is None:
            return self._state.select(self._fd, self._preferred)
        self._state.check_hard(self._fd, self._shard)
        return self._shard

    async def _wait(self) -> T:
        if self._job is None:
            self._check_fresh()
            shard = self._choose()
            if shard == self._state.here():
                return await self._run(shard)
            self._spawn(shard)
        return await self._join()

    def _spawn(self, shard: int) -> None:
        self._state.queue(self, shard)
        coroutine = self._run(shard)
        try:
            self._job = self._state.runtime.spawn(
                constants.PLACE_PINNED, shard, coroutine, "a native operation"
            )
        except BaseException:
            coroutine.close()
            self._state.unqueue(self, shard)
            raise

    async def _run(self, shard: int) -> T:
        held = [] if self._fd is None else self._state.leases.begin(self._fd, self._kind, shard)
        self._state.begin(self, shard)
        try:
            return await self._make()
        finally:
            self._state.end(self, shard)
            self._state.leases.end(held)

    async def _join(self) -> T:
        job = self._job
        assert job is not None
        try:
            return await job
        except CancelledError as error:
            return await self._cancelled(job, error)
        except GeneratorExit:
            job.cancel()
            raise

    async def _cancelled(self, job: JoinHandle[T], first: CancelledError) -> T:
        """The operation is asked to end, and the task waits until it has."""
        job.cancel()
        late = [first]
        persistence = Persistence()
        persistence.told(first)
        try:
            while True:
                try:
                    value = await job
                except CancelledError as error:
                    persistence.told(error)
                    late.append(error)
                    continue
                except TaskCancelled:
                    late.pop(0)
                    redeliver_all(late)
                    raise first from None
                except Exception:
                    redeliver_all(late)
                    raise
                redeliver_all(late)
                return value
        finally:
            persistence.end()
