"""spargio.sync: channels, broadcasts and watches: who gets what, and nothing is lost."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest
import support
from queues import putters, queued, settle, takers

import spargio
from spargio import sync

# ---- channels ----


@pytest.mark.parametrize("capacity", [1, 7, 1000])
def test_each_item_goes_to_one_receiver(options: dict[str, Any], capacity: int) -> None:
    each = 2_000

    async def main(handle: spargio.RuntimeHandle) -> None:
        sender, receiver = sync.channel(capacity)

        async def produce(n: int) -> None:
            for k in range(each):
                await sender.send((n, k))

        async def consume() -> list[tuple[int, int]]:
            return [item async for item in receiver]

        producers = [handle.spawn_stealable(produce(n)) for n in range(4)]
        consumers = [handle.spawn_stealable(consume()) for _ in range(4)]
        for job in producers:
            await job
        sender.close()
        parts = [await job for job in consumers]
        assert Counter(item for part in parts for item in part) == Counter(
            (n, k) for n in range(4) for k in range(each)
        )
        for part in parts:  # Each receiver sees a producer's items in order.
            for n in range(4):
                own = [k for producer, k in part if producer == n]
                assert own == sorted(own)

    spargio.run(main, **options)


def test_closing_either_side() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        sender, receiver = sync.channel(1)
        await sender.send(1)
        with pytest.raises(sync.ChannelFull):
            sender.try_send(2)
        waiting = await queued(handle, sender._values, lambda: sender.send(2), putters)
        sender.close()
        with pytest.raises(sync.ChannelClosed):
            await sender.send(3)
        assert await receiver.recv() == 1
        assert await receiver.recv() == 2  # It waited before the close.
        await waiting
        with pytest.raises(sync.ChannelClosed):
            await receiver.recv()
        with pytest.raises(sync.ChannelClosed):
            receiver.try_recv()

        sender, receiver = sync.channel(1)
        with pytest.raises(sync.ChannelEmpty):
            receiver.try_recv()
        pending = await queued(handle, receiver._values, receiver.recv)
        sender.close()
        with pytest.raises(sync.ChannelClosed):
            await pending

        sender, receiver = sync.channel(1)
        sender.try_send(1)
        blocked = await queued(handle, sender._values, lambda: sender.send(2), putters)
        receiver.close()
        with pytest.raises(sync.ChannelClosed):
            await blocked
        with pytest.raises(sync.ChannelClosed):
            sender.try_send(3)
        with pytest.raises(ValueError, match="capacity must .*got 0"):
            sync.channel(0)

    spargio.run(main, shards=2)


def test_ordinary_threads_send_and_receive() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        there, here = sync.channel(3), sync.channel(3)

        def thread() -> None:
            while True:
                try:
                    item = there[1].recv_blocking(support.LIMIT_S)
                except sync.ChannelClosed:
                    here[0].close()
                    return
                here[0].send_blocking(item * 2, support.LIMIT_S)

        with support.in_thread(thread):

            async def feed() -> None:
                for n in range(500):
                    await there[0].send(n)
                there[0].close()

            job = handle.spawn_stealable(feed())
            assert [item async for item in here[1]] == [n * 2 for n in range(500)]
            await job

    spargio.run(main, shards=2)
    sender, receiver = sync.channel(1)
    with pytest.raises(TimeoutError):
        receiver.recv_blocking(0.01)
    sender.try_send(1)
    with pytest.raises(TimeoutError):
        sender.send_blocking(2, 0.01)
    assert receiver.try_recv() == 1
    with pytest.raises(sync.ChannelEmpty):
        receiver.try_recv()  # What was not sent in time was not sent.


def test_cancelled_waits_lose_and_double_nothing(options: dict[str, Any]) -> None:
    """Senders and receivers that are cancelled at any moment: what was sent, by those who were not
    told that they were cancelled, is what was received."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def main(handle: spargio.RuntimeHandle) -> None:
        sender, receiver = sync.channel(2)
        sent: list[int] = []
        received: list[int] = []

        async def send(n: int) -> None:
            await sender.send(n)
            sent.append(n)

        async def receive() -> None:
            received.append(await receiver.recv())

        jobs = []
        for n in range(4_000):
            jobs.append(handle.spawn_pinned(n % handle.shard_count(), send(n)))
            jobs.append(handle.spawn_pinned(n % handle.shard_count(), receive()))
            if chosen.random() < 0.5:
                chosen.choice(jobs[-8:]).cancel()
            if n % 50 == 0:
                await spargio.yield_now()
        await settle(200)
        for job in jobs:
            job.cancel()
        for job in jobs:
            with contextlib.suppress(spargio.TaskCancelled):
                await job
        there, receiving, sending, _ = receiver._values.state()
        left = [receiver.try_recv() for _ in range(there)]
        assert Counter(sent) == Counter(received + left)
        assert len(sent) > 500
        assert (receiving, sending) == (0, 0)

    spargio.run(main, **options)


