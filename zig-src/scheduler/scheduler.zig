//! What the shards of one runtime share: the list of shards, which of them are parked, which search
//! for work to steal, and the shutdown. Everything here is atomic or never changes after the start.
//!
//! Shutting down a runtime takes these steps:
//!
//!  1. `close` sets `closing`. From then on a spawn is refused, unless its task cleans up.
//!  2. `cancelAgain` raises `end_rounds` and `cancel_rounds`, and wakes all shards. Each one, at its next
//!     pass, cancels all that it has (`Shard.cancelLive`): operations end, tasks are polled once more.
//!     The first time it skips tasks that clean up, and tasks that this close has cancelled already.
//!     A task that has not begun is abandoned before its first poll (`Shard.start`).
//!  3. Each task ends, drains its operations, and is counted in `tasks_ended` before its shard looks at
//!     `closing` (`Shard.completeTask`). Each spawn was counted as begun before it looked. Both are
//!     sequentially consistent, so the thread that makes the two sums equal sees it: `liveTasks` is 0.
//!  4. `stopIfDone` is called after each end. When no task is left, the interpreter may spawn tasks
//!     that clean up after all others (`last_task`). While it does, and while signal handlers run
//!     between two passes, nothing stops the shards (`preventStop`).
//!  5. `stop` becomes 1, once. Threads that wait in `Runtime.shutdown` are woken, and all shards.
//!  6. Each shard leaves its loop, sends its last bells, and drains its ring (`Shard.run`).
//!  7. `Runtime.shutdown` joins the threads, waits until nobody rings (`ringing`), ends the pool of the
//!     epoll backend, closes the rings, and stops the monitor. A second caller waits for the first
//!     (`joining`).
//!  8. The memory goes with the last pin of the runtime's handle (`Runtime.destroy`).

const std = @import("std");
const assert = std.debug.assert;
const doorbell = @import("doorbell.zig");
const Failure = @import("../base/failure.zig").Failure;
const fork = @import("../base/fork.zig");
const options_module = @import("../base/options.zig");
const Options = options_module.Options;
const Info = @import("../ring/probe.zig").Info;
const Interpreter = @import("interpreter.zig").Interpreter;
const Shard = @import("shard.zig").Shard;
const signal_mask = @import("../base/signal_mask.zig");
const stats = @import("stats.zig");
const Tags = @import("../message/tags.zig").Tags;
const sync = @import("../base/sync.zig");
const limits = @import("../base/limits.zig");
const platform = @import("../base/platform.zig");
const Atomic = platform.Atomic;

