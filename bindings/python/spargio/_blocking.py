"""Calls that wait in ways io_uring does not know, on threads of a pool."""

from __future__ import annotations

import contextvars
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ._ffi.core import Future, native
from .errors import CancelledError

T = TypeVar("T")
P = ParamSpec("P")

_CO_COROUTINE = 0x80

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


class Pool:
    """At most `threads` threads of the process, made when they are first needed."""

    def __init__(self, threads: int, prefix: str) -> None:
        self._threads = threads
        self._prefix = prefix
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        _pools.add(self)

    def submit(self, function: Callable[..., T], /, *arguments: object) -> Future[T]:
        """Call ``function(*arguments)`` there, in a copy of this context."""
        answer: Future[T] = native.future()
        context = contextvars.copy_context()

        def call() -> None:
            try:
                answer.set_result(context.run(function, *arguments))
            except BaseException as error:
                answer.set_exception(error)

        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix=self._prefix)
            self._executor.submit(call)
        return answer

    def close(self) -> None:
        """Wait for what runs, and end the threads; the next call makes new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._executor = None


def _in_child() -> None:
    """A forked child has none of the threads."""
    for pool in _pools:
        pool._forget()


os.register_at_fork(after_in_child=_in_child)

_blocking = Pool(32, "spargio-blocking")


def spawn_blocking(
    function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs
) -> Future[T]:
    """Call ``function(*arguments, **keywords)`` on a thread of the process's pool, at most
    32, in a copy of this context. Await what it gives in a task, or ask its ``result()`` on an
    ordinary thread. A task that is cancelled while it waits goes on at once; the call itself cannot
    be stopped and its outcome is dropped. Any thread may use it."""
    if not callable(function):
        raise TypeError(f"spawn_blocking takes a function and its arguments, not {function!r}")
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        name = code.co_name
        raise TypeError(
            f"spawn_blocking takes an ordinary function, and {name} is an `async def`: "
            f"handle.spawn({name}(...)) runs it"
        )
    if keywords:
        return _blocking.submit(functools.partial(function, *arguments, **keywords))
    return _blocking.submit(function, *arguments)


async def to_its_end(begin: Callable[[], Awaitable[T]]) -> T:
    """Await what `begin` gives, and anew where this task is cancelled meanwhile: for what must have
    ended before the task goes on. The cancellation comes at the next await."""
    late: list[CancelledError] = []
    while True:
        try:
            result = await begin()
        except CancelledError as error:
            late.append(error)
        except Exception:
            redeliver_all(late)
            raise
        else:
            redeliver_all(late)
            return result


def redeliver_all(late: list[CancelledError]) -> None:
    """At the next awaits of this task, one each."""
    for error in late:
        native.redeliver(error)


def close_pools() -> None:
    """Ends the idle threads of all pools, for those who count threads."""
    for pool in list(_pools):
        pool.close()
