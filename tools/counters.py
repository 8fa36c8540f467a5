"""The table of all counters. tools/generate_counters.py writes from it the structs of
zig-src/scheduler/stats.zig, docs/stats.cddl, docs/counters.md, include/spargio_counters.h and
bindings/python/spargio/_counters.py.

One line a counter: its name, and what it counts. A name that ends in `_ns` is in nanoseconds; one
that ends in `_max` or `_high_water` is a maximum. A name is never changed or removed: it is a key
of the snapshot, an attribute in Python, and a macro in C.
"""

from __future__ import annotations

from typing import NamedTuple


class Counter(NamedTuple):
    """One line of the table."""

    name: str
    what: str
    kind: str
    """"counter", "maximum" or "gauge"."""

    @property
    def unit(self) -> str:
        return "ns" if self.name.endswith("_ns") else "1"


class Group(NamedTuple):
    """Counters that are written by the same threads."""

    name: str
    """As docs/stats.cddl has it."""
    struct: str
    """As stats.zig has it."""
    intro: str
    counters: tuple[Counter, ...]
    computed: tuple[str, ...] = ()
    """Those that the snapshot reads from elsewhere: no fields of the struct."""


_SPAWN = """
spawn_accepted              tasks that the runtime accepted
spawn_refused               spawns refused because the runtime was shutting down
spawn_pinned_submitted      spawns by placement, refused ones included: pinned
spawn_round_robin_submitted spawns by placement, refused ones included: round robin
spawn_sticky_submitted      spawns by placement, refused ones included: sticky
spawn_stealable_submitted   spawns by placement, refused ones included: stealable (preferred or not)
stealable_backpressure      spawns refused because the stealable queue was full
stealable_wake_sent         parked shards woken to look for work
stealable_wake_coalesced    such wake-ups that found a shard already awake
ring_msgs_submitted         doorbells sent by MSG_RING
ring_msgs_failed            doorbells and direct messages that the kernel refused
eventfd_wakes               doorbells sent by eventfd
doorbells_coalesced         doorbells not sent: the shard was awake, or rung already
messages_sent               messages between shards that were accepted
messages_sent_direct        messages sent as the payload of a MSG_RING (also in messages_sent)
ring_msgs_backpressure      messages refused because a lane of the target was full
native_affinity_violations  operations and leases that a lease of the descriptor refused
"""

_SHARD = """
tasks_started           tasks that began; a task stays on the shard where it began
tasks_ended             tasks that ended, or were cancelled before they began
polls                   resumptions of tasks
stealable_executed      stealable tasks that began here
stealable_stolen        stealable tasks that began here and preferred another shard
stealable_local_hits    stealable tasks that began here, on their preferred shard
steal_scans             victim queues looked at
steal_attempts          victims that the gate let through
steal_success           attempts that took at least one task
steal_tasks_moved       tasks that these attempts took
steal_skipped_backoff   scans not begun: the pause was not over
steal_skipped_locality  scans that the gate ended: the gain was too small
steal_skipped_empty     scans that found nothing queued
steal_failed_streak_max most scans in a row that took nothing
ring_msgs_completed     doorbells and direct messages received by MSG_RING
messages_received       messages that tasks took; sums of coalesced tags do not count
passes                  rounds of the shard's loop
blocked_passes          passes of blocked_threshold_ms or longer: all else of the shard waited
parks                   waits in the kernel
noop_wakes              waits that ended with nothing to do
backstop_finds          work found by the park's time limit: a doorbell got lost
spins                   spins before a park
spin_hits               spins that found work
sqes_submitted          entries submitted to the ring
cqes_reaped             completions taken from the ring
reads_at_once           file reads that the page cache served, without the ring
cq_overflows            passes that found the completion queue overflowed
submits_refused         submissions that the kernel refused for the moment; they are repeated
submits_short           submissions of which the kernel took a part; the rest follows
sqes_backlogged         entries that waited for room in the submission queue
multishots_cut          multishot operations that the kernel ended; they begin anew
buffers_exhausted       receives that found no buffer left (ENOBUFS); they bring their own
stale_completions       completions of no known operation: always 0, or a bug
cancels_repeated        cancellations that the kernel could not do at once
threads_left            threads of the epoll backend left behind in a call that nothing ended
calls_made_here         operations that the shard did because the kernel had no worker for them
busy_ns                 time awake
idle_ns                 time in the kernel, waiting
"""

_GAUGES = """
ops_in_flight              operations that the kernel or a timer has
buffers_in_hands           buffers that the kernel filled and no task has emptied yet
buffers_lent               buffers that the kernel still has of zero-copy sends that ended
timers_set                 timers that have not fired
run_queue_depth            local tasks that are ready to run
message_queue_depth        messages that nobody has taken yet
stealable_queue_depth      tasks in the stealable queue
stealable_queue_high_water greatest depth of the stealable queue so far
"""


def _read(text: str, kind: str) -> tuple[Counter, ...]:
    counters = []
    for line in text.strip().splitlines():
        name, what = line.split(None, 1)
        maximum = name.endswith(("_max", "_high_water"))
        counters.append(Counter(name, what, "maximum" if maximum else kind))
    return tuple(counters)


GROUPS = (
    Group(
        "spawn-counters",
        "SpawnCounters",
        "Counted by the thread that spawns, wakes or is refused, inside the runtime or outside.",
        _read(_SPAWN, "counter"),
    ),
    Group(
        "shard-counters",
        "ShardCounters",
        "Counted by the shard's own thread.",
        _read(_SHARD, "counter"),
    ),
    Group(
        "gauges",
        "Gauges",
        "True now: not counters.",
        _read(_GAUGES, "gauge"),
        ("message_queue_depth", "stealable_queue_depth", "stealable_queue_high_water"),
    ),
)
