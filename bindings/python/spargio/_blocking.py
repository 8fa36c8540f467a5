"""Calls that wait in ways io_uring does not know, on threads. The program's own calls, those on
files, the starts of children and the lookups of names have pools of their own: none waits for the
others."""

from __future__ import annotations

import atexit
import functools
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from ._ffi.core import Future, native
from ._pool import Pool
from ._wait import Persistence
from .errors import CancelledError

T = TypeVar("T")
P = ParamSpec("P")

_CO_COROUTINE = 0x80

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def pool(threads: int, name: str, *, left_at_exit: bool = False) -> Pool:
    """One for this module to look after. With `left_at_exit` the program's end does not wait for
    its calls."""
    made = Pool(threads, name, left_at_exit)
    _pools.add(made)
    return made


def _in_child() -> None:
    """A forked child has none of the threads."""
    for one in _pools:
        one.forget()


def _at_exit() -> None:
    """What was accepted is done before the interpreter ends."""
    for one in list(_pools):
        if not one.left_at_exit:
            one.close()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)

_blocking = pool(32, "spargio-blocking")
files = pool(32, "spargio-file-calls")
"""For what spargio asks of files and directories that io_uring does not know."""


def spawn_blocking(
    function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs
) -> Future[T]:
    """Call ``function(*arguments, **keywords)`` on a thread of the process's pool, at most
    32, in a copy of this context. Await what it returns in a task, or ask its ``result()`` on an
    ordinary thread. A task that is cancelled while it waits goes on at once; the call itself cannot
    be stopped and its outcome is dropped. ``BlockingIOError`` if there is no thread and none can
    be made: then the call is never made. Any thread may use it."""
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
        return _blocking.begin(functools.partial(function, *arguments, **keywords)).answer
    return _blocking.begin(function, *arguments).answer


async def to_its_end(begin: Callable[[], Awaitable[T]]) -> T:
    """Await what `begin` returns, and anew if this task is cancelled meanwhile: for what must have
    ended before the task goes on. The cancellation comes at the next await."""
    late: list[CancelledError] = []
    persistence = Persistence()
    try:
        while True:
            try:
                result = await begin()
            except CancelledError as error:
                persistence.told(error)
                late.append(error)
            except Exception:
                redeliver_all(late)
                raise
            else:
                redeliver_all(late)
                return result
    finally:
        persistence.end()


def redeliver_all(late: list[CancelledError]) -> None:
    """At the next awaits of this task, one each. They are not held any longer: the frames in their
    tracebacks hold the list."""
    while late:
        native.redeliver(late.pop(0))


def close_pools() -> None:
    """Waits for what runs, and ends the threads of all pools, for those who count threads."""
    for one in list(_pools):
        one.close()
