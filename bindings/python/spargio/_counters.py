"""The counters of a snapshot, as attributes that type checkers and readers know.

Written by tools/generate_counters.py from tools/counters.py: do not edit."""

from __future__ import annotations


class SpawnCounters:
    """Counted by the thread that spawns, wakes or is refused, inside the runtime or outside."""

    spawn_accepted: int
    """Tasks that the runtime accepted."""
    spawn_refused: int
    """Spawns refused because the runtime was shutting down."""
    spawn_pinned_submitted: int
    """Spawns by placement, refused ones included: pinned."""
    spawn_round_robin_submitted: int
    """Spawns by placement, refused ones included: round robin."""
    spawn_sticky_submitted: int
    """Spawns by placement, refused ones included: sticky."""
    spawn_stealable_submitted: int
    """Spawns by placement, refused ones included: stealable (preferred or not)."""
    stealable_backpressure: int
    """Spawns refused because the stealable queue was full."""
    stealable_wake_sent: int
    """Parked shards woken to look for work."""
    stealable_wake_coalesced: int
    """Such wake-ups that found a shard already awake."""
    ring_msgs_submitted: int
    """Doorbells sent by MSG_RING."""
    ring_msgs_failed: int
    """Doorbells and direct messages that the kernel refused."""
    eventfd_wakes: int
    """Doorbells sent by eventfd."""
    doorbells_coalesced: int
    """Doorbells not sent: the shard was awake, or rung already."""
    messages_sent: int
    """Messages between shards that were accepted."""
    messages_sent_direct: int
    """Messages sent as the payload of a MSG_RING (also in messages_sent)."""
    ring_msgs_backpressure: int
    """Messages refused because a lane of the target was full."""
    native_affinity_violations: int
    """Operations and leases that a lease of the descriptor refused."""
    ring_msgs_failed_by_errno: dict[int, int]
    """What the kernel refused, by errno; 0 stands for every other number."""


class ShardCounters:
    """Counted by the shard's own thread."""

    tasks_started: int
    """Tasks that began; a task stays on the shard where it began."""
    tasks_ended: int
    """Tasks that ended, or were cancelled before they began."""
    polls: int
    """Resumptions of tasks."""
    stealable_executed: int
    """Stealable tasks that began here."""
    stealable_stolen: int
    """Stealable tasks that began here and preferred another shard."""
    stealable_local_hits: int
    """Stealable tasks that began here, on their preferred shard."""
    steal_scans: int
    """Victim queues looked at."""
    steal_attempts: int
    """Victims that the gate let through."""
    steal_success: int
    """Attempts that took at least one task."""
    steal_tasks_moved: int
    """Tasks that these attempts took."""
    steal_skipped_backoff: int
    """Scans not begun: the pause was not over."""
    steal_skipped_locality: int
    """Scans that the gate ended: the gain was too small."""
    steal_skipped_empty: int
    """Scans that found nothing queued."""
    steal_failed_streak_max: int
    """Most scans in a row that took nothing."""
    ring_msgs_completed: int
    """Doorbells and direct messages received by MSG_RING."""
    messages_received: int
    """Messages that tasks took; sums of coalesced tags do not count."""
    passes: int
    """Rounds of the shard's loop."""
    blocked_passes: int
    """Passes of blocked_threshold_ms or longer: all else of the shard waited."""
    parks: int
    """Waits in the kernel."""
    noop_wakes: int
    """Waits that ended with nothing to do."""
    backstop_finds: int
    """Work found by the park's time limit: a doorbell got lost."""
    spins: int
    """Spins before a park."""
    spin_hits: int
    """Spins that found work."""
    sqes_submitted: int
    """Entries submitted to the ring."""
    cqes_reaped: int
    """Completions taken from the ring."""
    reads_at_once: int
    """File reads that the page cache served, without the ring."""
    cq_overflows: int
    """Passes that found the completion queue overflowed."""
    submits_refused: int
    """Submissions that the kernel refused for the moment; they are repeated."""
    submits_short: int
    """Submissions of which the kernel took a part; the rest follows."""
    sqes_backlogged: int
    """Entries that waited for room in the submission queue."""
    multishots_cut: int
    """Multishot operations that the kernel ended; they begin anew."""
    buffers_exhausted: int
    """Receives that found no buffer left (ENOBUFS); they bring their own."""
    stale_completions: int
    """Completions of no known operation: always 0, or a bug."""
    cancels_repeated: int
    """Cancellations that the kernel could not do at once."""
    threads_left: int
    """Threads of the epoll backend left behind in a call that nothing ended."""
    calls_made_here: int
    """Operations that the shard did because the kernel had no worker for them."""
    busy_ns: int
    """Time awake, in nanoseconds."""
    idle_ns: int
    """Time in the kernel, waiting, in nanoseconds."""


class Gauges:
    """True now: not counters."""

    ops_in_flight: int
    """Operations that the kernel or a timer has."""
    buffers_in_hands: int
    """Buffers that the kernel filled and no task has emptied yet."""
    buffers_lent: int
    """Buffers that the kernel still has of zero-copy sends that ended."""
    timers_set: int
    """Timers that have not fired."""
    run_queue_depth: int
    """Local tasks that are ready to run."""
    message_queue_depth: int
    """Messages that nobody has taken yet."""
    stealable_queue_depth: int
    """Tasks in the stealable queue."""
    stealable_queue_high_water: int
    """Greatest depth of the stealable queue so far."""


GAUGES = frozenset(
    {
        "ops_in_flight",
        "buffers_in_hands",
        "buffers_lent",
        "timers_set",
        "run_queue_depth",
        "message_queue_depth",
        "stealable_queue_depth",
    }
)

MAXIMA = frozenset(
    {
        "steal_failed_streak_max",
        "stealable_queue_high_water",
    }
)
