"""Full queues: refused and counted, accepted again later; what was accepted runs once."""

from __future__ import annotations

import ctypes
import functools
import shutil
import threading
from typing import Any

import programs
import pytest
import support

import spargio

backends = pytest.mark.parametrize("backend", ["mutex", "lock_free"])


async def nothing() -> None:
    pass


@backends
@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_overloaded_at_the_capacity_and_accepted_again(backend: str, capacity: int) -> None:
    builder = spargio.Runtime.builder().shards(1).stealable_queue_capacity(capacity)
    with builder.stealable_queue_backend(backend).build() as handle:
        for round_number in range(1, 4):
            with support.Blocker(handle, 0):
                jobs = [handle.spawn_stealable(nothing()) for _ in range(capacity)]
                for _ in range(5):
                    coroutine = nothing()
                    with pytest.raises(spargio.Overloaded, match="stealable_queue_capacity"):
                        handle.spawn_stealable(coroutine)
                    coroutine.close()
                stats = handle.stats_snapshot()
                assert stats.stealable_queue_depth == capacity
                assert stats.stealable_backpressure == 5 * round_number
                assert stats.stealable_queue_high_water == capacity
                # The other placements do not use that queue.
                pinned = handle.spawn_pinned(0, nothing())
            for job in [*jobs, pinned]:
                job.result(support.LIMIT_S)
        stats = handle.stats_snapshot()
        assert stats.stealable_executed == 3 * capacity
        assert stats.spawn_accepted == 3 * (capacity + 2)  # With the blocker and the pinned one.
        assert stats.spawn_refused == 0


def test_a_refused_coroutine_can_be_spawned_later() -> None:
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    with spargio.Runtime.builder().shards(1).stealable_queue_capacity(1).build() as handle:
        with support.Blocker(handle, 0):
            first = handle.spawn_stealable(work())
            coroutine = work()
            with pytest.raises(spargio.Overloaded):
                handle.spawn_stealable(coroutine)
        first.result(support.LIMIT_S)
        handle.spawn_stealable(coroutine).result(support.LIMIT_S)
    assert ran == [1, 1]


def test_only_the_preferred_shards_queue_counts() -> None:
    with (
        spargio.Runtime.builder()
        .shards(2)
        .stealable_queue_capacity(2)
        .steal_locality_margin(1_000_000)
        .build() as handle
    ):
        with support.Blocker(handle, 0), support.Blocker(handle, 1):
            jobs = [handle.spawn_stealable_on(0, nothing()) for _ in range(2)]
            coroutine = nothing()
            with pytest.raises(spargio.Overloaded):
                handle.spawn_stealable_on(0, coroutine)
            jobs.append(handle.spawn_stealable_on(1, coroutine))
        for job in jobs:
            job.result(support.LIMIT_S)


@backends
def test_inside_a_task(backend: str) -> None:
    async def main(handle: spargio.RuntimeHandle) -> int:
        jobs = []
        refused = 0
        for _ in range(1000):
            coroutine = nothing()
            while True:
                try:
                    jobs.append(handle.spawn_stealable(coroutine))
                    break
                except spargio.Overloaded:
                    refused += 1
                    await spargio.yield_now()
        for job in jobs:
            await job
        stats = handle.stats_snapshot()
        assert stats.stealable_backpressure == refused
        assert stats.stealable_executed == 1000
        return refused

    assert spargio.run(main, shards=2, stealable_queue_capacity=16, stealable_queue_backend=backend)


TOTAL = 1_000_000 if shutil.which("cc") else 100_000
PRODUCERS = 4