def test_cancelled_waits_lose_no_permit(options: dict[str, Any]) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chosen = random.Random(seed)

    async def main(handle: spargio.RuntimeHandle) -> None:
        semaphore, lock = sync.Semaphore(3), sync.RwLock()

        async def work(n: int) -> None:
            async with semaphore:
                await spargio.yield_now()
            async with lock.write() if n % 3 else lock.read():
                await spargio.yield_now()

        jobs = []
        for n in range(3_000):
            jobs.append(handle.spawn_pinned(n % handle.shard_count(), work(n)))
            if chosen.random() < 0.5:
                chosen.choice(jobs[-20:]).cancel()
            if n % 100 == 0:
                await spargio.yield_now()
        for job in jobs:
            with contextlib.suppress(spargio.TaskCancelled):
                await job
        assert semaphore.available() == 3
        assert repr(lock) == "<RwLock free>"
        assert takers(lock._free) == 0

    spargio.run(main, **options)


def test_a_time_limit_on_a_wait_takes_nothing() -> None:
    async def main() -> None:
        sender, receiver = sync.channel(1)
        with pytest.raises(TimeoutError), spargio.timeout(0.01):
            await receiver.recv()
        sender.try_send(1)
        assert receiver.try_recv() == 1
        lock = sync.Lock()
        async with lock:
            with pytest.raises(TimeoutError), spargio.timeout(0.01):
                await lock.acquire()
        assert not lock.locked()

    spargio.run(main, shards=1)


def test_waits_that_end_in_other_ways_take_nothing() -> None:
    """A coroutine that is closed by hand, one that is stepped outside a task."""

    async def main() -> None:
        semaphore = sync.Semaphore(1)
        await semaphore.acquire()
        sender, receiver = sync.channel(1)
        lock = sync.RwLock()
        async with lock.write():
            for make in (semaphore.acquire, receiver.recv, lock.read().__aenter__):
                closed = make()
                closed.send(None)  # It waits.
                closed.close()
        semaphore.release()
        assert semaphore.available() == 1
        sender.try_send("item")
        assert receiver.try_recv() == "item"
        async with lock.write():
            pass

    async def served() -> None:
        semaphore = sync.Semaphore(1)
        await semaphore.acquire()
        sender, receiver = sync.channel(1)
        for waiting, serve in (
            (semaphore.acquire(), semaphore.release),
            (receiver.recv(), lambda: sender.try_send("item")),
        ):
            waiting.send(None)
            serve()  # It is handed over, and then nobody is there to take it.
            waiting.close()
        assert semaphore.available() == 1
        assert receiver.try_recv() == "item"

    spargio.run(main, shards=1)
    spargio.run(served, shards=1)
    semaphore = sync.Semaphore(0, most=1)
    with pytest.raises(RuntimeError, match="outside a spargio task"):
        semaphore.acquire().send(None)
    assert takers(semaphore._permits) == 0


def test_an_item_may_use_the_channel_when_it_is_dropped() -> None:
    sender, receiver = sync.channel(5)

    class Item:
        def __del__(self) -> None:
            with pytest.raises(sync.ChannelClosed):
                sender.try_send("late")

    for _ in range(3):
        sender.try_send(Item())
    with support.in_thread(receiver.close):
        pass


def test_an_event_may_be_set_by_a_signal_handler() -> None:
    import signal

    async def main(handle: spargio.RuntimeHandle) -> None:
        event = sync.Event()
        before = signal.signal(signal.SIGUSR1, lambda number, frame: event.set())
        try:
            signal.raise_signal(signal.SIGUSR1)
            await event.wait()
        finally:
            signal.signal(signal.SIGUSR1, before)

    spargio.run(main, shards=1)


# ---- one to many ----


def test_broadcast_and_watch(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        source = sync.broadcast(4)
        source.send("before")  # Nobody hears it.
        subscribers = [source.subscribe() for _ in range(3)]

        async def listen(subscriber: sync.Subscriber[Any]) -> list[Any]:
            return [value async for value in subscriber]

        jobs = [handle.spawn_stealable(listen(one)) for one in subscribers[1:]]
        await support.until(lambda: takers(source._values) == 2)
        for n in range(3):
            source.send(n)
        slow = subscribers[0]
        assert await slow.recv() == 0
        await support.until(lambda: takers(source._values) == 2)
        for n in range(3, 7):
            source.send(n)
            await support.until(lambda: takers(source._values) == 2)
        with pytest.raises(sync.Lagged) as caught:
            await slow.recv()
        assert caught.value.missed == 2
        assert [await slow.recv() for _ in range(4)] == [3, 4, 5, 6]
        with pytest.raises(sync.ChannelEmpty):
            slow.try_recv()
        source.close()
        for job in jobs:
            assert await job == list(range(7))
        for call in (slow.recv, lambda: _send(source)):
            with pytest.raises(sync.ChannelClosed):
                await call()

        watched = sync.watch(1)
        watcher = watched.watch()
        pending = handle.spawn_stealable(watcher.changed())
        await support.until(lambda: takers(watched._source._values) == 1)
        watched.send(2)
        assert await pending == 2
        for n in (3, 4, 5):
            watched.send(n)
        assert await watcher.changed() == 5  # The latest, not each.
        assert watcher.borrow() == watched.borrow() == 5
        watched.close()
        with pytest.raises(sync.ChannelClosed):
            await watcher.changed()

    async def _send(source: sync.Broadcast[Any]) -> None:
        source.send(1)

    spargio.run(main, **options)


def test_oneshot_between_shards_and_threads() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        sender, receiver = sync.oneshot()
        threading.Timer(0.001, sender.try_send, ("answer",)).start()
        waits: Awaitable[Any] = handle.spawn_pinned(1, receiver.recv())
        assert await waits == "answer"

    spargio.run(main, shards=2)
