"""When a rule holds, and the sentence that says why, with its figures."""

from __future__ import annotations

from ._seen import Seen


def busy(seen: Seen) -> str:
    return "shards were busy " + ", ".join(f"{one:.0%}" for one in seen.busy)


def gate_says_no(seen: Seen) -> bool:
    return seen.is_uneven and seen.share("steal_skipped_locality", "steal_scans") >= 0.5


def why_gate(seen: Seen) -> str:
    part = seen.share("steal_skipped_locality", "steal_scans")
    return f"{busy(seen)}, and the gate refused {part:.0%} of the looks for work"


def pauses(seen: Seen) -> bool:
    return (
        seen["stealable_executed"] > 0
        and seen.share("steal_skipped_backoff", "steal_scans") >= 0.5
        and seen.share("stealable_stolen", "stealable_executed") < 0.25
        and max(seen.busy, default=0.0) >= 0.1
    )


def why_pauses(seen: Seen) -> str:
    part = seen.share("steal_skipped_backoff", "steal_scans")
    stolen = seen.share("stealable_stolen", "stealable_executed")
    return (
        f"{part:.0%} of the looks for work fell into a pause, and {stolen:.1%} of the tasks moved"
    )


def wakes_for_nothing(seen: Seen) -> bool:
    return seen.rate("parks") > 1000 and seen.share("noop_wakes", "parks") >= 0.3


def why_wakes(seen: Seen) -> str:
    part = seen.share("noop_wakes", "parks")
    return f"shards parked {seen.rate('parks'):.0f} times a second, {part:.0%} of it for nothing"


def contended(seen: Seen) -> bool:
    if seen.shards < 2 or seen.never_sleeps:
        return False
    return seen.shards > seen.cpus or seen.awake > max(2 * seen.cpu, 0.5)


def shards_left(seen: Seen) -> bool:
    return 0 < seen.shards < seen.cpus and min(seen.busy) > 0.7


def small_steals(seen: Seen) -> bool:
    return (
        seen.rate("steal_success") > 100
        and seen.share("steal_tasks_moved", "steal_success") < 1.5
        and seen["stealable_queue_high_water"] > 2 * seen.option("steal_batch_size")
    )


def moves_most(seen: Seen) -> bool:
    return (
        seen.rate("stealable_stolen") > 100
        and seen.share("stealable_local_hits", "stealable_executed") < 0.5
    )


def finds_nothing(seen: Seen) -> bool:
    return (
        seen.shards > 3
        and seen.is_uneven
        and seen.share("steal_skipped_empty", "steal_scans") >= 0.5
        and seen["stealable_queue_high_water"] > 4
    )


def why_finds_nothing(seen: Seen) -> str:
    part = seen.share("steal_skipped_empty", "steal_scans")
    return f"{part:.0%} of the looks for work met empty queues while one queue was deep"


def floods(seen: Seen) -> bool:
    return seen.share("stealable_executed", "passes") > 0.5 * seen.option("steal_budget")


def from_outside(seen: Seen) -> bool:
    spawns = seen.counters.outside.get("spawn_stealable_submitted", 0)
    return (
        seen.option("stealable_queue_backend") == 0
        and spawns > 0.5 * max(seen["spawn_stealable_submitted"], 1)
        and spawns > 1000 * seen.counters.seconds
    )


def spin_is_wanted(seen: Seen) -> bool:
    """Whoever widens the margin of CPU says that latency matters more."""
    return (
        seen.margins.get("cpu", 0.0) >= 0.5
        and seen.option("idle_strategy") == 0
        and seen.cpus > seen.shards
    )
