"""Snapshots: names, sums, ratios, monotonic counters, what an event counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import support

import spargio

ROOT = Path(__file__).parents[3]

GAUGES = {"ops_in_flight", "timers_set", "run_queue_depth", "stealable_queue_depth"}
MAXIMA = {"steal_failed_streak_max", "stealable_queue_high_water"}

REFERENCE_NAMES = {
    "spawn_pinned_submitted",
    "spawn_stealable_submitted",
    "stealable_executed",
    "stealable_stolen",
    "stealable_local_hits",
    "stealable_backpressure",
    "steal_attempts",
    "steal_scans",
    "steal_success",
    "steal_skipped_backoff",
    "steal_skipped_locality",
    "steal_failed_streak_max",
    "stealable_wake_sent",
    "stealable_wake_coalesced",
    "ring_msgs_submitted",
    "ring_msgs_completed",
    "ring_msgs_failed",
    "ring_msgs_backpressure",
}


async def work(n: int) -> int:
    await spargio.yield_now()
    await spargio.sleep(0)
    return n


def load(handle: spargio.RuntimeHandle, count: int = 200) -> None:
    placements = [
        spargio.TaskPlacement.Stealable,
        spargio.TaskPlacement.RoundRobin,
        spargio.TaskPlacement.Pinned(0),
        spargio.TaskPlacement.Sticky("key"),
    ]
    jobs = [handle.spawn_with_placement(placements[n % 4], work(n)) for n in range(count)]
    for job in jobs:
        job.result(support.LIMIT_S)


def test_names_follow_the_reference() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        stats = handle.stats_snapshot()
    assert set(stats.as_dict()) >= REFERENCE_NAMES
    assert set(dir(stats)) >= REFERENCE_NAMES
    for name in REFERENCE_NAMES:
        assert getattr(stats, name) >= 0
    with pytest.raises(AttributeError, match="no counter is named 'nonsense'"):
        _ = stats.nonsense


def test_names_are_those_of_the_schema() -> None:
    schema = (ROOT / "docs" / "stats.cddl").read_text()
    described = set(re.findall(r"^\s*\??\s*\"?(\w+)\"?\s*[:=]", schema, re.MULTILINE))
    with spargio.Runtime.builder().shards(1).build() as handle:
        stats = handle.stats_snapshot()
    assert set(stats.as_dict()) | set(stats.options) <= described


def test_shape_of_a_snapshot(options: dict[str, Any]) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        stats = handle.stats_snapshot()
        assert len(stats.shards) == handle.shard_count() == stats.options["shards"]
        assert [shard.shard for shard in stats.shards] == list(range(handle.shard_count()))
        assert stats.version == 1
        assert stats.library == spargio.__version__
        assert all(isinstance(value, int) for value in stats.options.values())
        assert "spawn_accepted" in repr(stats)

    spargio.run(main, **options)


def test_totals_are_the_sums(options: dict[str, Any]) -> None:
    with spargio.RuntimeBuilder().apply(**options).build() as handle:
        load(handle)
    # Stopped, so that nothing moves while it is read.
    stats = handle.stats_snapshot()
    total = stats.as_dict()
    total.pop("ring_msgs_failed_by_errno")
    for name, value in total.items():
        parts = [shard.as_dict()[name] for shard in stats.shards]
        outside = stats.outside.as_dict().get(name, 0)
        if name in MAXIMA:
            assert value == max(parts), name
        else:
            assert value == sum(parts) + outside, name
    assert stats.spawn_accepted == stats.tasks_ended == 200


def test_ratios_are_0_before_the_first_event() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        stats = handle.stats_snapshot()
        for one in (stats, *stats.shards):
            ratios = (one.steal_success_rate(), one.local_hit_ratio(), one.stolen_per_scan())
            assert ratios == (0.0, 0.0, 0.0)
            assert all(isinstance(ratio, float) for ratio in ratios)


def test_ratios_are_their_formulas() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        with support.Blocker(handle, 0):
            for job in [handle.spawn_stealable(work(n)) for n in range(50)]:
                job.result(support.LIMIT_S)
        stats = handle.stats_snapshot()
    assert stats.stealable_stolen > 0
    assert stats.local_hit_ratio() == stats.stealable_local_hits / stats.stealable_executed
    assert stats.steal_success_rate() == stats.steal_success / stats.steal_attempts
    assert stats.stolen_per_scan() == stats.steal_success / stats.steal_scans


def test_counters_are_monotonic_under_load(options: dict[str, Any]) -> None:
    """Spawns that are refused among them: what they counted before must not be taken back."""
    given = {**options, "stealable_queue_capacity": 8}
    with spargio.RuntimeBuilder().apply(**given).build() as handle:

        def spawn() -> None:
            for n in range(3_000):
                coroutine = work(n)
                try:
                    handle.spawn_stealable(coroutine)
                except spargio.Overloaded:
                    coroutine.close()

        with support.in_thread(spawn) as outcome:
            before: dict[str, int] = {}
            snapshots = 0
            while outcome.thread.is_alive() or snapshots < 3:
                now = flat(handle.stats_snapshot())
                lower = {
                    name: (before[name], now[name]) for name in before if now[name] < before[name]
                }
                assert lower == {}
                before = now
                snapshots += 1


def flat(stats: spargio.RuntimeStats) -> dict[str, int]:
    found = {}
    for where, one in (
        ("total", stats),
        ("outside", stats.outside),
        *((str(shard.shard), shard) for shard in stats.shards),
    ):
        for name, value in one.as_dict().items():
            if isinstance(value, int) and name not in GAUGES:
                found[f"{where}.{name}"] = value
    return found


def test_spawns_are_counted_by_placement_and_by_who_spawned() -> None:
    async def spawner(handle: spargio.RuntimeHandle) -> None:
        for _ in range(3):
            await handle.spawn_pinned(0, work(1))

    with spargio.Runtime.builder().shards(2).build() as handle:
        load(handle)
        handle.spawn_pinned(1, spawner(handle)).result(support.LIMIT_S)
    stats = handle.stats_snapshot()  # After the stop: a task's end is counted after its join.
    assert stats.spawn_stealable_submitted == 50
    assert stats.spawn_round_robin_submitted == 50
    assert stats.spawn_sticky_submitted == 50
    assert stats.spawn_pinned_submitted == 54
    assert stats.outside.spawn_pinned_submitted == 51
    assert stats.shards[1].spawn_pinned_submitted == 3
    assert stats.tasks_started == stats.tasks_ended == stats.spawn_accepted == 204


def test_time_is_busy_or_idle() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        blocker = support.Blocker(handle, 1)
        before = handle.stats_snapshot()
        with pytest.raises(TimeoutError):
            blocker.job.result(0.1)
        blocker.release()
        support.eventually(
            lambda: (
                handle.stats_snapshot().shards[1].busy_ns - before.shards[1].busy_ns > 80_000_000
            )
        )
        handle.spawn_pinned(0, work(1)).result(support.LIMIT_S)
        after = handle.stats_snapshot()
        assert after.shards[0].idle_ns - before.shards[0].idle_ns > 50_000_000
        assert after.shards[0].parks > 0


def test_queue_depth_and_high_water() -> None:
    with spargio.Runtime.builder().shards(1).build() as handle:
        with support.Blocker(handle, 0):
            jobs = [handle.spawn_stealable(work(n)) for n in range(30)]
            stats = handle.stats_snapshot()
            assert stats.stealable_queue_depth == stats.stealable_queue_high_water == 30
        for job in jobs:
            job.result(support.LIMIT_S)
        stats = handle.stats_snapshot()
        assert (stats.stealable_queue_depth, stats.stealable_queue_high_water) == (0, 30)


def test_operations_are_counted() -> None:
    async def sleeper() -> None:
        await spargio.sleep(1000)

    with support.peer() as (host, port, accept):

        async def wait(arrived: list[int]) -> None:
            async with await spargio.net.TcpStream.connect(host, port) as stream:
                arrived.append(1)
                await stream.recv(1)

        with spargio.Runtime.builder().shards(1).build() as handle:
            before = handle.stats_snapshot()
            arrived: list[int] = []
            job = handle.spawn_stealable(wait(arrived))
            remote = accept()
            support.eventually(lambda: handle.stats_snapshot().ops_in_flight == 1)
            remote.close()
            job.result(support.LIMIT_S)
            support.eventually(lambda: handle.stats_snapshot().ops_in_flight == 0)
            after = handle.stats_snapshot()
    assert after.sqes_submitted - before.sqes_submitted >= 3  # connect, recv, close
    assert after.cqes_reaped - before.cqes_reaped >= 3
    assert (after.cq_overflows, after.stale_completions) == (0, 0)


def test_a_snapshot_from_any_thread_at_any_time() -> None:
    """Also while the numbers grow under it, which takes more bytes."""
    with spargio.Runtime.builder().shards(4).build() as handle:

        def snapshots() -> None:
            for _ in range(300):
                handle.stats_snapshot()

        with support.in_thread(snapshots), support.in_thread(snapshots):
            for _ in range(5):
                load(handle)


def test_an_interval_is_a_subtraction(options: dict[str, Any]) -> None:
    with spargio.RuntimeBuilder().apply(**options).build() as handle:
        load(handle, 50)
        before = handle.stats_snapshot()
        load(handle, 20)
        after = handle.stats_snapshot()
    interval = after - before
    assert interval.spawn_accepted == 20
    assert interval.time_ns == after.time_ns - before.time_ns > 0
    assert interval.outside.spawn_accepted == 20
    assert sum(shard.tasks_started for shard in interval.shards) == interval.tasks_started == 20
    assert [shard.shard for shard in interval.shards] == [shard.shard for shard in after.shards]
    for name in GAUGES | MAXIMA:  # True now, or a maximum: nothing to subtract.
        assert getattr(interval, name) == getattr(after, name), name
    assert (interval.shards[0] - interval.shards[0]).polls == 0
    assert interval.options == after.options


def test_only_the_earlier_snapshot_is_subtracted() -> None:
    with spargio.Runtime.builder().shards(2).build() as handle:
        before = handle.stats_snapshot()
        load(handle, 20)
        after = handle.stats_snapshot()
    with spargio.Runtime.builder().shards(1).build() as handle:
        other = handle.stats_snapshot()
    with pytest.raises(ValueError, match="before must be the earlier snapshot"):
        _ = before - after
    with pytest.raises(ValueError, match="of 2 shards, got one of 1"):
        _ = after - other
    with pytest.raises(TypeError):
        _ = after - 5  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = after - after.shards[0]


def test_each_counter_is_declared() -> None:
    """For people, editors and type checkers: every key has an attribute with words."""
    with spargio.Runtime.builder().shards(1).build() as handle:
        stats = handle.stats_snapshot()
    declared = {
        name for cls in spargio.ShardStats.__mro__ for name in vars(cls).get("__annotations__", ())
    }
    assert set(stats.as_dict()) <= declared
    assert set(stats.outside.as_dict()) <= declared
    with pytest.raises(AttributeError, match="no counter is named 'polls'"):
        _ = stats.outside.polls
