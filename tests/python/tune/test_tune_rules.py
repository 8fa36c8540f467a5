"""The rules: the table of the page is theirs, and each holds where its counters say so."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from spargio.options import OPTION_NAMES
from spargio.tune._candidates import climb, listed
from spargio.tune._comparison import METRICS
from spargio.tune._rounds import Counters
from spargio.tune._rules import PHASES, ROWS, proposals, table
from spargio.tune._seen import Seen

PAGE = Path(__file__).parents[3] / "docs" / "tuning.md"
OPTIONS = {
    "steal_locality_margin": 1, "steal_fail_cost": 1, "steal_backoff_min": 1,
    "steal_backoff_max": 32, "stealable_queue_capacity": 4096, "steal_budget": 64,
    "ring_entries": 256, "steal_batch_size": 4, "steal_victim_probe_count": 2, "idle_strategy": 0,
    "shards": 2,
}  # fmt: skip


def seen(
    busy: tuple[float, ...] = (0.3, 0.3),
    cpu: float = 0.5,
    cpus: int = 2,
    options: Mapping[str, int] | None = None,
    margins: Mapping[str, float] | None = None,
    outside: int = 0,
    **counters: int,
) -> Seen:
    total = {"polls": 1000, "passes": 1000, "idle_ns": 10**9, "busy_ns": int(sum(busy) * 1e9)}
    return Seen(
        Counters(
            1.0,
            {**total, **counters},
            [{"busy_ns": int(part * 1e9)} for part in busy],
            {"spawn_stealable_submitted": outside},
            {**OPTIONS, **(options or {})},
        ),
        cpus,
        cpu,
        margins=margins or {},
    )


def proposed(found: Seen) -> dict[str, Any]:
    """Option to first value, of all phases."""
    rules = [rule for phase in range(len(PHASES)) for rule in proposals(phase, found)]
    for rule in rules:
        assert len(rule.why(found)) > 10
    return {rule.option: next(rule.values(found), None) for rule in rules}


def test_the_page_has_the_table_of_the_rules() -> None:
    assert table() in PAGE.read_text(), "\n" + table()


def test_each_rule_names_an_option_and_a_metric() -> None:
    for row in ROWS:
        for rule in row.rules:
            assert rule.option in OPTION_NAMES
            assert rule.target in METRICS
            assert f"`{rule.option}" in row.tries


def test_nothing_is_proposed_for_a_quiet_runtime() -> None:
    assert proposed(seen()) == {}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (seen(cpus=1), {"shards": 1}),
        (seen(busy=(0.9, 0.9), cpu=0.6), {"shards": 1}),
        (seen(busy=(0.9, 0.8), cpu=1.7, cpus=4), {"shards": 4}),
        (seen(stealable_backpressure=5), {"stealable_queue_capacity": 8192}),
        (seen(cq_overflows=2), {"ring_entries": 512}),
        (seen(stealable_executed=64_000), {"steal_budget": 32}),
        (seen(outside=5000, spawn_stealable_submitted=5000), {"stealable_queue_backend": "lock_free"}),
        (
            seen(busy=(0.8, 0.1), steal_scans=100, steal_skipped_locality=80),
            {"steal_locality_margin": 0, "steal_fail_cost": 0},
        ),
        (
            seen(
                busy=(0.8, 0.1), steal_scans=9, steal_skipped_locality=9,
                options={"steal_locality_margin": 10**6},
            ),
            {"steal_locality_margin": 1, "steal_fail_cost": 0},
        ),
        (
            seen(steal_scans=100, steal_skipped_backoff=60, stealable_executed=50, stealable_stolen=1),
            {"steal_backoff_max": 1},
        ),
        (
            seen(
                busy=(0.9, 0.1, 0.1, 0.1, 0.1, 0.1), cpus=8, cpu=1.2, steal_scans=100,
                steal_skipped_empty=90, stealable_queue_high_water=40,
            ),
            {"steal_victim_probe_count": 4, "steal_victim_stride": 2},
        ),
        (
            seen(steal_success=200, steal_tasks_moved=210, stealable_queue_high_water=100),
            {"steal_batch_size": 8},
        ),
        (
            seen(stealable_stolen=900, stealable_local_hits=100, stealable_executed=1000),
            {"steal_locality_margin": 2},
        ),
        (seen(parks=5000, noop_wakes=4000), {"steal_backoff_max": 64, "steal_backoff_min": 2}),
        (
            seen(busy=(1.0, 1.0), cpu=1.9, passes=10**6, idle_ns=0, options={"idle_strategy": 1}),
            {"idle_strategy": "park"},
        ),
        (seen(cpus=4, margins={"cpu": 2.0}), {"idle_strategy": "spin"}),
    ],
)  # fmt: skip
def test_a_rule_holds_where_its_counters_say_so(found: Seen, wanted: Mapping[str, Any]) -> None:
    assert proposed(found) == wanted


def all_of(values: Generator[Any, bool, None], good: Mapping[Any, bool]) -> list[Any]:
    """What is asked for, if `good` says what is kept."""
    found = []
    try:
        value = next(values)
        while True:
            found.append(value)
            value = values.send(good.get(value, False))
    except StopIteration:
        return found


def test_a_climb_doubles_faster_and_faster_and_then_refines() -> None:
    good = dict.fromkeys(range(4, 2000), True)
    assert all_of(climb(4, 1, 1 << 24, up=True), good) == [8, 32, 512, 131072, 8192]
    assert all_of(climb(64, 1, 1 << 24, up=False), {32: True, 8: True}) == [32, 8, 1, 3]
    assert all_of(climb(256, 8, 32768, up=True, powers=True), {512: True}) == [512, 2048, 1024]
    assert all_of(climb(4, 1, 8, up=True), {8: True}) == [8]
    assert all_of(climb(1, 1, 8, up=False), {}) == []
    assert all_of(climb(4, 1, 64, up=True), {}) == [8]
    assert all_of(listed([1, 0]), {1: True}) == [1, 0]


def test_counters_of_rounds_add_up_and_maxima_do_not() -> None:
    one = Counters(1.0, {"polls": 3, "stealable_queue_high_water": 9}, [{"busy_ns": 1}], {"x": 1})
    other = Counters(2.0, {"polls": 4, "stealable_queue_high_water": 5}, [{"busy_ns": 2}], {"x": 1})
    both = Counters() + one + other
    assert both.seconds == 3.0
    assert both.total == {"polls": 7, "stealable_queue_high_water": 9}
    assert both.shards == [{"busy_ns": 3}]
    assert both.outside == {"x": 2}
