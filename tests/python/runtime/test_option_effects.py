"""Each option of shards and stealing, changed, changes the counter or behaviour that it names.

The rules are in zig-src/scheduler/steal_policy.zig. A shard is blocked by a task that waits outside the interpreter,
so the others see one that is stuck, with a GIL and without; what they do is read off the counters."""

from __future__ import annotations

import time
from typing import Any

import pytest
import support

import spargio

TICK_NS = 50_000


async def where() -> int:
    return spargio.current_shard()


async def nothing() -> None:
    pass


def build(**options: Any) -> spargio.Runtime:
    return spargio.RuntimeBuilder().apply(**options).build()


def scans(stats: spargio.RuntimeStats) -> int:
    """Each scan ends in one of these."""
    return stats.steal_attempts + stats.steal_skipped_empty + stats.steal_skipped_locality


def test_shards() -> None:
    for count in (1, 3):
        with build(shards=count) as handle:
            placements = [spargio.TaskPlacement.RoundRobin] * (2 * count)
            jobs = [handle.spawn_with_placement(one, where()) for one in placements]
            assert {job.result(support.LIMIT_S) for job in jobs} == set(range(count))


def test_steal_budget() -> None:
    """512 stealable tasks on one shard: with 1 per pass they take 512 passes, one of which is the
    blocker's own."""

    def passes(budget: int) -> int:
        with build(shards=1, steal_budget=budget) as handle:
            with support.Blocker(handle, 0):
                jobs = [handle.spawn_stealable(nothing()) for _ in range(512)]
                before = handle.stats_snapshot().passes
            for job in jobs:
                job.result(support.LIMIT_S)
            return int(handle.stats_snapshot().passes - before)

    assert passes(1) >= 511
    assert 512 / 64 - 1 <= passes(64) < 256
    assert passes(65536) < 32


def stolen_from(shard: int, **options: Any) -> int:
    """How many of 6 tasks queued behind a blocked shard of 3 the others take, one steal at a time."""
    with build(shards=3, steal_batch_size=1, **options) as handle:
        with support.Blocker(handle, shard):
            jobs = [handle.spawn_stealable_on(shard, where()) for _ in range(6)]
            before = scans(handle.stats_snapshot())
            support.eventually(
                lambda: (
                    all(job.done() for job in jobs) or scans(handle.stats_snapshot()) > before + 100
                )
            )
            return sum(job.done() for job in jobs)


def test_steal_victim_stride() -> None:
    """With one victim per scan, a stride of 2 among 2 others always leads to the same one: shards 1
    and 2 look at shard 0, nobody looks at shard 2. A stride of 1 leads to all."""
    assert [
        stolen_from(shard, steal_victim_probe_count=1, steal_victim_stride=1) for shard in range(3)
    ] == [6, 6, 6]
    assert stolen_from(0, steal_victim_probe_count=1, steal_victim_stride=2) == 6
    assert stolen_from(2, steal_victim_probe_count=1, steal_victim_stride=2) == 0


@pytest.mark.parametrize(("probes", "looked_at"), [(1, 1), (2, 2), (3, 3), (256, 3)])
def test_steal_victim_probe_count(probes: int, looked_at: int) -> None:
    with build(shards=4, steal_victim_probe_count=probes) as handle:
        for shard in range(4):
            with support.Blocker(handle, shard):
                for job in [handle.spawn_stealable_on(shard, where()) for _ in range(20)]:
                    job.result(support.LIMIT_S)
    stats = handle.stats_snapshot()
    assert stats.steal_success > 0
    assert stats.steal_scans == looked_at * scans(stats)


def test_steal_batch_size() -> None:
    def moved_per_steal(size: int) -> float:
        with build(shards=2, steal_batch_size=size) as handle:
            with support.Blocker(handle, 0):
                # Queued before anybody looks: the thief is blocked as well.
                with support.Blocker(handle, 1):
                    jobs = [handle.spawn_stealable_on(0, where()) for _ in range(64)]
                for job in jobs:
                    assert job.result(support.LIMIT_S) == 1
            stats = handle.stats_snapshot()
            assert stats.stealable_stolen == stats.steal_tasks_moved == 64
            return float(stats.steal_tasks_moved / stats.steal_success)

    assert moved_per_steal(1) == 1
    assert 1 < moved_per_steal(4) <= 4
    # At most half of the queue each time: 32, 16, 8, 4, 2, 1 and 1.
    assert moved_per_steal(1024) == 64 / 7


def steals_within(count: int, **options: Any) -> tuple[int, spargio.RuntimeStats]:
    """How many tasks leave a blocked shard until so many scans found that they had better stay."""
    with build(shards=2, steal_backoff_max=1, **options) as handle:
        with support.Blocker(handle, 0):
            jobs = [handle.spawn_stealable_on(0, where()) for _ in range(8)]
            support.eventually(
                lambda: (
                    all(job.done() for job in jobs)
                    or handle.stats_snapshot().steal_skipped_locality >= count
                )
            )
            done = sum(job.done() for job in jobs)
        for job in jobs:
            job.result(support.LIMIT_S)
        return done, handle.stats_snapshot()


