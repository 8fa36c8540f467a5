/*
 * The keys of a statistics snapshot (spargio_stats_cbor) as macros: a misspelt name does
 * not compile. docs/counters.md says what each counts.
 *
 * Written by tools/generate_counters.py from tools/counters.py: do not edit.
 */
#ifndef SPARGIO_COUNTERS_H
#define SPARGIO_COUNTERS_H

/* Counted by the thread that spawns, wakes or is refused, inside the runtime or outside. */
#define SPARGIO_COUNTER_SPAWN_ACCEPTED "spawn_accepted"
#define SPARGIO_COUNTER_SPAWN_REFUSED "spawn_refused"
#define SPARGIO_COUNTER_SPAWN_PINNED_SUBMITTED "spawn_pinned_submitted"
#define SPARGIO_COUNTER_SPAWN_ROUND_ROBIN_SUBMITTED "spawn_round_robin_submitted"
#define SPARGIO_COUNTER_SPAWN_STICKY_SUBMITTED "spawn_sticky_submitted"
#define SPARGIO_COUNTER_SPAWN_STEALABLE_SUBMITTED "spawn_stealable_submitted"
#define SPARGIO_COUNTER_STEALABLE_BACKPRESSURE "stealable_backpressure"
#define SPARGIO_COUNTER_STEALABLE_WAKE_SENT "stealable_wake_sent"
#define SPARGIO_COUNTER_STEALABLE_WAKE_COALESCED "stealable_wake_coalesced"
#define SPARGIO_COUNTER_RING_MSGS_SUBMITTED "ring_msgs_submitted"
#define SPARGIO_COUNTER_RING_MSGS_FAILED "ring_msgs_failed"
#define SPARGIO_COUNTER_EVENTFD_WAKES "eventfd_wakes"
#define SPARGIO_COUNTER_DOORBELLS_COALESCED "doorbells_coalesced"
#define SPARGIO_COUNTER_MESSAGES_SENT "messages_sent"
#define SPARGIO_COUNTER_MESSAGES_SENT_DIRECT "messages_sent_direct"
#define SPARGIO_COUNTER_RING_MSGS_BACKPRESSURE "ring_msgs_backpressure"
#define SPARGIO_COUNTER_NATIVE_AFFINITY_VIOLATIONS "native_affinity_violations"

/* Counted by the shard's own thread. */
#define SPARGIO_COUNTER_TASKS_STARTED "tasks_started"
#define SPARGIO_COUNTER_TASKS_ENDED "tasks_ended"
#define SPARGIO_COUNTER_POLLS "polls"
#define SPARGIO_COUNTER_STEALABLE_EXECUTED "stealable_executed"
#define SPARGIO_COUNTER_STEALABLE_STOLEN "stealable_stolen"
#define SPARGIO_COUNTER_STEALABLE_LOCAL_HITS "stealable_local_hits"
#define SPARGIO_COUNTER_STEAL_SCANS "steal_scans"
#define SPARGIO_COUNTER_STEAL_ATTEMPTS "steal_attempts"
#define SPARGIO_COUNTER_STEAL_SUCCESS "steal_success"
#define SPARGIO_COUNTER_STEAL_TASKS_MOVED "steal_tasks_moved"
#define SPARGIO_COUNTER_STEAL_SKIPPED_BACKOFF "steal_skipped_backoff"
#define SPARGIO_COUNTER_STEAL_SKIPPED_LOCALITY "steal_skipped_locality"
#define SPARGIO_COUNTER_STEAL_SKIPPED_EMPTY "steal_skipped_empty"
#define SPARGIO_COUNTER_STEAL_FAILED_STREAK_MAX "steal_failed_streak_max"
#define SPARGIO_COUNTER_RING_MSGS_COMPLETED "ring_msgs_completed"
#define SPARGIO_COUNTER_MESSAGES_RECEIVED "messages_received"
#define SPARGIO_COUNTER_PASSES "passes"
#define SPARGIO_COUNTER_BLOCKED_PASSES "blocked_passes"
#define SPARGIO_COUNTER_PARKS "parks"
#define SPARGIO_COUNTER_NOOP_WAKES "noop_wakes"
#define SPARGIO_COUNTER_BACKSTOP_FINDS "backstop_finds"
#define SPARGIO_COUNTER_SPINS "spins"
#define SPARGIO_COUNTER_SPIN_HITS "spin_hits"
#define SPARGIO_COUNTER_SQES_SUBMITTED "sqes_submitted"
#define SPARGIO_COUNTER_CQES_REAPED "cqes_reaped"
#define SPARGIO_COUNTER_READS_AT_ONCE "reads_at_once"
#define SPARGIO_COUNTER_CQ_OVERFLOWS "cq_overflows"
#define SPARGIO_COUNTER_SUBMITS_REFUSED "submits_refused"
#define SPARGIO_COUNTER_SUBMITS_SHORT "submits_short"
#define SPARGIO_COUNTER_SQES_BACKLOGGED "sqes_backlogged"
#define SPARGIO_COUNTER_MULTISHOTS_CUT "multishots_cut"
#define SPARGIO_COUNTER_BUFFERS_EXHAUSTED "buffers_exhausted"
#define SPARGIO_COUNTER_STALE_COMPLETIONS "stale_completions"
#define SPARGIO_COUNTER_CANCELS_REPEATED "cancels_repeated"
#define SPARGIO_COUNTER_THREADS_LEFT "threads_left"
#define SPARGIO_COUNTER_CALLS_MADE_HERE "calls_made_here"
#define SPARGIO_COUNTER_BUSY_NS "busy_ns"
#define SPARGIO_COUNTER_IDLE_NS "idle_ns"

/* True now: not counters. */
#define SPARGIO_COUNTER_OPS_IN_FLIGHT "ops_in_flight"
#define SPARGIO_COUNTER_BUFFERS_IN_HANDS "buffers_in_hands"
#define SPARGIO_COUNTER_BUFFERS_LENT "buffers_lent"
#define SPARGIO_COUNTER_TIMERS_SET "timers_set"
#define SPARGIO_COUNTER_RUN_QUEUE_DEPTH "run_queue_depth"
#define SPARGIO_COUNTER_MESSAGE_QUEUE_DEPTH "message_queue_depth"
#define SPARGIO_COUNTER_STEALABLE_QUEUE_DEPTH "stealable_queue_depth"
#define SPARGIO_COUNTER_STEALABLE_QUEUE_HIGH_WATER "stealable_queue_high_water"

#endif
