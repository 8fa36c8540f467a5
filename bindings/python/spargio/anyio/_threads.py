"""Worker threads, and the way back from them."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from types import coroutine as coroutine_of_generator
from typing import Any, TypeVar

from anyio import CapacityLimiter, RunFinishedError
from anyio._core._eventloop import (
    claim_worker_thread,
    set_current_async_library,
    threadlocals,
)
from anyio.abc import AsyncBackend

from .._blocking import pool, to_its_end
from .._ffi.core import Future
from .._validate import wrong
from ._loop import Loop, _call, checkpoint, current_loop, current_state
from ._scope import CancelScope, cancelled
from ._sync import CapacityLimiter as OurLimiter

T = TypeVar("T")

_MOST = 1 << 20
"""The limiters say how many there are."""

_threads = pool(_MOST, "AnyIO worker thread")

_entered = threading.local()
"""``_entered.scope`` in a worker thread: the scope of the coroutines that it runs."""

LIMIT = 40
"""Of the default limiter, as in anyio's other backends."""


def default_limiter() -> OurLimiter:
    loop = current_loop()
    if loop.limiter is None:
        loop.limiter = OurLimiter(LIMIT)
    limiter: OurLimiter = loop.limiter
    return limiter


async def run_sync(
    backend: type[AsyncBackend],
    function: Callable[..., T],
    arguments: tuple[Any, ...],
    abandon_on_cancel: bool,
    limiter: CapacityLimiter | None,
) -> T:
    await checkpoint()
    async with limiter or default_limiter():
        with CancelScope(shield=not abandon_on_cancel) as scope:
            told = scope if abandon_on_cancel or scope._parent is None else scope._parent
            context = copy_context()
            context.run(set_current_async_library, None)
            job = context.run(
                _threads.begin,
                _work,
                backend,
                current_loop(),
                told,
                None if abandon_on_cancel else told,
                function,
                arguments,
            )
            # One that is abandoned goes on all the same.
            good, outcome = await (job.answer if abandon_on_cancel else _whole(job.answer))
            try:
                if good:
                    result: T = outcome
                    return result
                raise outcome
            finally:
                del outcome, job  # An error has this frame.
    raise AssertionError  # Nobody cancels this scope.


async def _whole(answer: Future[T]) -> T:
    return await to_its_end(lambda: answer)


def _work(
    backend: type[AsyncBackend],
    loop: Loop,
    scope: CancelScope,
    entered: CancelScope | None,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> tuple[bool, Any]:
    """Whether it returned, and what; or what it raised, which may be a cancellation."""
    with claim_worker_thread(backend, loop):
        threadlocals.current_cancel_scope = scope
        # No thread may be left that waits for what an abandoned call runs in the event loop.
        _entered.scope = entered
        try:
            return True, function(*arguments)
        except StopIteration as error:
            stopped = RuntimeError("coroutine raised StopIteration")
            stopped.__cause__ = error
            return False, stopped
        except BaseException as error:
            return False, error
        finally:
            del threadlocals.current_cancel_scope, _entered.scope


def check_cancelled() -> None:
    """In a worker thread: raises if the task that waits for it is cancelled."""
    scope: CancelScope | None = threadlocals.current_cancel_scope
    while scope is not None:
        if scope._cancel_called:
            raise cancelled(scope.reason)
        scope = None if scope._shield else scope._parent


def _loop_of(token: object) -> Loop:
    found = token or threadlocals.current_token.native_token
    if not isinstance(found, Loop):
        raise TypeError(wrong("token", "the current_token() of a spargio task", found))
    return found


def run_async_from_thread(
    function: Callable[..., Coroutine[Any, Any, T]], arguments: tuple[Any, ...], token: object
) -> T:
    loop = _loop_of(token)
    scope: CancelScope | None = getattr(_entered, "scope", None)

    async def work() -> T:
        __tracebackhide__ = True
        state = current_state()
        if scope is not None:
            scope.adopt(state)
        try:
            return await function(*arguments)
        finally:
            if scope is not None:
                scope.release(state)

    return _outcome(loop, work(), getattr(function, "__qualname__", None))


def run_sync_from_thread(
    function: Callable[..., T], arguments: tuple[Any, ...], token: object
) -> T:
    loop = _loop_of(token)
    return _outcome(loop, _call(function, arguments), getattr(function, "__qualname__", None))


@coroutine_of_generator
def _pause() -> Generator[None, None, None]:
    yield


def _outcome(loop: Loop, work: Coroutine[Any, Any, T], name: str | None) -> T:
    """Of `work`, which runs on the loop's shard. The thread may be a shard's of another runtime."""
    if loop.is_here():
        work.close()
        raise RuntimeError("this thread runs the event loop: await the function, or call it")
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()
    told = _tell(answer, work)
    told.send(None)  # To its pause: from there it tells also that it was closed.
    try:
        loop.spawn_from_outside(told, name)
        return answer.result()
    finally:
        del answer, told  # An error has this frame.


async def _tell(answer: concurrent.futures.Future[T], work: Coroutine[Any, Any, T]) -> None:
    try:
        await _pause()
    except GeneratorExit:
        work.close()
        answer.set_exception(RunFinishedError())
        raise
    try:
        answer.set_result(await work)
    except BaseException as error:
        answer.set_exception(error)
    finally:
        del answer