@pytest.mark.alone
def test_steal_locality_margin() -> None:
    """A second more than the cost: nothing here is blocked so long."""
    done, stats = steals_within(10, steal_locality_margin=1_000_000)
    assert (done, stats.steal_attempts) == (0, 0)
    assert stats.steal_skipped_locality >= 10
    assert stats.stealable_local_hits == 8
    for margin in (0, 1):
        done, stats = steals_within(1_000_000, steal_locality_margin=margin)
        assert (done, stats.stealable_stolen) == (8, 8)


@pytest.mark.alone
def test_steal_fail_cost() -> None:
    """The first scan of a victim that is only just blocked never pays; a second for each such scan
    keeps the next ones from it, nothing for it does not."""
    done, stats = steals_within(50, steal_fail_cost=1_000_000)
    assert (done, stats.stealable_stolen) == (0, 0)
    assert stats.steal_failed_streak_max >= 50
    done, stats = steals_within(1_000_000, steal_fail_cost=0)
    assert (done, stats.stealable_stolen) == (8, 8)


def pauses(**options: Any) -> tuple[int, float]:
    """Scans that a shard makes which finds nothing worth taking, and the seconds they took."""
    with build(shards=2, steal_locality_margin=1_000_000, **options) as handle:
        with support.Blocker(handle, 0):
            job = handle.spawn_stealable_on(0, where())
            began = time.monotonic()
            before = scans(handle.stats_snapshot())
            support.eventually(
                lambda: (
                    scans(handle.stats_snapshot()) >= before + 200 or time.monotonic() - began > 0.1
                )
            )
            took_s = time.monotonic() - began
            found = scans(handle.stats_snapshot()) - before
        job.result(support.LIMIT_S)
    return found, took_s


@pytest.mark.alone
def test_steal_backoff_min() -> None:
    """The shortest pause bounds how many scans fit into the time."""
    for ticks in (40, 400):
        found, took_s = pauses(steal_backoff_min=ticks, steal_backoff_max=ticks)
        assert found <= took_s * 1e9 / (ticks * TICK_NS) + 2
    found, took_s = pauses(steal_backoff_min=1, steal_backoff_max=1)
    assert found > 2 * (took_s * 1e9 / (40 * TICK_NS) + 2)


@pytest.mark.alone
def test_steal_backoff_max() -> None:
    """The pause doubles up to it: 1, 2, 4, ... ticks are 11 scans in 0.1 s."""
    found, took_s = pauses(steal_backoff_min=1, steal_backoff_max=65536)
    assert found <= 14, took_s
    few, took_s = pauses(steal_backoff_min=1, steal_backoff_max=8)
    assert few > 3 * 14, took_s


def test_a_pause_is_counted_as_a_skip() -> None:
    """A shard that wants to look, but its pause is not over."""
    with build(
        shards=2, steal_locality_margin=1_000_000, steal_backoff_min=2000, steal_backoff_max=2000
    ) as handle:
        with support.Blocker(handle, 0):
            jobs = [handle.spawn_stealable_on(0, where()) for _ in range(4)]
            before = handle.stats_snapshot().steal_skipped_backoff

            def more() -> bool:
                handle.spawn_pinned(1, nothing()).result(support.LIMIT_S)
                return bool(handle.stats_snapshot().steal_skipped_backoff > before)

            support.eventually(more)
        for job in jobs:
            job.result(support.LIMIT_S)


def test_stealable_queue_capacity() -> None:
    for capacity in (1, 5):
        with build(shards=1, stealable_queue_capacity=capacity) as handle:
            with support.Blocker(handle, 0):
                accepted = 0
                coroutine = nothing()
                try:
                    while True:
                        handle.spawn_stealable(coroutine)
                        accepted += 1
                        coroutine = nothing()
                except spargio.Overloaded:
                    coroutine.close()
            assert accepted == capacity
            assert handle.stats_snapshot().stealable_backpressure == 1


@pytest.mark.parametrize(("backend", "first"), [("mutex", 7), ("lock_free", 0)])
def test_stealable_queue_backend(backend: str, first: int) -> None:
    """A thief takes the newest from the mutex deque, the oldest from the lock-free queue."""
    order: list[int] = []

    async def note(n: int) -> None:
        order.append(n)

    with build(shards=2, stealable_queue_backend=backend, steal_batch_size=1) as handle:
        with support.Blocker(handle, 0):
            with support.Blocker(handle, 1):
                jobs = [handle.spawn_stealable_on(0, note(n)) for n in range(8)]
            for job in jobs:
                job.result(support.LIMIT_S)
    assert order[0] == first
    assert sorted(order) == list(range(8))
