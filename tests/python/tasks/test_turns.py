"""A task that finds ready whatever it awaits gives the other tasks of its shard their turns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

import spargio
from spargio import sync

MANY = 20_000
AT_ONCE = 128


async def joins(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    async def nothing() -> None:
        pass

    done = handle.spawn_pinned(0, nothing())
    await done
    for _ in range(MANY):
        yield await done


async def channel_receives(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    sender, receiver = sync.channel[int](MANY)
    for n in range(MANY):
        sender.try_send(n)
    for n in range(MANY):
        assert await receiver.recv() == n
        yield


async def channel_sends(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    sender, receiver = sync.channel[int](MANY)
    for n in range(MANY):
        await sender.send(n)
        yield
    assert [receiver.try_recv() for _ in range(MANY)] == list(range(MANY))


async def broadcast(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    source = sync.Broadcast[int](MANY)
    subscriber = source.subscribe()
    for n in range(MANY):
        source.send(n)
    for n in range(MANY):
        assert await subscriber.recv() == n
        yield


async def semaphore(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    permits = sync.Semaphore(1)
    for _ in range(MANY):
        async with permits:
            yield
    assert permits.available() == 1


async def lock(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    one = sync.Lock()
    for _ in range(MANY):
        async with one:
            yield


async def rwlock(handle: spargio.RuntimeHandle) -> AsyncIterator[None]:
    one = sync.RwLock()
    for _ in range(MANY):
        async with one.read():
            yield


@pytest.mark.parametrize(
    "awaits",
    [joins, channel_receives, channel_sends, broadcast, semaphore, lock, rwlock],
    ids=lambda one: one.__name__,
)
def test_what_is_ready_gives_turns(
    awaits: Callable[[spargio.RuntimeHandle], AsyncIterator[None]],
) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await spargio.yield_now()

        other = handle.spawn_pinned(0, count())
        await spargio.yield_now()
        in_a_row, longest, before = 0, 0, turns
        async for _ in awaits(handle):
            in_a_row = in_a_row + 1 if turns == before else 1
            longest, before = max(longest, in_a_row), turns
        other.cancel()
        assert turns >= MANY // AT_ONCE
        assert longest <= AT_ONCE

    spargio.run(main, shards=1)


def test_a_cancellation_in_such_a_turn_loses_nothing() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        sender, receiver = sync.channel[int](MANY)
        for n in range(MANY):
            sender.try_send(n)
        taken: list[int] = []

        async def take() -> None:
            async for value in receiver:
                taken.append(value)

        job = handle.spawn_pinned(0, take())
        while not taken:
            await spargio.yield_now()
        assert len(taken) <= AT_ONCE
        job.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await job
        left = MANY - len(taken)
        assert [receiver.try_recv() for _ in range(left)] == list(range(MANY - left, MANY))

    spargio.run(main, shards=1)
