"""Tasks in the queues of spargio.sync, for its tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import support

import spargio


async def settle(turns: int = 20) -> None:
    """Lets what is ready run, here and on the other shards."""
    for _ in range(turns):
        await spargio.sleep(0)


def takers(exchange: Any) -> int:
    return exchange.state()[1]  # type: ignore[no-any-return]


def putters(exchange: Any) -> int:
    return exchange.state()[2]  # type: ignore[no-any-return]


async def queued(
    handle: spargio.RuntimeHandle,
    exchange: Any,
    make: Callable[[], Any],
    waiting: Callable[[Any], int] = takers,
) -> Any:
    """A job that waits in the queue of `exchange` when this returns."""
    before = waiting(exchange)
    job = handle.spawn_stealable(make())
    await support.until(lambda: waiting(exchange) == before + 1)
    return job
