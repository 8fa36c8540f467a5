"""spargio.sync: locks: who gets what, in which order, and that a cancelled wait has taken nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import support
from queues import queued, settle, takers

import spargio
from spargio import sync


def test_a_lock_excludes(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        lock = sync.Lock()
        count = inside = 0

        async def work() -> None:
            nonlocal count, inside
            for _ in range(100):
                async with lock:
                    inside += 1
                    assert inside == 1
                    seen = count
                    await spargio.yield_now()
                    count = seen + 1
                    inside -= 1

        for job in [handle.spawn_stealable(work()) for _ in range(10)]:
            await job
        assert count == 1000
        assert not lock.locked()
        with pytest.raises(RuntimeError, match="without acquire"):
            lock.release()

    spargio.run(main, **options)


def test_a_semaphore_serves_in_order_and_bounds() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        semaphore = sync.Semaphore(2)
        assert semaphore.try_acquire()
        assert semaphore.try_acquire()
        assert not semaphore.try_acquire()
        order: list[int] = []

        async def take(n: int) -> None:
            await semaphore.acquire()
            order.append(n)

        jobs = [await queued(handle, semaphore._permits, lambda n=n: take(n)) for n in range(5)]
        for n in range(5):
            semaphore.release()
            await jobs[n]
            assert order == list(range(n + 1))  # Handed over: no newcomer overtakes.
        semaphore.release()
        semaphore.release()
        with pytest.raises(RuntimeError, match="all 2 permits are free"):
            semaphore.release()
        with pytest.raises(ValueError, match="permits must .*got -1"):
            sync.Semaphore(-1)

    spargio.run(main, shards=2)


def test_a_semaphore_that_begins_with_no_permit_carries_signals() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        signals = sync.Semaphore(0, most=2)
        waiter = await queued(handle, signals._permits, signals.acquire)
        signals.release()
        await waiter
        assert not signals.try_acquire()
        signals.release()
        signals.release()
        with pytest.raises(RuntimeError, match="all 2 permits are free"):
            signals.release()
        await signals.acquire()
        await signals.acquire()
        assert signals.available() == 0

    spargio.run(main, shards=2)
    with pytest.raises(ValueError, match="permits must be 1 or more, or 0 with `most`.*, got 0"):
        sync.Semaphore(0)  # Nobody could ever take or give one.
    with pytest.raises(ValueError, match="most must be 1 or more.*, got 0"):
        sync.Semaphore(0, most=0)
    with pytest.raises(ValueError, match="most must be 3 or more.*, got 2"):
        sync.Semaphore(3, most=2)


def test_readers_share_and_writers_do_not() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        lock = sync.RwLock()
        readers = writers = most = 0

        async def read() -> None:
            nonlocal readers, most
            async with lock.read():
                readers += 1
                most = max(most, readers)
                assert writers == 0
                await spargio.yield_now()
                readers -= 1

        async def write() -> None:
            nonlocal writers
            async with lock.write():
                writers += 1
                assert (readers, writers) == (0, 1)
                await spargio.yield_now()
                writers -= 1

        jobs = [handle.spawn_pinned(0, write() if n % 5 == 4 else read()) for n in range(200)]
        for job in jobs:
            await job
        assert most > 1
        async with lock.read():
            writer = await queued(handle, lock._free, write)
            reader = await queued(handle, lock._free, read)  # Waits behind the writer.
            await settle()
            assert not reader.done()
            writer.cancel()
            await reader  # Goes on without it.
            with pytest.raises(spargio.TaskCancelled):
                await writer
        async with lock.write():
            pass

    spargio.run(main, shards=2)


def test_a_condition() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        condition = sync.Condition()
        ready: list[int] = []
        taken: list[int] = []

        async def consume() -> None:
            async with condition:
                while not ready:
                    await condition.wait()
                taken.append(ready.pop())

        jobs = [await queued(handle, condition._waiting, consume) for _ in range(6)]
        for n in range(3):
            async with condition:
                ready.append(n)
                condition.notify()
        await support.until(lambda: len(taken) == 3)
        jobs[3].cancel()  # The lock is had again before it ends, and given back.
        with pytest.raises(spargio.TaskCancelled):
            await jobs[3]
        async with condition:
            ready.extend((7, 8))
            condition.notify_all()
        for job in (*jobs[:3], *jobs[4:]):
            await job
        assert sorted(taken) == [0, 1, 2, 7, 8]
        for call in (condition.notify, condition.notify_all):
            with pytest.raises(RuntimeError, match="without its lock"):
                call()
        with pytest.raises(RuntimeError, match="without its lock"):
            await condition.wait()

    spargio.run(main, shards=2)


def test_events_barriers_cells(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        event = sync.Event()
        jobs = [await queued(handle, event._waiting, event.wait) for _ in range(5)]
        jobs[2].cancel()
        await support.until(jobs[2].done)
        event.set()
        for n, job in enumerate(jobs):
            if n != 2:
                await job
        await event.wait()
        event.clear()
        assert not event.is_set()

        barrier = sync.Barrier(3)
        for _ in range(2):  # It can be used again.
            first = await queued(handle, barrier._waiting, barrier.wait)
            left = await queued(handle, barrier._waiting, barrier.wait)
            left.cancel()  # It has not come.
            await support.until(lambda: takers(barrier._waiting) == 1)
            second = await queued(handle, barrier._waiting, barrier.wait)
            assert await barrier.wait() == 2
            assert (await first, await second) == (0, 1)

        cell: sync.OnceCell[int] = sync.OnceCell()
        made: list[int] = []

        async def make() -> int:
            made.append(1)
            await spargio.yield_now()
            if len(made) == 1:
                raise KeyError("the first one fails")
            return 5

        results = []
        for job in [handle.spawn_stealable(cell.get_or_init(make)) for _ in range(10)]:
            try:
                results.append(await job)
            except KeyError:
                results.append(None)
        assert Counter(results) == {5: 9, None: 1}
        assert (len(made), cell.get()) == (2, 5)

    spargio.run(main, **options)
