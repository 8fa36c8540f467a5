"""Functions that need a spargio task around them, called in an asyncio task on spargio's loop: they
run as a task on that loop's shard, and are awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from ._asyncgens import local
from ._ffi import constants
from ._ffi.core import JoinHandle, native

P = ParamSpec("P")
T = TypeVar("T")


def in_a_task(
    function: Callable[P, Coroutine[Any, Any, T]], /
) -> Callable[P, Coroutine[Any, Any, T]]:
    """A decorator: the function unchanged in a spargio task, and elsewhere run in one."""

    async def carried(*args: P.args, **keywords: P.kwargs) -> T:
        runtime = getattr(local, "runtime", None)
        if runtime is None or native.current_task() is not None:
            return await function(*args, **keywords)
        job: JoinHandle[T] = runtime.spawn(
            constants.PLACE_PINNED, 0, function(*args, **keywords), function.__name__
        )
        try:
            return await job
        except BaseException:
            if not job.done():  # The wait was cancelled: so is the work, and its end awaited.
                job.cancel()
                await _ended(job)
            raise

    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(carried, name, getattr(function, name))
    carried.__wrapped__ = function  # type: ignore[attr-defined]
    return carried


async def _ended(job: JoinHandle[Any]) -> None:
    with suppress(Exception):  # The work's own: the caller is told of the cancellation.
        await job
