//! How a shard looks for work at other shards: which it looks at, and what it takes. search.zig
//! decides which shards may search. The rules are in steal_policy.zig; here they meet queues and
//! counters. On the searching shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const clock = @import("../base/clock.zig");
const limits = @import("../base/limits.zig");
const Shard = @import("shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const search = @import("search.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const Policy = @import("steal_policy.zig").Policy;
const View = @import("steal_policy.zig").View;

const batch_max = 1024;

/// What thieves read of a shard, which alone writes it.
pub const Published = struct {
    /// Even: between tasks; odd: in one. A thief sees how long it stays the same.
    poll_sequence: Atomic(u64) = .init(0),
    /// Usual time of one stealable task, ns.
    task_ns: Atomic(u64) = .init(0),
    /// It last ran interpreted tasks.
    runs_interpreted: Atomic(bool) = .init(false),
};

/// What a shard knows as a thief.
pub const Thief = struct {
    policy: Policy,
    poll_clock: PollClock,
};

/// What this shard saw of each other one: which poll it was in, and since when.
pub const PollClock = struct {
    seen: []Seen,
    /// When a shard that has work of its own looks next.
    busy_look_ns: u64 = 0,
    /// When the last scan's look is to be repeated, because a task will have taken long enough; 0: never.
    again_ns: u64 = 0,

    const Seen = struct { sequence: u64 = 0, since_ns: u64 = 0 };

    fn stuckNs(self: *PollClock, victim: *const Shard, now_ns: u64) u64 {
        const sequence = victim.published.poll_sequence.load(.monotonic);
        const seen = &self.seen[victim.id];
        if (seen.sequence != sequence) seen.* = .{ .sequence = sequence, .since_ns = now_ns };
        return if (sequence % 2 == 1) now_ns - seen.since_ns else 0;
    }
};

/// True if something was taken: it is queued here.
pub fn steal(shard: *Shard) bool {
    assert(shard.isHere() and !shard.hasReady());
    if (shard.scheduler.shards.len == 1) return false;
    if (!search.takeGrant(shard) and !search.othersHaveWork(shard)) {
        if (shard.search.searching) search.end(shard);
        return false;
    }
    if (!shard.search.searching and !search.begin(shard)) return false;
    const now = clock.nowNs();
    if (shard.thief.policy.cooling(now)) {
        shard.counters.steal_skipped_backoff.add(1);
        return false;
    }
    const taken = scan(shard, now, false);
    shard.thief.policy.rotate();
    if (taken == 0) {
        const again_ns = shard.thief.poll_clock.again_ns;
        shard.thief.policy.failed(now);
        if (again_ns != 0) shard.thief.policy.lookAgain(again_ns);
        shard.counters.steal_failed_streak_max.max(shard.thief.policy.failed_streak);
        return false;
    }
    shard.thief.policy.succeeded();
    if (shard.latency) |latency| latency.record(shard, .steal, clock.nowNs() -| now);
    return true;
}

/// For a shard that does not run out of work of its own: now and then it looks whether another one is
/// stuck in a task, whose queue would wait for as long. Outside of the count of searchers, which is about
/// idle shards, and without a say in their pauses.
pub fn stealBusy(shard: *Shard) void {
    assert(shard.isHere());
    if (shard.scheduler.shards.len == 1 or shard.now_ns < shard.thief.poll_clock.busy_look_ns) return;
    shard.thief.poll_clock.busy_look_ns = shard.now_ns + limits.steal_busy_look_ns;
    if (!search.othersHaveWork(shard)) return;
    _ = scan(shard, shard.now_ns, true);
    shard.thief.policy.rotate();
}

/// For the park: when to look again, or the end of time. After a scan that took nothing the shard
/// sleeps as a searcher until its pause is over, so that spawns do not wake one after the other.
/// Once it has given up the search it looks a last time: a task queued in between finds no
/// searcher and a parked shard, or is found here.
pub fn nextScanNs(shard: *Shard) u64 {
    assert(shard.isHere());
    const never = std.math.maxInt(u64);
    if (shard.scheduler.shards.len == 1) return never;
    const cooling = shard.thief.policy.cooling(shard.now_ns);
    if (shard.search.searching) {
        if (cooling) return shard.thief.policy.not_before_ns;
        search.end(shard);
    }
    if (!search.othersHaveWork(shard)) return never;
    // Work is queued elsewhere, but enough others search, or the pause is not over.
    return if (cooling) shard.thief.policy.not_before_ns else shard.now_ns + limits.steal_tick_ns;
}

fn scan(shard: *Shard, now_ns: u64, busy: bool) usize {
    var best: ?*Shard = null;
    var best_ns: u64 = 0;
    var empty: u32 = 0;
    shard.thief.poll_clock.again_ns = 0;
    const probes = shard.thief.policy.probes();
    for (0..probes) |n| {
        const victim = &shard.scheduler.shards[shard.thief.policy.victim(@intCast(n))];
        shard.counters.steal_scans.add(1);
        var view = look(shard, victim, now_ns);
        if (busy) view.stuck_only = true;
        if (view.depth == 0) {
            empty += 1;
        } else if (shard.thief.policy.worth(view)) {
            const saved = @TypeOf(shard.thief.policy).savedNs(view);
            if (best == null or saved > best_ns) best = victim;
            best_ns = @max(best_ns, saved);
        } else if (shard.thief.policy.untilWorthNs(view)) |wait_ns| {
            const again_ns = &shard.thief.poll_clock.again_ns;
            again_ns.* = if (again_ns.* == 0) now_ns + wait_ns else @min(again_ns.*, now_ns + wait_ns);
        }
    }
    if (best) |victim| return take(shard, victim);
    if (empty == probes)
        shard.counters.steal_skipped_empty.add(1)
    else
        shard.counters.steal_skipped_locality.add(1);
    return 0;
}

fn look(shard: *Shard, victim: *Shard, now_ns: u64) View {
    assert(victim != shard);
    const locked = if (shard.scheduler.interpreter) |interpreter| interpreter.locked else false;
    return .{
        .depth = victim.stealable.depth(),
        .task_ns = victim.published.task_ns.load(.monotonic),
        .stuck_ns = shard.thief.poll_clock.stuckNs(victim, now_ns),
        .in_poll = shard.thief.poll_clock.seen[victim.id].sequence % 2 == 1,
        .stuck_only = locked and victim.published.runs_interpreted.load(.monotonic),
    };
}

fn take(shard: *Shard, victim: *Shard) usize {
    assert(victim != shard);
    shard.counters.steal_attempts.add(1);
    var tasks: [batch_max]*Task = undefined;
    const count = victim.stealable.steal(tasks[0..shard.thief.policy.batch_size]);
    if (count == 0) return 0;
    if (victim.room.isWanted()) victim.tellRoom(); // It may be stuck itself.
    shard.counters.steal_success.add(1);
    shard.counters.steal_tasks_moved.add(count);
    if (shard.search.searching) search.end(shard);
    // One to run now; the others stay open to thieves, in case it takes long.
    shard.enqueueLocal(tasks[0]);
    for (tasks[1..count]) |task| {
        if (shard.stealable.push(task) == null) shard.enqueueLocal(task);
    }
    if (victim.stealable.depth() > 0 or count > 1) search.wakeOne(shard.scheduler, victim);
    return count;
}
