"""A pool of threads that make calls for tasks."""

from __future__ import annotations

import contextvars
import errno
import sys
import threading
from _queue import SimpleQueue  # What `queue` has, without the rest of it.
from _thread import allocate_lock, start_new_thread
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _threads
from ._ffi.core import Future, native

if TYPE_CHECKING:
    from _thread import LockType

T = TypeVar("T")

ABANDONED_FACTOR = 3
"""So many times its size a pool has threads for calls that nobody waits for any more."""


class Job(Generic[T]):
    """A call that a pool has accepted: it is made once, unless it is withdrawn before it begins."""

    __slots__ = ("_arguments", "_context", "_crew", "_function", "abandoned", "answer", "ended")

    def __init__(self, crew: _Crew, function: Callable[..., T], arguments: tuple[object, ...]):
        self.answer: Future[T] = native.future()
        self._context = contextvars.copy_context()
        self._crew = crew
        self._function = function
        self._arguments = arguments
        self.abandoned = self.ended = False

    def run(self) -> None:
        answer = self.answer
        context, function, arguments = self._context, self._function, self._arguments
        del self._context, self._function, self._arguments
        try:
            value = context.run(function, *arguments)
        except BaseException as error:
            del context, function, arguments
            answer.set_exception(error)
        else:
            del context, function, arguments  # Before the answer: its owner may count on that.
            answer.set_result(value)
        finally:
            value = None  # type: ignore[assignment]
            del answer, self  # The error has this frame, and the answer has the error.

    def withdraw(self) -> bool:
        """True if it has not begun, and never will."""
        return self._crew.withdraw(self)

    def abandon(self) -> None:
        """Nobody waits for it: if it has not begun it never will, else another thread may take
        the place of its own."""
        self._crew.abandon(self)


class _Crew:
    """The threads of a pool until its next `close`, and what they have to do. The lock is one that
    the thread that holds it may take again: a finalizer may begin or abandon a call at any
    moment."""

    def __init__(self, threads: int, name: str) -> None:
        self._most = threads
        self._name = name
        self._lock = threading.RLock()
        self._jobs: OrderedDict[Job[Any], None] = OrderedDict()
        self._tokens: SimpleQueue[bool] = SimpleQueue()
        """One for each job, which may be withdrawn before it is taken; False ends a thread."""
        self._ends: list[LockType] = []
        """One for each thread, which releases it when it ends."""
        self._idle = 0
        """Threads that wait for a token, or have not taken the job of theirs yet."""
        self._abandoned = 0
        """Threads in calls that were abandoned."""
        self._finishing = False

    def begin(self, function: Callable[..., T], arguments: tuple[object, ...]) -> Job[T] | None:
        """None if it was told to finish."""
        job = Job(self, function, arguments)
        with self._lock:
            if self._finishing:
                return None
            self._jobs[job] = None
            try:
                self._add_threads()
            except BaseException:
                del self._jobs[job]
                raise
            self._tokens.put(True)
        return job

    def _add_threads(self) -> None:
        """One more if too few wait for what there is to do. ``BlockingIOError`` if there is
        none and none can be made; one that is there takes the jobs in turn."""
        count = len(self._ends)
        if len(self._jobs) <= self._idle or count - self._abandoned >= self._most:
            return
        if count >= self._most * (1 + ABANDONED_FACTOR):
            return
        end = allocate_lock()
        end.acquire()
        try:
            # Not Thread.start(), which waits until the thread runs: a shard would wait for as long
            # as the machine has no CPU for one more thread.
            start_new_thread(self._run, (f"{self._name}_{count}", end))
        except RuntimeError as error:
            if sys.is_finalizing():
                raise
            if count == 0:
                raise BlockingIOError(
                    errno.EAGAIN,
                    "no thread can be started for a call that blocks: the limit is RLIMIT_NPROC, "
                    "or pids.max of the cgroup",
                ) from error
            return
        self._ends.append(end)
        self._idle += 1

    def withdraw(self, job: Job[Any]) -> bool:
        with self._lock:
            return self._jobs.pop(job, self) is None

    def abandon(self, job: Job[Any]) -> None:
        with self._lock:
            if self.withdraw(job) or job.ended or job.abandoned:
                return
            job.abandoned = True
            self._abandoned += 1
            self._add_threads()

    def _run(self, name: str, end: LockType) -> None:
        try:
            _threads.enter(name)
            self._work()
        finally:
            _threads.leave()
            end.release()

    def _work(self) -> None:
        while self._tokens.get():
            with self._lock:
                job = self._jobs.popitem(last=False)[0] if self._jobs else None
                self._idle -= job is not None
            if job is not None:
                job.run()
                with self._lock:
                    job.ended = True
                    self._abandoned -= job.abandoned
                    self._idle += 1
                del job  # Or it lives until the next one.

    def finish(self) -> None:
        """Wait until all that was accepted is done, and end the threads."""
        with self._lock:
            self._finishing = True
            ends = list(self._ends)
            for _ in ends:
                self._tokens.put(False)
        for end in ends:
            end.acquire()
            end.release()  # Another thread may close the pool too.

    def forget(self) -> None:
        """In a forked child: another thread may have had the lock, and there is nobody to do a
        job."""
        self._lock = threading.RLock()
        self._jobs.clear()


class Pool:
    """At most `threads` daemon threads of the process, made when they are first needed, besides
    those in calls that were abandoned. Any thread may use it."""

    def __init__(self, threads: int, name: str, left_at_exit: bool) -> None:
        self.left_at_exit = left_at_exit
        self._threads = threads
        self._name = name
        self._crew = _Crew(threads, name)

    def begin(self, function: Callable[..., T], /, *arguments: object) -> Job[T]:
        """Have ``function(*arguments)`` called, in a copy of this context."""
        while (job := self._crew.begin(function, arguments)) is None:
            pass  # It was closed just now, and has a new crew.
        return job

    async def call(self, function: Callable[..., T], /, *arguments: object) -> T:
        """The same, awaited. If that is cancelled the call is abandoned."""
        job = self.begin(function, *arguments)
        try:
            return await job.answer
        except BaseException:
            job.abandon()
            raise
        finally:
            del job  # An error of its answer has this frame.

    def close(self) -> None:
        """Wait until all that was accepted is done, and end the threads; the next call makes new
        ones."""
        crew, self._crew = self._crew, _Crew(self._threads, self._name)
        crew.finish()

    def forget(self) -> None:
        """In a forked child, which has none of the threads."""
        self._crew.forget()
        self._crew = _Crew(self._threads, self._name)
