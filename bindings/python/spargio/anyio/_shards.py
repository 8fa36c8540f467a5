"""All shards at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..groups import TaskGroup
from ..placement import TaskPlacement
from ..runtime import current_handle

T = TypeVar("T")


async def on_each_shard(function: Callable[..., Awaitable[T]], *arguments: Any) -> list[T]:
    """Run ``function(*arguments)`` on every shard, each time as the root of an event loop of its
    own, and return the results in the order of the shards. On a free-threaded Python they run in
    parallel. If one fails, the others are cancelled and have ended before its error is raised, in
    an ``ExceptionGroup``; if this call is cancelled, so are they. anyio's objects belong to the
    shard that made them."""

    async def root() -> T:
        return await function(*arguments)

    name = getattr(function, "__qualname__", None)
    async with TaskGroup() as group:
        jobs = [
            group.spawn(root(), placement=TaskPlacement.Pinned(shard), name=name)
            for shard in range(current_handle().shard_count())
        ]
    return [await job for job in jobs]
