//! Counters. Each shard has one set that only its thread writes; threads outside share one that is
//! written with atomic adds. All are monotonic and read from anywhere; ratios are the reader's.

const std = @import("std");
const Atomic = @import("../base/platform.zig").Atomic;

/// A counter with one writer: a plain add, published by a relaxed store (no ordering is promised
/// between counters).
pub const Counter = struct {
    value: Atomic(u64) = .init(0),

    pub fn add(self: *Counter, n: u64) void {
        self.value.store(self.value.raw +% n, .monotonic);
    }

    /// For the set that many threads write.
    pub fn addShared(self: *Counter, n: u64) void {
        // Sequentially consistent: a spawn counts itself, then looks whether the runtime closes.
        _ = self.value.fetchAdd(n, .seq_cst);
    }

    /// Release store: a reader that sees this value also sees the writer's earlier counts.
    pub fn addReleased(self: *Counter, n: u64) void {
        self.value.store(self.value.raw +% n, .release);
    }

    pub fn max(self: *Counter, n: u64) void {
        if (n > self.value.raw) self.value.store(n, .monotonic);
    }

    pub fn get(self: *const Counter) u64 {
        return self.value.load(.monotonic);
    }
};

/// Counted where it is asked for: on a shard, or on another thread.
pub const SpawnCounters = struct {
    spawn_accepted: Counter = .{},
    spawn_refused: Counter = .{},
    spawn_pinned_submitted: Counter = .{},
    spawn_round_robin_submitted: Counter = .{},
    spawn_sticky_submitted: Counter = .{},
    spawn_stealable_submitted: Counter = .{},
    stealable_backpressure: Counter = .{},
    stealable_wake_sent: Counter = .{},
    stealable_wake_coalesced: Counter = .{},
    ring_msgs_submitted: Counter = .{},
    ring_msgs_failed: Counter = .{},
    eventfd_wakes: Counter = .{},
    doorbells_coalesced: Counter = .{},
    messages_sent: Counter = .{},
    messages_sent_direct: Counter = .{},
    ring_msgs_backpressure: Counter = .{},
    native_affinity_violations: Counter = .{},
};

/// What a shard counts while it runs.
pub const ShardCounters = struct {
    tasks_started: Counter = .{},
    tasks_ended: Counter = .{},
    polls: Counter = .{},
    stealable_executed: Counter = .{},
    stealable_stolen: Counter = .{},
    stealable_local_hits: Counter = .{},
    steal_scans: Counter = .{},
    steal_attempts: Counter = .{},
    steal_success: Counter = .{},
    steal_tasks_moved: Counter = .{},
    steal_skipped_backoff: Counter = .{},
    steal_skipped_locality: Counter = .{},
    steal_skipped_empty: Counter = .{},
    steal_failed_streak_max: Counter = .{},
    ring_msgs_completed: Counter = .{},
    messages_received: Counter = .{},
    passes: Counter = .{},
    blocked_passes: Counter = .{},
    parks: Counter = .{},
    noop_wakes: Counter = .{},
    backstop_finds: Counter = .{},
    spins: Counter = .{},
    spin_hits: Counter = .{},
    sqes_submitted: Counter = .{},
    cqes_reaped: Counter = .{},
    reads_at_once: Counter = .{},
    cq_overflows: Counter = .{},
    submits_refused: Counter = .{},
    submits_short: Counter = .{},
    sqes_backlogged: Counter = .{},
    multishots_cut: Counter = .{},
    buffers_exhausted: Counter = .{},
    stale_completions: Counter = .{},
    cancels_repeated: Counter = .{},
    threads_left: Counter = .{},
    calls_made_here: Counter = .{},
    busy_ns: Counter = .{},
    idle_ns: Counter = .{},
};

/// Errnos of a failed doorbell that are counted apart; the rest is "other".
pub const doorbell_errnos = [_]std.os.linux.E{
    .BADF, .BADFD, .OVERFLOW, .OWNERDEAD, .NOMEM, .EXIST, .INVAL, .PERM,
};
pub const ErrnoCounters = [doorbell_errnos.len + 1]Counter;

pub fn errnoIndex(errno: std.os.linux.E) usize {
    for (doorbell_errnos, 0..) |known, i| if (known == errno) return i;
    return doorbell_errnos.len;
}

/// What is true now, as last published by the shard.
pub const Gauges = struct {
    ops_in_flight: Counter = .{},
    buffers_in_hands: Counter = .{},
    buffers_lent: Counter = .{},
    timers_set: Counter = .{},
    run_queue_depth: Counter = .{},
};