pub const Scheduler = struct {
    options: Options,
    info: Info,
    backend: options_module.ChosenBackend,
    /// Why io_uring was not taken, though nothing spoke against it; else its errno is 0.
    refused_ring: Failure = .{},
    interpreter: ?*const Interpreter,
    /// The interpreter's own side of this runtime.
    interpreter_owner: ?*anyopaque = null,
    tags: Tags = .{},
    shards: []Shard,
    /// Of the process that made it.
    generation: u32,
    /// If the shards' threads block all signals: what the program has, for the children that they fork.
    program_mask: ?signal_mask.Set = null,

    /// Bit i: shard i is parked. A hint for whom to wake; the doorbell decides.
    parked: [limits.shards_max / 64]Atomic(u64) = @splat(.init(0)),
    /// Shards that look for work to steal, awake or about to look again. At most half.
    searchers: Atomic(u32) = .init(0),
    round_robin: Atomic(u32) = .init(0),

    closing: Atomic(bool) = .init(false),
    /// How often the shards were to look for what is to end: operations on a closed descriptor, or all tasks.
    cancel_rounds: Atomic(u32) = .init(0),
    /// How often all tasks were asked to end: once by `close`, again by each `cancelAgain`.
    end_rounds: Atomic(u32) = .init(0),
    /// See `preventStop`.
    held_open: Atomic(bool) = .init(false),
    /// 1: everything has ended, the shards leave their loops. Threads wait on it.
    stop: Atomic(u32) = .init(0),

    /// Other threads that are about to ring a bell: no ring is closed under them.
    ringing: Atomic(u32) = .init(0),

    /// Spawns of threads that are no shard of this scheduler, refused ones too.
    outside_begun: stats.Counter = .{},
    /// Counters of these threads.
    outside: stats.SpawnCounters = .{},
    outside_errnos: stats.ErrnoCounters = @splat(.{}),

    /// Doorbells go by MSG_RING; else by eventfd.
    pub fn usesMsgRing(self: *const Scheduler) bool {
        return self.info.can().msg_ring and self.options.flags & options_module.flag_no_msg_ring == 0;
    }

    /// A thread without a ring can send MSG_RING.
    pub fn usesSendMsgRing(self: *const Scheduler) bool {
        return self.usesMsgRing() and self.info.can().send_msg_ring;
    }

    /// In a forked child: the shards are the parent's, and so are the rings.
    pub fn forked(self: *const Scheduler) bool {
        return self.generation != fork.generation();
    }

    /// After publishing something for `target`: wakes it if it sleeps. True if a bell was rung.
    pub fn notify(self: *Scheduler, target: *Shard) bool {
        assert(target.scheduler == self);
        const from = Shard.currentOf(self);
        if (self.forked()) return false;
        // Counted in before the look at the doorbell, which a shard that has left never sets again.
        if (from == null) _ = self.ringing.fetchAdd(1, .seq_cst);
        defer if (from == null) {
            _ = self.ringing.fetchSub(1, .seq_cst);
        };
        if (!target.park_state.notify()) {
            self.countSpawn(from, .doorbells_coalesced);
            return false;
        }
        if (from) |shard| shard.ringBell(target) else doorbell.ringFromOutside(self, target);
        return true;
    }

    pub fn setParked(self: *Scheduler, id: u16, value: bool) void {
        assert(id < self.shards.len);
        const bit = @as(u64, 1) << @intCast(id % 64);
        const word = &self.parked[id / 64];
        _ = if (value) word.fetchOr(bit, .seq_cst) else word.fetchAnd(~bit, .seq_cst);
    }

    /// The first one from that number on which sleeps or is about to, and was not rung.
    pub fn sleeperFrom(self: *Scheduler, first: usize, except: *const Shard) ?*Shard {
        if (first >= self.shards.len) return null;
        for (self.parked[first / 64 ..], first / 64..) |*word, i| {
            var bits = word.load(.seq_cst);
            if (i == first / 64) bits &= @as(u64, std.math.maxInt(u64)) << @intCast(first % 64);
            while (bits != 0) : (bits &= bits - 1) {
                assert(i * 64 + @ctz(bits) < self.shards.len);
                const shard = &self.shards[i * 64 + @ctz(bits)];
                if (shard != except and shard.park_state.sleeps()) return shard;
            }
        }
        return null;
    }

    /// No new tasks; what runs is cancelled; when all has ended the shards stop.
    pub fn close(self: *Scheduler) void {
        if (self.closing.swap(true, .seq_cst)) return;
        self.cancelAgain();
        self.stopIfDone(null);
    }

    /// For tasks that went on although they were cancelled.
    pub fn cancelAgain(self: *Scheduler) void {
        assert(self.closing.load(.seq_cst));
        _ = self.end_rounds.fetchAdd(1, .seq_cst);
        self.endClosed();
    }

    /// After the closing bit of a descriptor was set: every shard ends its operations on it.
    pub fn endClosed(self: *Scheduler) void {
        _ = self.cancel_rounds.fetchAdd(1, .seq_cst);
        for (self.shards) |*shard| _ = self.notify(shard);
    }

    /// Called while closing, after each task's end: on the shard where that was, if on any. The
    /// interpreter may then spawn what cleans up after all.
    pub fn stopIfDone(self: *Scheduler, on: ?*Shard) void {
        assert(self.closing.load(.seq_cst));
        while (self.liveTasks() == 0) {
            if (!self.preventStop()) return;
            if (self.liveTasks() == 0) {
                if (self.interpreter) |interpreter| if (on) |shard| interpreter.last_task(shard);
                if (self.liveTasks() == 0) break;
            }
            self.held_open.store(false, .seq_cst);
        } else return;
        if (self.stop.swap(1, .seq_cst) != 0) return;
        sync.wake(&self.stop, std.math.maxInt(i32));
        for (self.shards) |*shard| _ = self.notify(shard);
    }

    /// Its holder may spawn although no task that counts is running, and looks with `allowStop`
    /// whether all has ended meanwhile. False: somebody else holds it, or the end is near.
    pub fn preventStop(self: *Scheduler) bool {
        return !self.held_open.swap(true, .seq_cst);
    }

    pub fn allowStop(self: *Scheduler, on: *Shard) void {
        assert(on.isHere() and on.scheduler == self);
        self.held_open.store(false, .seq_cst);
        if (self.closing.load(.seq_cst)) self.stopIfDone(on);
    }

    /// Begun, not refused and not ended. Begun last: what ends in between is counted as live.
    pub fn liveTasks(self: *Scheduler) u64 {
        var over = refused(&self.outside);
        for (self.shards) |*shard| {
            over += shard.counters.tasks_ended.value.load(.seq_cst) + refused(&shard.spawn_counters);
        }
        var begun = self.outside_begun.value.load(.seq_cst);
        for (self.shards) |*shard| begun += shard.spawns_begun.value.load(.seq_cst);
        assert(begun >= over);
        return begun - over;
    }

    fn refused(counters: *const stats.SpawnCounters) u64 {
        return counters.spawn_refused.value.load(.seq_cst) + counters.stealable_backpressure.value.load(.seq_cst);
    }

    /// A spawn counts itself before it looks whether the runtime closes, and before its task can end.
    pub fn countBegun(self: *Scheduler, from: ?*Shard) void {
        if (from) |shard| shard.spawns_begun.add(1) else self.outside_begun.addShared(1);
    }

    /// Never seen without the beginning of the same spawn (`liveTasks`).
    pub fn countRefused(self: *Scheduler, from: ?*Shard, comptime field: std.meta.FieldEnum(stats.SpawnCounters)) void {
        if (from) |shard|
            @field(shard.spawn_counters, @tagName(field)).addReleased(1)
        else
            @field(self.outside, @tagName(field)).addShared(1);
    }

    pub fn countSpawn(self: *Scheduler, from: ?*Shard, comptime field: std.meta.FieldEnum(stats.SpawnCounters)) void {
        self.countMany(from, field, 1);
    }

    pub fn countMany(
        self: *Scheduler,
        from: ?*Shard,
        comptime field: std.meta.FieldEnum(stats.SpawnCounters),
        count: usize,
    ) void {
        if (from) |shard|
            @field(shard.spawn_counters, @tagName(field)).add(count)
        else
            @field(self.outside, @tagName(field)).addShared(count);
    }
};
