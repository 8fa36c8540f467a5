//! A shard looks for work at others: who may search, whom it looks at, what it takes. The rules are
//! in steal_policy.zig; here they meet queues and counters. On the searching shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const clock = @import("../base/clock.zig");
const limits = @import("../base/limits.zig");
const Shard = @import("shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const View = @import("steal_policy.zig").View;

const batch_max = 1024;

/// What this shard saw of each other one: which poll it was in, and since when.
pub const Watch = struct {
    seen: []Seen,
    /// When a shard that has work of its own looks next.
    busy_look_ns: u64 = 0,

    const Seen = struct { sequence: u64 = 0, since_ns: u64 = 0 };

    fn stuckNs(self: *Watch, victim: *const Shard, now_ns: u64) u64 {
        const sequence = victim.poll_sequence.load(.monotonic);
        const seen = &self.seen[victim.id];
        if (seen.sequence != sequence) seen.* = .{ .sequence = sequence, .since_ns = now_ns };
        return if (sequence % 2 == 1) now_ns - seen.since_ns else 0;
    }
};

/// True where something was taken: it is queued here.
pub fn steal(shard: *Shard) bool {
    const crew = shard.crew;
    if (crew.shards.len == 1) return false;
    const granted = shard.granted_search.load(.monotonic) and
        shard.granted_search.swap(false, .seq_cst);
    if (granted) {
        if (shard.searching) crew.endSearch();
        shard.searching = true;
    } else if (!queued(shard)) {
        if (shard.searching) release(shard);
        return false;
    }
    if (!shard.searching and !crew.beginSearch()) return false;
    shard.searching = true;
    const now = clock.nowNs();
    if (shard.policy.cooling(now)) {
        shard.counters.steal_skipped_backoff.add(1);
        return false;
    }
    const taken = scan(shard, now, false);
    shard.policy.rotate();
    if (taken == 0) {
        shard.policy.failed(now);
        shard.counters.steal_failed_streak_max.max(shard.policy.failed_streak);
        return false;
    }
    shard.policy.succeeded();
    return true;
}

/// For a shard that does not run out of work of its own: now and then it looks whether another one is
/// stuck in a task, whose queue would wait for as long. Outside of the count of searchers, which is about
/// idle shards, and without a say in their pauses.
pub fn stealBusy(shard: *Shard) void {
    if (shard.crew.shards.len == 1 or shard.now_ns < shard.watch.busy_look_ns) return;
    shard.watch.busy_look_ns = shard.now_ns + limits.steal_busy_look_ns;
    if (!queued(shard)) return;
    _ = scan(shard, shard.now_ns, true);
    shard.policy.rotate();
}

/// Before the tasks of a pass. A shard that has work of its own leaves the search to another one: a grant
/// that it never used, or a search that was not over, would keep the others asleep as long as a task
/// takes.
pub fn giveUp(shard: *Shard) void {
    if (shard.rung) {
        shard.rung = false;
        if (shard.hasReady() and shard.stealable.depth() > 0) shard.crew.wakeSearcher(shard);
    }
    if (!shard.searching and !shard.granted_search.load(.monotonic)) return;
    if (!shard.hasLocalWork()) return;
    if (shard.granted_search.load(.monotonic) and shard.granted_search.swap(false, .seq_cst)) {
        if (shard.searching) shard.crew.endSearch();
        shard.searching = true;
    }
    if (!shard.searching) return;
    release(shard);
    if (queued(shard)) shard.crew.wakeSearcher(shard);
}

/// Lets others search.
pub fn release(shard: *Shard) void {
    assert(shard.searching);
    shard.searching = false;
    shard.crew.endSearch();
}

/// For the park: when to look again, or the end of time. After a scan that took nothing the shard
/// sleeps as a searcher until its pause is over, so that spawns do not wake one after the other.
/// Once it has given up the search it looks a last time: a task queued in between finds no
/// searcher and a parked shard, or is found here.
pub fn nextScanNs(shard: *Shard) u64 {
    const never = std.math.maxInt(u64);
    if (shard.crew.shards.len == 1) return never;
    const cooling = shard.policy.cooling(shard.now_ns);
    if (shard.searching) {
        if (cooling) return shard.policy.not_before_ns;
        release(shard);
    }
    if (!queued(shard)) return never;
    // Work is queued elsewhere, but enough others search, or the pause is not over.
    return if (cooling) shard.policy.not_before_ns else shard.now_ns + limits.steal_tick_ns;
}

/// Something waits in another shard's stealable queue.
fn queued(shard: *const Shard) bool {
    for (shard.crew.shards) |*other| {
        if (other != shard and other.stealable.depth() > 0) return true;
    }
    return false;
}

fn scan(shard: *Shard, now_ns: u64, busy: bool) usize {
    var best: ?*Shard = null;
    var best_ns: u64 = 0;
    var empty: u32 = 0;
    const probes = shard.policy.probes();
    for (0..probes) |n| {
        const victim = &shard.crew.shards[shard.policy.victim(@intCast(n))];
        shard.counters.steal_scans.add(1);
        var view = look(shard, victim, now_ns);
        if (busy) view.stuck_only = true;
        if (view.depth == 0) {
            empty += 1;
        } else if (shard.policy.worth(view)) {
            const saved = @TypeOf(shard.policy).savedNs(view);
            if (best == null or saved > best_ns) best = victim;
            best_ns = @max(best_ns, saved);
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
    const locked = if (shard.crew.host) |host| host.locked else false;
    return .{
        .depth = victim.stealable.depth(),
        .task_ns = victim.task_ns.load(.monotonic),
        .stuck_ns = shard.watch.stuckNs(victim, now_ns),
        .stuck_only = locked and victim.runs_hosted.load(.monotonic),
    };
}

fn take(shard: *Shard, victim: *Shard) usize {
    shard.counters.steal_attempts.add(1);
    var tasks: [batch_max]*Task = undefined;
    const count = victim.stealable.steal(tasks[0..shard.policy.batch_size]);
    if (count == 0) return 0;
    if (victim.room.isWanted()) victim.tellRoom(); // It may be stuck itself.
    shard.counters.steal_success.add(1);
    shard.counters.steal_tasks_moved.add(count);
    if (shard.searching) release(shard);
    // One to run now; the others stay open to thieves, in case it takes long.
    shard.enqueueLocal(tasks[0]);
    for (tasks[1..count]) |task| {
        if (shard.stealable.push(task) == null) shard.enqueueLocal(task);
    }
    if (victim.stealable.depth() > 0 or count > 1) shard.crew.wakeSearcher(victim);
    return count;
}
