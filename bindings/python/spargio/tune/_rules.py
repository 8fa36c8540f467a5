"""The rules of docs/tuning.md: what one sees in the counters, and which option is tried then.
This is their only place: a test compares the table of the page with :func:`table`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import _conditions as conditions
from ._candidates import Values, climb, listed
from ._options import PROGRAM
from ._seen import Seen

__all__ = ("PHASES", "ROWS", "Rule", "proposals", "table")

PHASES = ("placement and shards", "queues", "steals", "idle shards")
PLACEMENT, QUEUES, STEALS, IDLE = range(len(PHASES))
_MOST_SHARDS = 256


@dataclass(frozen=True)
class Rule:
    """One option to try if `when` holds."""

    option: str
    phase: int
    when: Callable[[Seen], bool]
    values: Callable[[Seen], Values]
    why: Callable[[Seen], str]
    """One sentence, with the figures."""
    target: str
    """The metric that it should lower."""


@dataclass(frozen=True)
class Row:
    """Of the page's table."""

    sees: str
    tries: str
    rules: tuple[Rule, ...] = ()


def _up(option: str, most: int, *, powers: bool = False) -> Callable[[Seen], Values]:
    return lambda seen: climb(max(seen.option(option), 1), 1, most, up=True, powers=powers)


def _down(option: str, least: int = 1) -> Callable[[Seen], Values]:
    return lambda seen: climb(seen.option(option), least, 1 << 24, up=False)


def _coprime(seen: Seen) -> Values:
    others = seen.shards - 1
    found = (step for step in range(2, others) if math.gcd(step, others) == 1)
    return listed([next(found)] if (others > 2 and others != 4) else [])


