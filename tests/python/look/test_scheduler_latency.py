"""The scheduler's own latencies: what each of them measures, and that they are off by default."""

from __future__ import annotations

import time

import cbor2

import spargio
from spargio.latency import Latencies

NAMES = {"spawn", "wake", "poll", "pass", "steal"}


def between(before: spargio.RuntimeStats, after: spargio.RuntimeStats) -> dict[str, Latencies]:
    found = (after - before).recorders
    return {name: found[f"spargio {name}"] for name in NAMES if f"spargio {name}" in found}


def burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def polls(seconds: float, count: int) -> None:
    for _ in range(count):
        burn(seconds)
        await spargio.yield_now()


def test_each_latency_measures_what_it_says() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        before = handle.stats_snapshot()
        first = handle.spawn_pinned(0, polls(0.02, 5))
        second = handle.spawn_pinned(0, polls(0.0, 1))  # Begins after the first poll of the other.
        await first
        await second
        await spargio.sleep(0.05)
        after = handle.stats_snapshot()
        found = between(before, after)
        assert set(found) == NAMES
        assert found["poll"].count >= 6
        assert found["poll"].above(19_000_000) >= 5
        assert found["spawn"].count >= 2
        assert found["spawn"].above(19_000_000) >= 1
        assert found["wake"].count >= 5
        assert found["pass"].above(19_000_000) >= 1
        assert found["pass"].max_ns < 10_000_000_000  # Waits are no part of it.
        (mine,) = after.recorders["spargio poll"].shards
        assert mine["shard"] == 0
        assert mine["count"] == after.recorders["spargio poll"].count - already
        assert mine["max_ns"] >= 19_000_000

    with spargio.Runtime.builder().shards(1).build() as handle:
        known = handle.stats_snapshot().recorders
    already = known["spargio poll"].count if "spargio poll" in known else 0
    spargio.run(main, shards=1, scheduler_latency=True)


def test_a_wait_is_no_part_of_a_pass() -> None:
    async def main(handle: spargio.RuntimeHandle) -> Latencies:
        before = handle.stats_snapshot()
        await spargio.sleep(0.3)
        return between(before, handle.stats_snapshot())["pass"]

    assert spargio.run(main, shards=1, scheduler_latency=True).percentile_ns(50) < 200_000_000


def test_steals_are_timed() -> None:
    async def nap() -> None:
        time.sleep(0.005)

    async def main(handle: spargio.RuntimeHandle) -> tuple[int, int]:
        before = handle.stats_snapshot()
        for job in [handle.spawn_stealable_on(0, nap()) for _ in range(50)]:
            await job
        after = handle.stats_snapshot()
        return between(before, after)["steal"].count, (after - before).steal_success

    timed, counted = spargio.run(main, shards=2, scheduler_latency=True)
    assert counted > 0
    assert 0 < timed <= counted  # Those of a shard with work of its own are not timed.


def test_off_by_default() -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        before = handle.stats_snapshot()
        await polls(0.0, 5)
        found = between(before, handle.stats_snapshot())
        assert all(one.count == 0 for one in found.values())

    spargio.run(main, shards=2)


def test_the_snapshot_is_described() -> None:
    """As docs/stats.cddl has it, per shard as well."""
    with spargio.Runtime(shards=2, scheduler_latency=True) as handle:
        handle.spawn_pinned(1, polls(0.0, 3)).result(20)
        raw = cbor2.loads(handle._runtime.stats())
    poll = next(one for one in raw["recorders"] if one["name"] == "spargio poll")
    assert {one["shard"] for one in poll["shards"]} <= {0, 1}
    assert any(one["shard"] == 1 and one["count"] >= 3 for one in poll["shards"])