@backends
def test_a_million_tasks_each_once(backend: str) -> None:
    """From 4 threads through queues of 1,024."""
    if TOTAL < 1_000_000:
        pytest.skip("no C compiler: 100,000 coroutines instead, in the next test")
    mark = programs.address(programs.compiled().mark)
    slots = ctypes.create_string_buffer(TOTAL)
    base = ctypes.addressof(slots)
    share = TOTAL // PRODUCERS
    counts: list[tuple[int, int]] = []

    builder = spargio.Runtime.builder().shards(4).stealable_queue_capacity(1024)
    with builder.stealable_queue_backend(backend).build() as handle:

        def produce(number: int) -> None:
            accepted = refused = 0
            spawn = handle.spawn_native
            for place in range(base + number * share, base + (number + 1) * share):
                while True:
                    try:
                        spawn(mark, place)
                        break
                    except spargio.Overloaded:
                        refused += 1
                accepted += 1
            counts.append((accepted, refused))

        in_threads(produce)
        support.eventually(lambda: handle.stats_snapshot().tasks_ended == TOTAL)
        stats = handle.stats_snapshot()
        check(stats, counts)
        assert stats.ops_in_flight == stats.stealable_queue_depth == stats.run_queue_depth == 0
    assert slots.raw[:TOTAL] == b"\1" * TOTAL


@backends
def test_100_000_coroutines_each_once(backend: str) -> None:
    total = 100_000 if TOTAL < 1_000_000 else 40_000
    share = total // PRODUCERS
    ran = bytearray(total)
    lock = threading.Lock()
    counts: list[tuple[int, int]] = []

    async def mark(n: int) -> None:
        with lock:
            ran[n] += 1

    builder = spargio.Runtime.builder().shards(4).stealable_queue_capacity(1024)
    with builder.stealable_queue_backend(backend).build() as handle:

        def produce(number: int) -> None:
            accepted = refused = 0
            for n in range(number * share, (number + 1) * share):
                coroutine = mark(n)
                while True:
                    try:
                        handle.spawn_stealable(coroutine)
                        break
                    except spargio.Overloaded:
                        refused += 1
                accepted += 1
            counts.append((accepted, refused))

        in_threads(produce)
        support.eventually(lambda: handle.stats_snapshot().tasks_ended == total)
        check(handle.stats_snapshot(), counts)
    assert ran == b"\1" * total


def in_threads(produce: Any) -> None:
    threads = [threading.Thread(target=produce, args=(n,)) for n in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def check(stats: spargio.RuntimeStats, counts: list[tuple[int, int]]) -> None:
    accepted = sum(one for one, _ in counts)
    refused = sum(one for _, one in counts)
    assert len(counts) == PRODUCERS
    assert stats.spawn_accepted == stats.tasks_ended == accepted
    assert stats.stealable_executed == accepted
    assert stats.stealable_stolen + stats.stealable_local_hits == accepted
    assert stats.stealable_backpressure == refused
    assert stats.stealable_queue_high_water <= 1024


# ---- a million ----

MILLION = 1_000_000


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@support.needs_io_uring  # Once is enough: the queues know no backend.
@pytest.mark.parametrize(("placement", "count"), [("stealable", MILLION), ("pinned", MILLION // 5)])
def test_a_million_queued(placement: str, count: int) -> None:
    """All of them run, once each; what they take while they are queued is bounded."""
    ran = 0

    async def one() -> None:
        nonlocal ran
        ran += 1

    with spargio.Runtime.builder().shards(1).stealable_queue_capacity(MILLION).build() as handle:
        spawn: Any = {
            "stealable": handle.spawn_stealable,
            "pinned": functools.partial(handle.spawn_pinned, 0),
        }[placement]
        with support.Blocker(handle, 0):
            before = resident()
            for _ in range(count):
                spawn(one())
            each = (resident() - before) / count
        support.eventually(lambda: ran == count)
        assert handle.stats_snapshot().tasks_started == count + 1
    assert each < 1024, f"{each:.0f} bytes for each"


@support.needs_io_uring
def test_what_is_refused_leaves_nothing_behind() -> None:
    async def one() -> None:
        raise AssertionError("it is cancelled")

    capacity, count = 4096, 200_000
    with spargio.Runtime.builder().shards(1).build() as handle:
        with support.Blocker(handle, 0):
            jobs = [handle.spawn_stealable(one()) for _ in range(capacity)]
            before = resident()
            coroutine = one()
            for _ in range(count):
                try:
                    handle.spawn_stealable(coroutine)
                except spargio.Overloaded:
                    continue
                raise AssertionError("the queue was full")
            coroutine.close()
            grown = resident() - before
            assert handle.stats_snapshot().stealable_backpressure == count
            for job in jobs:
                job.cancel()
    assert grown < 4 << 20
