"""Each option: as a keyword, by the builder, its default, its range, its type. What changing one
does is in test_option_effects.py."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

import spargio
from spargio import IdleStrategy
from spargio.options import OPTION_NAMES

pytestmark = pytest.mark.any_backend

CPUS = sorted(os.sched_getaffinity(0))

NUMBERS = {
    # option: (default, lowest, highest)
    "shards": (len(CPUS), 1, 256),
    "steal_budget": (64, 1, 65536),
    "steal_victim_stride": (1, 1, 256),
    "steal_victim_probe_count": (2, 1, 256),
    "steal_batch_size": (4, 1, 1024),
    "steal_locality_margin": (1, 0, 1_000_000),
    "steal_fail_cost": (1, 0, 1_000_000),
    "steal_backoff_min": (1, 1, 65536),
    "steal_backoff_max": (32, 1, 65536),
    "stealable_queue_capacity": (4096, 1, 16777216),
    "ring_entries": (256, 8, 32768),
    "msg_ring_queue_capacity": (4096, 1, 1 << 20),
    "hot_counter_wake_threshold": (1, 1, (1 << 32) - 1),
    "io_uring_sqpoll": (0, 0, 600_000),
    "blocked_threshold_ms": (100, 1, 3_600_000),
}
OTHERS = {
    "options_file",
    "backend",
    "stealable_queue_backend",
    "thread_prefix",
    "thread_affinity",
    "debug",
    "monitor",
    "scheduler_latency",
    "watchdog",
    "stop_signals",
    "idle_strategy",
    "msg_ring",
    "hot_msg_tag",
    "hot_msg_tags",
    "coalesced_hot_msg_tag",
    "coalesced_hot_msg_tags",
    "io_uring_sqpoll_cpu",
    "io_uring_single_issuer",
    "io_uring_coop_taskrun",
    "io_uring_throughput_mode",
}

# Where the C option has another name.
FIELDS = {"io_uring_sqpoll": "io_uring_sqpoll_idle_ms"}

number_options = pytest.mark.parametrize("name", NUMBERS)


async def in_force(handle: spargio.RuntimeHandle) -> dict[str, int]:
    return handle.stats_snapshot().options


def options_of(builder: spargio.RuntimeBuilder) -> dict[str, int]:
    return spargio.run_with(builder, in_force)


def field(name: str) -> str:
    return FIELDS.get(name, name)


def test_every_option_is_tested_here() -> None:
    assert set(OPTION_NAMES) == set(NUMBERS) | OTHERS


@number_options
def test_default(name: str) -> None:
    assert options_of(spargio.RuntimeBuilder())[field(name)] == NUMBERS[name][0]


@number_options
def test_keyword_and_builder_method(name: str) -> None:
    value = {"shards": 3, "ring_entries": 64, "steal_backoff_max": 48}.get(name, 7)
    builder = spargio.Runtime.builder()
    assert getattr(builder, name)(value) is builder
    assert options_of(builder)[field(name)] == value
    assert spargio.run(in_force, **{name: value})[field(name)] == value

    @spargio.main(**{name: value})
    async def decorated(handle: spargio.RuntimeHandle) -> dict[str, int]:
        return await in_force(handle)

    assert decorated()[field(name)] == value


@number_options
def test_both_ends_of_the_range_are_allowed(name: str) -> None:
    _, lowest, highest = NUMBERS[name]
    for value in (lowest, highest):
        builder = spargio.RuntimeBuilder()
        if name == "steal_backoff_min":
            builder.steal_backoff_max(65536)
        getattr(builder, name)(value)
        builder.address()  # Checks all of them together, as a start does.


@number_options
@pytest.mark.parametrize("beyond", [-1, 1, 1 << 32, 1 << 70, -(1 << 70)])
def test_out_of_range_names_option_value_and_range(name: str, beyond: int) -> None:
    _, lowest, highest = NUMBERS[name]
    value = highest + beyond if beyond > 0 else lowest + beyond
    builder = spargio.RuntimeBuilder()
    with pytest.raises(ValueError) as caught:
        getattr(builder, name)(value)
    text = str(caught.value)
    if name == "steal_backoff_max":
        # Its lower end is the other bound.
        assert text.startswith("steal_backoff_max must be between ")
        assert text.endswith(f" and 65536, got {value}")
    else:
        assert text == f"{name} must be between {lowest} and {highest}, got {value}"
    with pytest.raises(ValueError, match=name):
        spargio.run(in_force, **{name: value})


@number_options
def test_a_refused_value_changes_nothing(name: str) -> None:
    builder = spargio.RuntimeBuilder()
    with pytest.raises(ValueError):
        getattr(builder, name)(NUMBERS[name][2] + 1)
    with pytest.raises(TypeError):
        getattr(builder, name)("1")
    assert options_of(builder)[field(name)] == NUMBERS[name][0]


@number_options
@pytest.mark.parametrize("wrong", ["4", 4.0, None, True, [4]], ids=repr)
def test_wrong_type(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match=name):
        getattr(spargio.RuntimeBuilder(), name)(wrong)
    with pytest.raises(TypeError, match=name):
        spargio.run(in_force, **{name: wrong})


@pytest.mark.parametrize("entries", [9, 100, 255, 257, 32767])
def test_ring_entries_is_a_power_of_two(entries: int) -> None:
    with pytest.raises(ValueError, match=f"ring_entries must be a power of two .*, got {entries}$"):
        spargio.RuntimeBuilder().ring_entries(entries)


@pytest.mark.parametrize(
    "given",
    [
        {"steal_backoff_min": 64, "steal_backoff_max": 128},
        {"steal_backoff_max": 128, "steal_backoff_min": 64},
        {"steal_backoff_min": 64, "shards": 2, "steal_backoff_max": 128},
        {"steal_backoff_min": 64, "thread_prefix": "pair", "steal_backoff_max": 128},
        {"steal_backoff_min": 64, "thread_affinity": [], "steal_backoff_max": 128},
    ],
    ids=lambda given: "-".join(given),
)
def test_the_bounds_of_the_backoff_in_any_order(given: dict[str, Any]) -> None:
    found = spargio.run(in_force, **given)
    assert (found["steal_backoff_min"], found["steal_backoff_max"]) == (64, 128)


def test_the_bounds_of_the_backoff_the_wrong_way_round() -> None:
    builder = spargio.RuntimeBuilder().steal_backoff_min(8).steal_backoff_max(4)
    with pytest.raises(
        ValueError, match=r"steal_backoff_max must be .*steal_backoff_min \(8\).*, got 4"
    ):
        builder.build()
    with pytest.raises(ValueError, match="steal_backoff_max"):
        spargio.run_with(builder, in_force)


# ---- the others ----


@pytest.mark.parametrize(("backend", "number"), [("mutex", 0), ("lock_free", 1)])
def test_stealable_queue_backend(backend: str, number: int) -> None:
    assert options_of(spargio.RuntimeBuilder())["stealable_queue_backend"] == 0
    builder = spargio.RuntimeBuilder().stealable_queue_backend(backend)
    assert options_of(builder)["stealable_queue_backend"] == number
    assert spargio.run(in_force, stealable_queue_backend=backend)["stealable_queue_backend"] == (
        number
    )


def test_idle_strategy() -> None:
    assert options_of(spargio.RuntimeBuilder())["idle_strategy"] == 0
    for given, number in (
        ("park", 0),
        ("spin", 1),
        ("yield", 2),
        (IdleStrategy.park, 0),
        (IdleStrategy.spin, 1),
        (IdleStrategy.yield_, 2),
        (IdleStrategy.sleep(0.25), 3),
        (IdleStrategy.sleep(0.000001), 3),
        (IdleStrategy.sleep(1), 3),
    ):
        assert spargio.run(in_force, shards=1, idle_strategy=given)["idle_strategy"] == number
    found = spargio.run(in_force, shards=1, idle_strategy=IdleStrategy.sleep(0.25))
    assert found["idle_sleep_ns"] == 250_000_000


TAG_LISTS = ("hot_msg_tags", "coalesced_hot_msg_tags")


@pytest.mark.parametrize("name", TAG_LISTS)
def test_tags_add_up(name: str) -> None:
    builder = spargio.RuntimeBuilder()
    one = getattr(builder, name[:-1])
    assert one(1) is one(2) is getattr(builder, name)([3, 2]) is builder
    builder.address()


@pytest.mark.parametrize("name", TAG_LISTS)
@pytest.mark.parametrize("tags", [[-1], [65536], [1, 1 << 40]])
def test_tags_out_of_range(name: str, tags: list[int]) -> None:
    with pytest.raises(
        ValueError, match=f"{name} must be tags between 0 and 65535, got {tags[-1]}"
    ):
        getattr(spargio.RuntimeBuilder(), name)(tags)


@pytest.mark.parametrize("name", TAG_LISTS)
@pytest.mark.parametrize("tags", [1, "12", b"12", ["1"], [True], [1.0], None], ids=repr)
def test_tags_of_a_wrong_type(name: str, tags: Any) -> None:
    with pytest.raises(TypeError, match=name):
        getattr(spargio.RuntimeBuilder(), name)(tags)


def test_254_tags_can_be_coalesced() -> None:
    spargio.RuntimeBuilder().coalesced_hot_msg_tags(range(254)).address()
    with pytest.raises(
        ValueError, match="coalesced_hot_msg_tags_count must be between 0 and 25., got 255"
    ):
        spargio.RuntimeBuilder().coalesced_hot_msg_tags(range(255))


@pytest.mark.parametrize(
    "name",
    [
        "io_uring_single_issuer",
        "io_uring_coop_taskrun",
        "debug",
        "monitor",
        "watchdog",
        "scheduler_latency",
    ],
)
def test_switches_take_a_bool(name: str) -> None:
    for enabled in (True, False):
        assert spargio.run(in_force, **{name: enabled})["shards"] == len(CPUS)
    with pytest.raises(TypeError, match=f"{name} must be True or False, got 1"):
        getattr(spargio.RuntimeBuilder(), name)(1)


def test_sqpoll_cpu_implies_an_idle_time() -> None:
    found = options_of(spargio.RuntimeBuilder().shards(1).io_uring_sqpoll_cpu(CPUS[0]))
    assert found["io_uring_sqpoll_idle_ms"] == 2000
    builder = spargio.RuntimeBuilder().shards(1).io_uring_sqpoll(7).io_uring_sqpoll_cpu(CPUS[0])
    assert options_of(builder)["io_uring_sqpoll_idle_ms"] == 7
    found = options_of(spargio.RuntimeBuilder().shards(1).io_uring_throughput_mode(9))
    assert found["io_uring_sqpoll_idle_ms"] == 9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("io_uring_sqpoll_cpu", 4000),
        ("io_uring_sqpoll_cpu", -1),
        ("io_uring_sqpoll_cpu", 1 << 40),
        ("io_uring_throughput_mode", -1),
        ("stealable_queue_backend", "fifo"),
        ("stealable_queue_backend", ""),
        ("idle_strategy", "sleep"),
        ("idle_strategy", IdleStrategy.sleep(0)),
        ("idle_strategy", IdleStrategy.sleep(1.001)),
        ("idle_strategy", IdleStrategy.sleep(float("nan"))),
        ("thread_prefix", ""),
        ("thread_prefix", "eleven char"),
        ("thread_prefix", "sch\u00f6n"),
        ("thread_prefix", "new\nline"),
        ("thread_prefix", "nul\0byte"),
        ("thread_affinity", [4000]),
        ("thread_affinity", [-1]),
        ("thread_affinity", [1 << 40]),
        ("thread_affinity", CPUS[:1] * 2000),
    ],
)
def test_a_wrong_value_is_a_value_error_that_names_the_option(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        getattr(spargio.RuntimeBuilder(), name)(value)
    with pytest.raises(ValueError, match=name):
        spargio.run(in_force, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stealable_queue_backend", 1),
        ("stealable_queue_backend", None),
        ("stealable_queue_backend", []),
        ("idle_strategy", 0),
        ("idle_strategy", None),
        ("idle_strategy", IdleStrategy.sleep("1")),  # type: ignore[arg-type]
        ("thread_prefix", 5),
        ("thread_prefix", None),
        ("thread_prefix", b"bytes"),
        ("thread_affinity", 0),
        ("thread_affinity", None),
        ("thread_affinity", "01"),
        ("thread_affinity", [0.5]),
        ("msg_ring", "no"),
        ("msg_ring", None),
    ],
    ids=repr,
)
def test_a_wrong_type_is_a_type_error_that_names_the_option(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        getattr(spargio.RuntimeBuilder(), name)(value)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda builder: builder.thread_prefix("much too long for it"),
        lambda builder: builder.thread_affinity([4000]),
        lambda builder: builder.stealable_queue_backend("fifo"),
        lambda builder: builder.idle_strategy(IdleStrategy.sleep(2)),
    ],
    ids=["thread_prefix", "thread_affinity", "stealable_queue_backend", "idle_strategy"],
)
def test_a_builder_can_be_used_after_it_refused(
    mistake: Callable[[spargio.RuntimeBuilder], object],
) -> None:
    builder = spargio.RuntimeBuilder()
    with pytest.raises(ValueError):
        mistake(builder)
    assert options_of(builder.shards(1)) == {
        **options_of(spargio.RuntimeBuilder()),
        "shards": 1,
    }


def test_a_name_that_is_no_option() -> None:
    for name in ("shard", "build", "apply", "address", "_set", "flags"):
        with pytest.raises(TypeError, match=f"an option must be one of .*, got {name!r}"):
            spargio.run(in_force, **{name: 1})


def test_builders_are_independent() -> None:
    first = spargio.RuntimeBuilder().shards(1)
    second = spargio.RuntimeBuilder().shards(2).thread_prefix("second")
    assert options_of(first)["shards"] == 1
    assert options_of(second)["shards"] == 2


def test_what_a_builder_was_given_may_go_away() -> None:
    def make() -> spargio.RuntimeBuilder:
        return spargio.RuntimeBuilder().thread_prefix("p" * 10).thread_affinity(list(CPUS))

    runtimes = [make().shards(2).build() for _ in range(5)]
    for runtime in runtimes:
        runtime.shutdown()