ROWS: tuple[Row, ...] = (
    Row(
        "one shard does nearly all of the work, and most spawns are pinned to it",
        "`RoundRobin` or `spawn_stealable`: the tuner tries what the program offers by "
        "`spargio.tune.choice`",
    ),
    Row(
        "more shards than usable CPUs, or shards that are awake (`busy_ns`) twice as long as the "
        "process gets a CPU",
        "fewer `shards`",
        (
            Rule(
                "shards",
                PLACEMENT,
                conditions.contended,
                _down("shards"),
                lambda seen: (
                    f"{seen.shards} shards on {seen.cpus} CPUs were awake for "
                    f"{seen.awake:.2f} CPUs and got {seen.cpu:.2f}"
                ),
                "cpu",
            ),
        ),
    ),
    Row(
        "all shards above 70 % busy, and CPUs left",
        "more `shards`; with a GIL, processes",
        (
            Rule(
                "shards",
                PLACEMENT,
                conditions.shards_left,
                lambda seen: climb(seen.shards, 1, min(seen.cpus, _MOST_SHARDS), up=True),
                lambda seen: f"{conditions.busy(seen)}, and there are {seen.cpus} CPUs",
                "p99",
            ),
        ),
    ),
    Row(
        "`stealable_backpressure` grows",
        "a larger `stealable_queue_capacity` for bursts; for lasting overload, accept less",
        (
            Rule(
                "stealable_queue_capacity",
                QUEUES,
                lambda seen: seen.refused > 0,
                _up("stealable_queue_capacity", 1 << 24),
                lambda seen: (
                    f"{seen.refused} spawns were refused, with room for "
                    f"{seen.option('stealable_queue_capacity')} tasks a shard"
                ),
                "backpressure",
            ),
        ),
    ),
    Row(
        "many threads spawn at once into few shards",
        '`stealable_queue_backend="lock_free"`: measure both',
        (
            Rule(
                "stealable_queue_backend",
                QUEUES,
                conditions.from_outside,
                lambda _: listed(["lock_free"]),
                lambda seen: "most stealable tasks come from threads outside the runtime",
                "p99",
            ),
        ),
    ),
    Row(
        "I/O waits behind long queues of new tasks: shards begin more than half of `steal_budget` "
        "tasks in each pass",
        "a smaller `steal_budget`",
        (
            Rule(
                "steal_budget",
                QUEUES,
                conditions.floods,
                _down("steal_budget"),
                lambda seen: (
                    f"a pass began {seen.share('stealable_executed', 'passes'):.0f} new "
                    "tasks, and I/O waited meanwhile"
                ),
                "p99",
            ),
        ),
    ),
    Row(
        "`cq_overflows` grows",
        "a larger `ring_entries` (the completion queue has four times as many; see "
        "`docs/operations.md` for memory)",
        (
            Rule(
                "ring_entries",
                QUEUES,
                lambda seen: seen["cq_overflows"] > 0,
                _up("ring_entries", 32768, powers=True),
                lambda seen: f"the completion queue overflowed {seen['cq_overflows']} times",
                "p99",
            ),
        ),
    ),
    Row(
        "one shard near 100 % busy, others idle, `steal_skipped_locality` grows",
        "`steal_locality_margin` or `steal_fail_cost` 0; on a GIL build see below first",
        (
            Rule(
                "steal_locality_margin",
                STEALS,
                lambda seen: (
                    conditions.gate_says_no(seen) and seen.option("steal_locality_margin") > 0
                ),
                lambda seen: listed([1, 0] if seen.option("steal_locality_margin") > 1 else [0]),
                conditions.why_gate,
                "p50",
            ),
            Rule(
                "steal_fail_cost",
                STEALS,
                lambda seen: conditions.gate_says_no(seen) and seen.option("steal_fail_cost") > 0,
                lambda seen: listed([1, 0] if seen.option("steal_fail_cost") > 1 else [0]),
                conditions.why_gate,
                "p50",
            ),
        ),
    ),
    Row(
        "half of the looks fall into a pause (`steal_skipped_backoff`), few tasks move, and a "
        "shard is busy: tasks of about a millisecond that release the GIL are over after a pause",
        "a smaller `steal_backoff_max` (less delay before the next look, more wake-ups)",
        (
            Rule(
                "steal_backoff_max",
                STEALS,
                lambda seen: (
                    conditions.pauses(seen)
                    and seen.option("steal_backoff_max") > seen.option("steal_backoff_min")
                ),
                lambda seen: listed(
                    [seen.option("steal_backoff_min"), seen.option("steal_backoff_max") // 4]
                ),
                conditions.why_pauses,
                "p50",
            ),
        ),
    ),
    Row(
        "the same with many shards, `steal_skipped_empty` grows while some queue is deep",
        "a larger `steal_victim_probe_count`; a `steal_victim_stride` that has no factor in common "
        "with `shards - 1`",
        (
            Rule(
                "steal_victim_probe_count",
                STEALS,
                conditions.finds_nothing,
                lambda seen: climb(
                    seen.option("steal_victim_probe_count"), 1, seen.shards - 1, up=True
                ),
                conditions.why_finds_nothing,
                "p50",
            ),
            Rule(
                "steal_victim_stride",
                STEALS,
                conditions.finds_nothing,
                _coprime,
                conditions.why_finds_nothing,
                "p50",
            ),
        ),
    ),
    Row(
        "many steals of one task each from a deep queue of short tasks",
        "a larger `steal_batch_size`",
        (
            Rule(
                "steal_batch_size",
                STEALS,
                conditions.small_steals,
                _up("steal_batch_size", 1024),
                lambda seen: (
                    f"{seen.rate('steal_success'):.0f} steals a second took "
                    f"{seen.share('steal_tasks_moved', 'steal_success'):.1f} tasks each"
                ),
                "cpu",
            ),
        ),
    ),
    Row(
        "stolen tasks run slower than local ones (cold caches), `local_hit_ratio()` low",
        "a larger `steal_locality_margin`, or `spawn_pinned` and `Sticky` for data that belongs "
        "together",
        (
            Rule(
                "steal_locality_margin",
                STEALS,
                conditions.moves_most,
                _up("steal_locality_margin", 1_000_000),
                lambda seen: (
                    "only "
                    f"{seen.share('stealable_local_hits', 'stealable_executed'):.0%} of the "
                    "stealable tasks ran on their own shard"
                ),
                "cpu",
            ),
        ),
    ),
    Row(
        "high CPU while little happens: `parks` and `noop_wakes` grow fast",
        "larger `steal_backoff_min` and `steal_backoff_max`; fewer shards",
        (
            Rule(
                "steal_backoff_max",
                STEALS,
                conditions.wakes_for_nothing,
                _up("steal_backoff_max", 65536),
                conditions.why_wakes,
                "cpu",
            ),
            Rule(
                "steal_backoff_min",
                STEALS,
                conditions.wakes_for_nothing,
                lambda seen: climb(
                    seen.option("steal_backoff_min"), 1, seen.option("steal_backoff_max"), up=True
                ),
                conditions.why_wakes,
                "cpu",
            ),
        ),
    ),
    Row(
        "shards that never sleep: `idle_ns` stands still, and `passes` grows much faster than "
        "`polls`",
        '`idle_strategy="park"`',
        (
            Rule(
                "idle_strategy",
                IDLE,
                lambda seen: seen.never_sleeps and seen.option("idle_strategy") != 0,
                lambda _: listed(["park"]),
                lambda seen: (
                    f"{seen.shards} shards never slept, and made "
                    f"{seen['passes'] / max(seen['polls'], 1):.0f} passes for each poll"
                ),
                "cpu",
            ),
        ),
    ),
    Row(
        "latency after quiet moments matters more than CPU",
        '`idle_strategy="spin"` (one CPU per shard)',
        (
            Rule(
                "idle_strategy",
                IDLE,
                conditions.spin_is_wanted,
                lambda _: listed(["spin"]),
                lambda seen: (
                    f"{seen.margins['cpu']:.0%} more CPU may be spent, and {seen.cpus} "
                    f"CPUs are more than {seen.shards} shards use"
                ),
                "p50",
            ),
        ),
    ),
)


def _choices(seen: Seen) -> Iterator[Rule]:
    """What the program itself declared to be tried, which comes first."""
    for name, declared in seen.choices.items():
        others = [one for one in declared["choices"] if one != declared["value"]]
        yield Rule(
            PROGRAM + name,
            PLACEMENT,
            lambda _: True,
            lambda _, others=others: listed(others),  # type: ignore[misc]
            lambda seen, others=others: (
                f"the program offers {', '.join(others)}; "  # type: ignore[misc]
                f"{conditions.busy(seen)}"
            ),
            declared["target"],
        )


def proposals(phase: int, seen: Seen) -> Iterator[Rule]:
    """The rules of a phase that hold now."""
    every = [*_choices(seen), *(rule for row in ROWS for rule in row.rules)]
    return (rule for rule in every if rule.phase == phase and rule.when(seen))


def table() -> str:
    """As docs/tuning.md has it."""
    lines = ["| you see | try |", "|---|---|"]
    lines += [f"| {row.sees} | {row.tries} |" for row in ROWS]
    return "\n".join(lines) + "\n"
