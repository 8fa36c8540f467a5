"""All shards at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .._ffi.core import JoinHandle, native
from .._wait import Persistence
from ..errors import CancelledError, TaskCancelled
from ..runtime import current_handle

T = TypeVar("T")


async def on_each_shard(function: Callable[..., Awaitable[T]], *arguments: Any) -> list[T]:
    """Run ``function(*arguments)`` on every shard, each time as the root of an event loop of its
    own, and give the results in the order of the shards. On a free-threaded Python they run in
    parallel. If one fails, the others are cancelled and have ended when its error is raised here;
    if this is cancelled, so are they."""
    handle = current_handle()

    async def root() -> T:
        return await function(*arguments)

    name = getattr(function, "__qualname__", None)
    jobs: list[JoinHandle[T]] = []
    results: list[T] = []
    failed: BaseException | None = None
    persistence = Persistence()
    try:
        for shard in range(handle.shard_count()):
            jobs.append(handle.spawn_pinned(shard, root(), name=name))
        ended = native.exchange(0, 1, 0)
        del ended
        for job in jobs:
            while True:
                try:
                    results.append(await job)
                except CancelledError as error:
                    persistence.told(error)
                    failed = failed or error
                    for one in jobs:
                        one.cancel()
                    continue
                except TaskCancelled as error:
                    failed = failed or error
                except BaseException as error:
                    failed = failed or error
                    for one in jobs:
                        one.cancel()
                break
        if failed is not None:
            raise failed
        return results
    finally:
        persistence.end()
        del failed, jobs, results
