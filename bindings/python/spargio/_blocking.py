"""Calls that wait in ways io_uring does not know, on threads of a pool. The pool is the process's,
at most 32 threads, made when it is first used."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ._ffi.core import Future, native

T = TypeVar("T")

THREADS = 32

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spargio-blocking")
        return _pool


def _forget() -> None:
    """In a forked child there are no threads of the parent's pool."""
    global _pool, _lock
    _lock = threading.Lock()
    _pool = None


os.register_at_fork(after_in_child=_forget)


def spawn_blocking(function: Callable[..., T], /, *arguments: object) -> Future[T]:
    """Call ``function(*arguments)`` on a thread of the pool, in a copy of this context. Await what
    it gives in a task, or ask its ``result()`` on an ordinary thread. A task that is cancelled
    while it waits goes on at once; the call itself cannot be stopped and its outcome is dropped.
    Any thread may use it."""
    answer: Future[T] = native.future()
    context = contextvars.copy_context()

    def call() -> None:
        try:
            answer.set_result(context.run(function, *arguments))
        except BaseException as error:
            answer.set_exception(error)

    _executor().submit(call)
    return answer
