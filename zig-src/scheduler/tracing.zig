//! A runtime's trace: a ring of events for each shard, and one that all other threads share. On while
//! somebody wants it; off, each place that would write looks at one pointer. The rings stay until the
//! runtime goes, because a shard may be about to write when it is turned off.

const std = @import("std");
const gpa = @import("../base/memory.zig").gpa;
const sync = @import("../base/sync.zig");
const ticks = @import("../base/ticks.zig");
const platform = @import("../base/platform.zig");
const trace_ring = @import("trace_ring.zig");
const Kind = trace_ring.Kind;
pub const Ring = trace_ring.Ring;
const Scheduler = @import("scheduler.zig").Scheduler;
const Shard = @import("shard.zig").Shard;
const Op = @import("../task/op.zig").Op;
const Task = @import("../task/task.zig").Task;
const Atomic = platform.Atomic;

/// Of a ring, in events: 1.5 MiB.
pub const capacity_default = 1 << 16;

/// What a shard, or the other threads, look at. // any thread
pub const Switch = struct {
    ring: Atomic(?*Ring) = .init(null),

    /// Monotonic: off, this is all there is.
    pub inline fn isOn(self: *const Switch) bool {
        return self.ring.load(.monotonic) != null;
    }

    pub inline fn on(self: *const Switch) ?*Ring {
        // Acquire: pairs with the release in `start`: the ring is complete.
        return if (self.isOn()) self.ring.load(.acquire) else null;
    }

    /// By the thread whose ring it is.
    pub inline fn note(self: *const Switch, kind: Kind, arg: u8, task: ?*const Task, value: u64) void {
        if (self.isOn()) self.write(kind, arg, task, value);
    }

    /// The beginning or the end of an operation.
    pub inline fn noteOp(self: *const Switch, kind: Kind, opcode: u8, op: *const Op, number: i32) void {
        if (self.isOn()) self.writeOp(kind, opcode, op, number);
    }

    // Functions of their own, so that where nothing is written the code around pays for no more than the look.

    noinline fn write(self: *const Switch, kind: Kind, arg: u8, task: ?*const Task, value: u64) void {
        @branchHint(.cold);
        if (self.on()) |ring| ring.write(kind, arg, task, value);
    }

    noinline fn writeOp(self: *const Switch, kind: Kind, opcode: u8, op: *const Op, number: i32) void {
        @branchHint(.cold);
        if (self.on()) |ring| ring.write(kind, opcode, op.task, trace_ring.operation(op.id(), number));
    }
};

pub const Tracing = struct {
    /// Held while it is turned on or off, and by the reader.
    lock: sync.Lock = .{},
    users: u32 = 0,
    /// One per shard, and the last one for other threads. Those before were too small.
    sets: std.ArrayList([]Ring) = .empty,
    began: ticks.Pair = undefined,
    outside: Switch = .{},
    /// Of the ring of the other threads: who writes.
    outside_lock: sync.Lock = .{},

    /// Counts its callers: each one stops once. `events` is the capacity of each ring, rounded up to a power
    /// of two; 0: the default. Rings that are in use stay as large as they are. Any thread. Returns the stamp
    /// from which this caller's events are.
    pub fn start(self: *Tracing, scheduler: *Scheduler, events: u32) error{ OutOfMemory, Invalid }!u64 {
        const wanted: usize = if (events == 0) capacity_default else events;
        if (wanted < trace_ring.capacity_min or wanted > trace_ring.capacity_max) return error.Invalid;
        const capacity = std.math.ceilPowerOfTwoAssert(usize, wanted);
        self.lock.lock();
        defer self.lock.unlock();
        if (self.users == 0) {
            ticks.prepare();
            self.began = .take();
            const set = try self.ringsOf(scheduler.shards.len + 1, capacity);
            for (set) |*ring| ring.base.store(ring.head.load(.acquire), .monotonic);
            // Release: pairs with the acquire in `Switch.on`.
            for (scheduler.shards, set[0..scheduler.shards.len]) |*shard, *ring|
                shard.trace.ring.store(ring, .release);
            self.outside.ring.store(&set[scheduler.shards.len], .release);
        }
        self.users += 1;
        return ticks.now();
    }

    fn ringsOf(self: *Tracing, count: usize, capacity: usize) error{OutOfMemory}![]Ring {
        const before = self.sets.getLastOrNull();
        if (before) |last| if (last[0].slots.len >= capacity) return last;
        const set = try gpa.alloc(Ring, count);
        errdefer gpa.free(set);
        var made: usize = 0;
        errdefer for (set[0..made]) |*ring| ring.deinit();
        for (set, 0..) |*ring, n| {
            ring.* = try .init(capacity, if (before) |last| last[n].head.load(.acquire) else 0);
            made += 1;
        }
        try self.sets.append(gpa, set);
        return set;
    }

    /// False without a start.
    pub fn stop(self: *Tracing, scheduler: *Scheduler) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (self.users == 0) return false;
        self.users -= 1;
        if (self.users > 0) return true;
        for (scheduler.shards) |*shard| shard.trace.ring.store(null, .monotonic);
        self.outside.ring.store(null, .monotonic);
        return true;
    }

    /// Under the lock: the rings of the last tracing, or none.
    pub fn rings(self: *const Tracing) []Ring {
        return self.sets.getLastOrNull() orelse &.{};
    }

    /// After the shards have ended.
    pub fn deinit(self: *Tracing) void {
        for (self.sets.items) |set| {
            for (set) |*ring| ring.deinit();
            gpa.free(set);
        }
        self.sets.deinit(gpa);
    }
};

/// Any thread, after it saw that the trace is on: into the ring of its shard, or of all others.
pub noinline fn record(scheduler: *Scheduler, kind: Kind, arg: u8, task: ?*const Task, value: u64) void {
    @branchHint(.cold);
    if (scheduler.forked()) return;
    if (Shard.currentOf(scheduler)) |shard| return shard.trace.note(kind, arg, task, value);
    const tracing = &scheduler.tracing;
    const ring = tracing.outside.on() orelse return;
    tracing.outside_lock.lock();
    defer tracing.outside_lock.unlock();
    ring.write(kind, arg, task, value);
}

/// On the shard's thread, in the poll's run of the interpreter. The name comes with the first poll, with the
/// first one that a tracing sees, and again before it is overwritten.
pub fn recordBegin(shard: *Shard, ring: *Ring, task: *Task, first: bool) void {
    ring.write(if (first) .first_poll else .poll, 0, task, 0);
    if (!task.vtable.interpreted or (!first and ring.isRecent(task.named_at))) return;
    task.named_at = ring.position();
    var text: [trace_ring.pieces_max * trace_ring.piece_bytes]u8 = undefined;
    ring.writeName(shard.scheduler.interpreter.?.name(task, &text));
}
