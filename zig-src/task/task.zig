//! A unit of work and its life. A task is queued, started by one shard, polled there until it ends,
//! and then done: its operations have ended too and its waiters are woken. `VTable` hides the
//! language that it is written in. This file does not know rings; the shard schedules.

const std = @import("std");
const Latch = @import("latch.zig").Latch;
const Listener = @import("listeners.zig").Listener;
const Op = @import("op.zig").Op;
const Atomic = @import("../base/platform.zig").Atomic;

pub const Poll = enum { ended, pending, yield };

/// Where a task is. Only the shard that runs it leaves `running`; only the winner of
/// `idle -> queued` may put it into a queue, so it is in at most one.
pub const State = enum(u8) { queued, running, running_notified, idle, ended };

pub const VTable = struct {
    /// Runs under the interpreter's lock, or freely (a native task).
    interpreted: bool,
    /// On the task's shard: goes on with it. Ended: `status` and `result` are set.
    poll: *const fn (*Task) Poll,
    /// On a shard: the task is cancelled before its first poll; sets `status`. False: it is polled all the same.
    abandon: *const fn (*Task) bool,
    /// On its shard, when its operations have ended too and nobody that waits for it was woken.
    finished: ?*const fn (*Task) void = null,
    /// The scheduler lets go of it, once, after it is done.
    release: *const fn (*Task) void,
};

pub const Kind = enum(u8) { pinned = 0, round_robin = 1, sticky = 2, stealable = 3, stealable_preferred = 4 };

pub const shard_none = std.math.maxInt(u16);

pub const Task = struct {
    vtable: *const VTable,
    next: ?*Task = null,
    state: Atomic(State) = .init(.queued),
    /// Set from anywhere, seen by the task's own poll; taken back only by a language that delivers it.
    cancel_requested: Atomic(bool) = .init(false),
    kind: Kind,
    started: bool = false,
    /// Where the trace has its name last; see `Ring.isRecent`.
    named_at: u32 = 0,
    /// Since when it waits for its poll, if the scheduler's latencies are recorded.
    queued_ns: u64 = 0,
    draining: bool = false,
    /// `VTable.finished` is to be called.
    tells_end: bool = false,
    /// Runs although the runtime closes, and is not cancelled by that, but when all are cancelled again:
    /// it cleans up after a task that is still counted when it is spawned.
    cleanup: bool = false,
    /// It knows that the runtime closes, and cleans up: it is not cancelled a second time for the same.
    told_of_close: Atomic(bool) = .init(false),
    /// For stealable tasks the shard that local hits are counted against.
    preferred: u16,
    /// The shard it started on, or `shard_none`. Stable once the state has been `idle`.
    home_id: Atomic(u16) = .init(shard_none),
    home: ?*anyopaque = null,

    live_prev: ?*Task = null,
    live_next: ?*Task = null,

    /// Its operations that are not consumed yet, and how many of them the kernel still has.
    ops: ?*Op = null,
    flying: u32 = 0,

    /// What it waits for at its shard's mailbox.
    listeners: ?*Listener = null,

    status: i32 = 0,
    result: i64 = 0,
    /// Of status and result.
    latch: Latch = .{},

    pub fn stealable(self: *const Task) bool {
        return self.kind == .stealable or self.kind == .stealable_preferred;
    }

    pub fn isDone(self: *const Task) bool {
        return self.latch.isDone();
    }

    /// Any thread: the exclusive right to queue this task, or false if it is queued, runs
    /// (it then runs again) or has ended.
    pub fn claimWake(self: *Task) bool {
        while (true) {
            const seen = self.state.load(.seq_cst);
            switch (seen) {
                .queued, .running_notified, .ended => return false,
                .running => if (self.state.cmpxchgStrong(.running, .running_notified, .seq_cst, .seq_cst) == null)
                    return false,
                .idle => if (self.state.cmpxchgStrong(.idle, .queued, .seq_cst, .seq_cst) == null)
                    return true,
            }
        }
    }

    /// The same for who wrote what the task is to see by stores that are not sequentially consistent (a
    /// program's own): each way writes the state, so the poll that follows sees what was written before.
    pub fn claimWakeAfterWrites(self: *Task) bool {
        while (true) {
            const seen = self.state.load(.monotonic);
            const next: State = switch (seen) {
                .ended => return false,
                .queued, .idle => .queued,
                .running, .running_notified => .running_notified,
            };
            // Pairs with the swap before the poll, and with the exchange after it (Shard.poll).
            if (self.state.cmpxchgWeak(seen, next, .seq_cst, .monotonic) == null) return seen == .idle;
        }
    }
};
