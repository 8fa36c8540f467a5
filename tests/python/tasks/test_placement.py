"""Where tasks run. What blocks a shard here waits outside the interpreter, so it tells the same
with a GIL and without."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
import support

import spargio
from spargio import TaskPlacement


async def where() -> int:
    shard = spargio.current_shard()
    for _ in range(3):
        await spargio.yield_now()
        await spargio.sleep(0)
        assert spargio.current_shard() == shard
    return shard


def test_pinned(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        count = handle.shard_count()
        jobs = [(n % count, handle.spawn_pinned(n % count, where())) for n in range(8 * count)]
        by_placement = [
            (shard, handle.spawn_with_placement(TaskPlacement.Pinned(shard), where()))
            for shard in range(count)
        ]
        for shard, job in jobs + by_placement:
            assert (await job, job.shard) == (shard, shard)

    spargio.run(main, **options)


def test_round_robin_takes_the_shards_in_turn(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        count = handle.shard_count()
        jobs = [
            handle.spawn_with_placement(TaskPlacement.RoundRobin, where()) for _ in range(8 * count)
        ]
        shards = [await job for job in jobs]
        assert shards == [(shards[0] + n) % count for n in range(8 * count)]

    spargio.run(main, **options)


def test_sticky_equal_keys_equal_shard(options: dict[str, Any]) -> None:
    keys: list[Any] = [*range(-20, 20), "a", "b", ("a", 1), b"bytes", None, 1 << 80, 0.5, -1.5]

    async def main(handle: spargio.RuntimeHandle) -> None:
        found: dict[Any, set[int]] = {}
        jobs = [
            (key, handle.spawn_with_placement(TaskPlacement.Sticky(key), where()))
            for key in keys * 3
        ]
        for key, job in jobs:
            found.setdefault(key, set()).add(await job)
        assert all(len(shards) == 1 for shards in found.values())
        used = set.union(*found.values())
        assert used == set(range(handle.shard_count()))

    spargio.run(main, **options)


def test_an_unhashable_key_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        TaskPlacement.Sticky([])  # type: ignore[arg-type]


def test_stealable_runs_on_the_preferred_shard_where_that_is_free() -> None:
    """One after another, and staying is favoured by a second: there is no reason to move. (Without a
    lock that all share, a shard that is awake rightly runs what another would have to wake up for.)"""

    async def main(handle: spargio.RuntimeHandle) -> None:
        for shard in range(handle.shard_count()):
            assert await handle.spawn_stealable_on(shard, where()) == shard
            placement = TaskPlacement.StealablePreferred(shard)
            assert await handle.spawn_with_placement(placement, where()) == shard
        stats = handle.stats_snapshot()
        assert (stats.stealable_executed, stats.stealable_local_hits) == (8, 8)
        assert stats.local_hit_ratio() == 1.0

    spargio.run(main, shards=4, steal_locality_margin=1_000_000)


def test_stealable_prefers_the_shards_in_turn() -> None:
    with spargio.Runtime.builder().shards(4).steal_locality_margin(1_000_000).build() as handle:
        shards = [handle.spawn_stealable(where()).result(support.LIMIT_S) for _ in range(16)]
    assert shards == [(shards[0] + n) % 4 for n in range(16)]


def test_stealable_stays_with_a_task_that_spawns_it_where_shards_share_a_lock() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        own = spargio.current_shard()
        shards = [await handle.spawn_stealable(where()) for _ in range(16)]
        in_turn = [(shards[0] + n) % 4 for n in range(16)]
        assert shards == (in_turn if support.free_threaded() else [own] * 16)

    spargio.run(main, shards=4, steal_locality_margin=1_000_000)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_wrong_shard_is_a_value_error_with_the_range(shards: int) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        for wrong in (shards, 255, 1 << 40):
            for spawn in (
                handle.spawn_pinned,
                handle.spawn_stealable_on,
                lambda shard, coroutine: handle.spawn_with_placement(
                    TaskPlacement.StealablePreferred(shard), coroutine
                ),
            ):
                coroutine = where()
                with pytest.raises(ValueError, match=f"between 0 and {shards - 1}, got {wrong}"):
                    spawn(wrong, coroutine)
                coroutine.close()
        coroutine = where()
        with pytest.raises(ValueError, match="-1"):
            handle.spawn_pinned(-1, coroutine)
        with pytest.raises(TypeError):
            handle.spawn_pinned("0", coroutine)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="placement"):
            handle.spawn_with_placement(TaskPlacement(5), coroutine)
        coroutine.close()
        stats = handle.stats_snapshot()
        assert stats.tasks_started == 1

    spargio.run(main, shards=shards)


def test_current_shard_outside_a_task_is_a_runtime_error() -> None:
    for call in (spargio.current_shard, spargio.current_handle):
        with pytest.raises(RuntimeError):
            call()


def test_current_handle_is_of_the_runtime_that_runs_the_task() -> None:
    async def count() -> int:
        return spargio.current_handle().shard_count()

    with (
        spargio.Runtime.builder().shards(1).build() as one,
        spargio.Runtime.builder().shards(3).build() as three,
    ):
        assert one.spawn_stealable(count()).result(support.LIMIT_S) == 1
        assert three.spawn_stealable(count()).result(support.LIMIT_S) == 3


@pytest.mark.alone
def test_blocking_coroutines_spread_over_the_shards() -> None:
    """40 of them, 5 ms each, wanted on shard 0: pinned they take 0.2 s."""
    count, each_s = 40, 0.005

    async def block() -> int:
        time.sleep(each_s)
        return spargio.current_shard()

    with spargio.Runtime.builder().shards(4).build() as handle:

        def measure(placement: TaskPlacement) -> tuple[float, set[int]]:
            began = time.monotonic()
            jobs = [handle.spawn_with_placement(placement, block()) for _ in range(count)]
            shards = {job.result(support.LIMIT_S) for job in jobs}
            return time.monotonic() - began, shards

        pinned_s, pinned_on = measure(TaskPlacement.Pinned(0))
        assert (pinned_on, handle.stats_snapshot().stealable_stolen) == ({0}, 0)
        spread_s, spread_on = measure(TaskPlacement.StealablePreferred(0))
        stats = handle.stats_snapshot()
    assert spread_s <= 0.6 * pinned_s, (spread_s, pinned_s)
    assert len(spread_on) > 1
    assert stats.stealable_stolen > 0
    assert stats.stealable_executed == stats.stealable_stolen + stats.stealable_local_hits == count


def test_only_stealable_tasks_move() -> None:
    """All are queued behind a shard that is blocked: the stealable ones are taken from it."""
    with spargio.Runtime.builder().shards(2).build() as handle:
        sticky = next(
            placement
            for placement in map(TaskPlacement.Sticky, range(100))
            if handle.spawn_with_placement(placement, where()).result(support.LIMIT_S) == 0
        )
        with support.Blocker(handle, 0):
            stay = [handle.spawn_pinned(0, where()) for _ in range(20)]
            stay += [handle.spawn_with_placement(sticky, where()) for _ in range(20)]
            in_turn = [
                handle.spawn_with_placement(TaskPlacement.RoundRobin, where()) for _ in range(20)
            ]
            move = [handle.spawn_stealable_on(0, where()) for _ in range(20)]
            assert [job.result(support.LIMIT_S) for job in move] == [1] * 20
            assert not any(job.done() for job in stay)
            assert [job.shard for job in stay] == [None] * 40
            support.eventually(lambda: sum(job.done() for job in in_turn) == 10)
        assert [job.result(support.LIMIT_S) for job in stay] == [0] * 40
        assert sorted(job.result(support.LIMIT_S) for job in in_turn) == [0] * 10 + [1] * 10
        stats = handle.stats_snapshot()
        assert stats.stealable_stolen == 20
        assert stats.stealable_local_hits == 0


def test_a_task_that_has_begun_stays() -> None:
    """It waits on a shard that then blocks: it goes on there, when that is free again."""
    wake = threading.Event()

    async def begun() -> int:
        await support.until(wake.is_set)
        return spargio.current_shard()

    with spargio.Runtime.builder().shards(2).build() as handle:
        jobs = [handle.spawn_stealable_on(0, begun()) for _ in range(10)]
        support.eventually(lambda: all(job.shard is not None for job in jobs))
        homes = [job.shard for job in jobs]
        with support.Blocker(handle, 0):
            wake.set()
        assert [job.result(support.LIMIT_S) for job in jobs] == homes


@pytest.mark.parametrize("backend", ["mutex", "lock_free"])
def test_a_mix_of_placements_runs_each_once(backend: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    ran: list[int] = []

    async def work(n: int, wanted: int | None) -> None:
        if choose_sleep[n]:
            await spargio.sleep(0)
        assert wanted in (None, spargio.current_shard())
        ran.append(n)

    total = 5_000
    choose_sleep = [choose.random() < 0.3 for _ in range(total)]

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = []
        for n in range(total):
            shard = choose.randrange(4)
            placement, wanted = choose.choice(
                [
                    (TaskPlacement.Pinned(shard), shard),
                    (TaskPlacement.RoundRobin, None),
                    (TaskPlacement.Sticky(n), None),
                    (TaskPlacement.Stealable, None),
                    (TaskPlacement.StealablePreferred(shard), None),
                ]
            )
            jobs.append(handle.spawn_with_placement(placement, work(n, wanted)))
            if choose.random() < 0.01:
                await spargio.yield_now()
        for job in jobs:
            await job

    spargio.run(main, shards=4, stealable_queue_backend=backend, stealable_queue_capacity=8192)
    assert sorted(ran) == list(range(total))


def test_a_task_that_yields_lets_queued_stealable_ones_begin() -> None:
    """Each pass runs `steal_budget` of them, however often another task yields."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        jobs = [handle.spawn_stealable(where()) for _ in range(1_000)]
        for turn in range(1, 21):
            await spargio.yield_now()
            begun = sum(job.shard is not None for job in jobs)
            assert begun >= min(1_000, 64 * (turn - 1))
        for job in jobs:
            await job

    spargio.run(main, shards=1)
