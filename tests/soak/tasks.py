"""Tasks that begin, fail, are cancelled and waited for; channels, locks, timers, messages; work that is stolen."""

from __future__ import annotations

import hashlib
import random
import threading
import time

import spargio
from spargio import ShardCtx, TaskPlacement, sync

from .common import Soak, no_hang

STEP, STOP, SUM = 7, 8, 9
OPTIONS = {"coalesced_hot_msg_tag": SUM}


async def groups(soak: Soak) -> None:
    """Each child that began ends once, whatever way the group goes."""
    rng = soak.random("groups")
    while not soak.over:
        begun = ended = 0
        lock = threading.Lock()

        async def child(seconds: float, fails: bool, lock: threading.Lock = lock) -> int:
            nonlocal begun, ended
            with lock:
                begun += 1
            try:
                await spargio.sleep(seconds)
                if fails:
                    raise LookupError("told to")
                return 1
            finally:
                with lock:
                    ended += 1

        way = rng.choice(("well", "fails", "cancelled", "limit"))
        jobs = []
        try:
            with spargio.timeout(0.004 if way == "limit" else 60):
                async with spargio.TaskGroup() as group:
                    for n in range(rng.randrange(1, 100)):
                        fails = way == "fails" and n % 7 == 3
                        jobs.append(group.spawn(child(rng.random() * 0.01, fails)))
                    if way == "cancelled":
                        await spargio.sleep(0.003)
                        group.cancel()
        except TimeoutError:
            assert way == "limit"
        except Exception as error:
            assert way == "fails", error
            assert all(isinstance(one, LookupError) for one in error.exceptions)  # type: ignore[attr-defined]
        assert begun == ended
        assert all(job.done() for job in jobs)
        if way == "well":
            assert sum([await job for job in jobs]) == len(jobs) == begun
        soak.met(f"group {way}")
        soak.done("groups")


async def channels(soak: Soak) -> None:
    """Three senders, three receivers, some cancelled: each item arrives once, a sender's in its order."""
    rng = soak.random("channels")
    handle = spargio.current_handle()
    while not soak.over:
        sender, receiver = sync.channel(rng.choice((1, 4, 64)))
        sent: list[list[int]] = [[], [], []]
        got: list[tuple[int, int]] = []

        async def produce(
            number: int, sender: sync.Sender[tuple[int, int]] = sender, sent: list[list[int]] = sent
        ) -> None:
            for n in range(300):
                await sender.send((number, n))
                sent[number].append(n)

        async def consume(
            receiver: sync.Receiver[tuple[int, int]] = receiver, got: list[tuple[int, int]] = got
        ) -> None:
            async for item in receiver:
                got.append(item)

        producers = [handle.spawn_stealable(produce(n)) for n in range(3)]
        consumers = [handle.spawn_stealable(consume()) for _ in range(3)]
        if rng.random() < 0.5:
            await spargio.sleep(rng.random() * 0.002)
            producers[0].cancel()
            consumers[0].cancel()
        with no_hang("a channel"):
            for job in producers:
                with soak.expecting(spargio.TaskCancelled):
                    await job
            sender.close()
            for job in consumers:
                with soak.expecting(spargio.TaskCancelled):
                    await job
        # A send whose cancellation came too late was made, and the sender not told.
        assert len(set(got)) == len(got)
        for number in (1, 2):
            assert sorted(n for who, n in got if who == number) == list(range(300))
        assert set(sent[0]) <= {n for who, n in got if who == 0}
        soak.done("channels")


async def locks(soak: Soak) -> None:
    """A counter under a lock that is waited for with time limits."""
    rng = soak.random("locks")
    handle = spargio.current_handle()
    lock = sync.Lock()
    held = 0

    async def turn(limit: float) -> None:
        nonlocal held
        with soak.expecting(TimeoutError), spargio.timeout(limit):
            async with lock:
                assert held == 0
                held = 1
                try:
                    await spargio.yield_now()
                finally:
                    held = 0

    while not soak.over:
        with no_hang("a lock"):
            for job in [
                handle.spawn_stealable(turn(rng.choice((0.0001, 0.001, 30)))) for _ in range(40)
            ]:
                await job
        soak.done("locks")


async def timers(soak: Soak) -> None:
    """No sleep ends early; limits and sleeps are cancelled by the hundred."""
    rng = soak.random("timers")

    async def one(seconds: float) -> None:
        began = time.monotonic()
        await spargio.sleep(seconds)
        assert time.monotonic() - began >= seconds

    while not soak.over:
        async with spargio.TaskGroup() as group:
            for n in range(300):
                job = group.spawn(one(rng.random() * 0.02))
                if n % 5 == 0:
                    job.cancel()
        soak.done("timers")


async def messages(soak: Soak) -> None:
    """Numbers go round all shards and come home in order; sums add up."""
    handle = spargio.current_handle()
    shards = handle.shard_count()

    async def pass_on(target: int) -> None:
        ctx = ShardCtx.current()
        while True:
            event = await ctx.next_event()
            ctx.send_raw_nowait(target, event.tag, event.value)
            ctx.send_raw_nowait(0, SUM, 1)
            if event.tag == STOP:
                return

    async def drive() -> None:
        ctx = ShardCtx.current()
        number = summed = 0
        while not soak.over:
            batch = 200
            ctx.send_many_raw_nowait(1 % shards, [(STEP, number + n) for n in range(batch)])
            with no_hang("messages"):
                for n in range(batch):
                    event = await ctx.next_event()
                    assert (event.tag, event.value) == (STEP, number + n)
            number = (number + batch) % (1 << 31)
            summed += batch
            soak.done("messages")
        ctx.send_raw_nowait(1 % shards, STOP, 0)
        assert (await ctx.next_event()).tag == STOP
        total = (summed + 1) * (shards - 1)
        while total > 0:
            total -= await ctx.next_hot_count(SUM)
        assert total == 0

    if shards == 1:
        soak.stop()
        raise AssertionError("the workload of messages wants 2 shards or more")
    for shard in range(1, shards):
        handle.spawn_pinned(shard, pass_on((shard + 1) % shards))
    await handle.spawn_pinned(0, drive())


async def stolen(soak: Soak) -> None:
    """Work for a CPU, queued on one shard; also a storm of spawns of all placements."""
    rng = soak.random("stolen")
    handle = spargio.current_handle()

    async def hash_it(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    async def storm(depth: int) -> int:
        if depth == 0:
            return 1
        jobs = [
            handle.spawn_with_placement(placement(rng, handle.shard_count()), storm(depth - 1))
            for _ in range(3)
        ]
        return 1 + sum([await job for job in jobs])

    while not soak.over:
        data = rng.randbytes(100_000)
        jobs = [handle.spawn_stealable_on(0, hash_it(data)) for _ in range(50)]
        with no_hang("stealable work"):
            assert {await job for job in jobs} == {hashlib.sha256(data).digest()}
            assert await handle.spawn_stealable(storm(4)) == 121
        soak.done("stolen")


def placement(rng: random.Random, shards: int) -> object:
    return rng.choice(
        (
            TaskPlacement.Stealable,
            TaskPlacement.RoundRobin,
            TaskPlacement.Pinned(rng.randrange(shards)),
            TaskPlacement.Sticky(rng.randrange(100)),
            TaskPlacement.StealablePreferred(rng.randrange(shards)),
        )
    )


WORKLOADS = {
    "groups": groups,
    "channels": channels,
    "locks": locks,
    "timers": timers,
    "messages": messages,
    "stolen": stolen,
}
