//! Which shards search for work to steal, and how the right to search moves. At most half of the
//! shards are searchers, awake or about to look again (`Scheduler.searchers` counts them).
//!
//!     idle shard      --begin-->      searcher       if fewer than half search
//!     parked shard    --wakeOne-->    granted        a spawn, if nobody searches; it is woken for that
//!     granted         --takeGrant-->  searcher       at its next look for work
//!     granted         --handOver-->   next granted   it has work of its own: the search goes on elsewhere
//!     searcher        --end-->        idle shard     it found work, or will not look again for now
//!
//! A grant is counted as a searcher from `wakeOne` on, so that spawns do not wake one after the
//! other. `wakeOne` may run on any thread; all else on the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const doorbell = @import("doorbell.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const Scheduler = @import("scheduler.zig").Scheduler;
const Shard = @import("shard.zig").Shard;

/// A shard's.
pub const State = struct {
    /// It is one of `Scheduler.searchers`.
    searching: bool = false,
    /// It was woken to search, and is counted already. // any thread
    granted: Atomic(bool) = .init(false),
    /// Since the last pass: maybe for a stealable task, and nobody else was woken for that.
    rung: bool = false,
};

/// idle -> searcher. False: enough others search.
pub fn begin(shard: *Shard) bool {
    assert(shard.isHere() and !shard.search.searching);
    const scheduler = shard.scheduler;
    const most = @max(1, scheduler.shards.len / 2);
    var seen = scheduler.searchers.load(.seq_cst);
    while (seen < most) {
        seen = scheduler.searchers.cmpxchgWeak(seen, seen + 1, .seq_cst, .seq_cst) orelse {
            shard.search.searching = true;
            return true;
        };
    }
    return false;
}

/// searcher -> idle: others may search.
pub fn end(shard: *Shard) void {
    assert(shard.isHere());
    assert(shard.search.searching);
    shard.search.searching = false;
    uncount(shard.scheduler);
}

fn uncount(scheduler: *Scheduler) void {
    const before = scheduler.searchers.fetchSub(1, .seq_cst);
    assert(before > 0);
}

/// granted -> searcher. False: there was no grant.
pub fn takeGrant(shard: *Shard) bool {
    assert(shard.isHere());
    if (!shard.search.granted.load(.monotonic) or !shard.search.granted.swap(false, .seq_cst)) return false;
    if (shard.search.searching) uncount(shard.scheduler); // It was counted twice.
    shard.search.searching = true;
    return true;
}

/// parked -> granted. A stealable task was queued at `except`, which is awake: lets one parked shard look for
/// work, unless somebody does already.
pub fn wakeOne(self: *Scheduler, except: *const Shard) void {
    assert(except.scheduler == self);
    if (self.shards.len == 1) return;
    // Sequentially consistent, as the searcher's last look at the queues is: one sees the other.
    if (self.searchers.load(.seq_cst) != 0) return;
    var candidate = self.sleeperFrom(0, except);
    if (candidate == null) return;
    if (self.searchers.cmpxchgStrong(0, 1, .seq_cst, .seq_cst) != null) return;
    const from = Shard.currentOf(self);
    if (from == null) _ = self.ringing.fetchAdd(1, .seq_cst);
    defer if (from == null) {
        _ = self.ringing.fetchSub(1, .seq_cst);
    };
    while (candidate) |shard| : (candidate = self.sleeperFrom(shard.id + 1, except)) {
        // Before the notice: if that is taken, so is the grant, whatever else woke the shard.
        shard.search.granted.store(true, .seq_cst);
        if (shard.park_state.notify()) {
            self.countSpawn(from, .stealable_wake_sent);
            return if (from) |own| own.ringBell(shard) else doorbell.ringFromOutside(self, shard);
        }
        if (!shard.search.granted.swap(false, .seq_cst)) break; // Awake, and it takes the grant.
        // Something else woke it, maybe a task that takes long: the grant is for another one.
    } else uncount(self);
    self.countSpawn(from, .stealable_wake_coalesced);
}

/// granted or searcher -> another one. Before the tasks of a pass, and before those of its stealable
/// queue, which may have come since. A shard that has work of its own leaves the search to another one:
/// a grant that it never used, or a search that was not over, would keep the others asleep as long as a
/// task takes.
pub fn handOver(shard: *Shard) void {
    assert(shard.isHere());
    if (shard.search.rung) {
        shard.search.rung = false;
        if (shard.hasReady() and shard.stealable.depth() > 0) wakeOne(shard.scheduler, shard);
    }
    if (!shard.search.searching and !shard.search.granted.load(.monotonic)) return;
    if (!shard.hasLocalWork()) return;
    _ = takeGrant(shard);
    if (!shard.search.searching) return;
    end(shard);
    // Spawns into its own queue found a searcher, and woke nobody: one of them may run here for long.
    const first: usize = if (shard.hasReady()) 0 else 1;
    if (othersHaveWork(shard) or shard.stealable.depth() > first) wakeOne(shard.scheduler, shard);
}

/// Something waits in another shard's stealable queue.
pub fn othersHaveWork(shard: *const Shard) bool {
    for (shard.scheduler.shards) |*other| {
        if (other != shard and other.stealable.depth() > 0) return true;
    }
    return false;
}
