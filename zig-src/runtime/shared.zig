//! What tasks of C share and wait for: semaphores, channels, groups. Each is an exchange with a count of
//! those that need its memory; an operation waits in it, and ends when it was served. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const tsan = @import("../base/tsan.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const DropFn = @import("native_task.zig").DropFn;
const ExchangeType = @import("../task/exchange.zig").ExchangeType;
const HandleTableType = @import("../base/handle_table.zig").HandleTableType;
const LinkType = @import("../queue/chain.zig").LinkType;
const Op = @import("../task/op.zig").Op;
const Posted = @import("../scheduler/posted.zig").Posted;
const Shard = @import("../scheduler/shard.zig").Shard;
const Side = @import("../task/exchange.zig").Side;
const Source = @import("../task/source.zig").Source;
const Task = @import("../task/task.zig").Task;

/// A value of a channel, or what a waiter gets in its place.
pub const Item = struct {
    kind: enum { value, done, closed, nothing } = .value,
    pointer: ?*anyopaque = null,
};

const Values = struct {
    pub const Value = Item;

    pub fn done() Item {
        return .{ .kind = .done };
    }

    pub fn closed() Item {
        return .{ .kind = .closed };
    }

    pub fn nothing() Item {
        return .{ .kind = .nothing };
    }

    pub fn isNothing(value: Item) bool {
        return value.kind == .nothing;
    }

    /// The program's memory: nothing is counted.
    pub fn ref(value: Item) Item {
        return value;
    }

    pub fn drop(slot: *?Item) void {
        slot.* = null;
    }
};

pub const Exchange = ExchangeType(Waiter, Values);

pub const Kind = enum { semaphore, channel, group };

pub const Shared = struct {
    exchange: Exchange,
    kind: Kind,
    refs: Atomic(u32) = .init(1),
    /// Of a channel: for each value that nobody will have.
    drop_fn: ?DropFn = null,
    /// Frees it.
    destroy: *const fn (*Shared) void = destroyPlain,

    pub fn init(kind: Kind, most: u64) Shared {
        return .{ .kind = kind, .exchange = .{
            .lock = .{},
            .count = 0,
            .most = most,
            .ring = &.{},
            .head = 0,
            .published = 0,
            .has_values = kind == .channel,
            .closed = false,
            .broken = false,
            .takers = .{},
            .putters = .{},
        } };
    }

    pub fn retain(self: *Shared) void {
        _ = self.refs.fetchAdd(1, .monotonic);
    }

    pub fn drop(self: *Shared) void {
        // Acquire-release: the last one sees all that the others wrote.
        tsan.release(self);
        if (self.refs.fetchSub(1, .acq_rel) != 1) return;
        tsan.acquire(self);
        self.destroy(self);
    }

    fn destroyPlain(self: *Shared) void {
        gpa.free(self.exchange.ring);
        gpa.destroy(self);
    }

    /// The handle is gone: waiters end, and what nobody will have is dropped.
    pub fn handleClosed(self: *Shared) void {
        const left = self.exchange.breakOff();
        for (0..left.count) |i| self.dropValue(left.ring[(left.head + i) % left.ring.len]);
        gpa.free(left.ring);
        self.drop();
    }

    fn dropValue(self: *Shared, item: Item) void {
        if (self.drop_fn) |function| function(item.pointer);
    }
};

pub var table: HandleTableType(Shared) = .{};

/// The one of that handle, pinned.
pub fn pin(handle: u64, kind: Kind) ?*Shared {
    const shared = table.pin(handle) orelse return null;
    if (shared.kind == kind) return shared;
    table.unpin(handle);
    return null;
}

/// An operation that waits in an exchange.
pub const Waiter = struct {
    link: LinkType(Waiter) = .{},
    left_before: ?*Waiter = null,
    item: ?Item = null,
    weight: u64 = 0,

    /// The operation's, and one of the exchange's while it is in there.
    refs: Atomic(u32) = .init(1),
    wait: Wait,
    shared: *Shared,
    posted: Posted,
    source: Source = .{ .cancel = cancel, .release = gone },
    /// What it was given.
    value: Item = .{ .kind = .nothing },

    pub const Wait = union(enum) {
        units: u64,
        put: ?*anyopaque,
        /// Where the value goes when the result is taken.
        take: *?*anyopaque,
        wake,
    };

    /// An operation of the current task, not served yet.
    pub fn start(shard: *Shard, task: *Task, shared: *Shared, wait: Wait) error{OutOfMemory}!*Waiter {
        tsan.release(shared);
        const self = try gpa.create(Waiter);
        errdefer gpa.destroy(self);
        const op = try shard.ops.take(task, shard);
        shared.retain();
        self.* = .{ .wait = wait, .shared = shared, .posted = .{ .op = op } };
        op.source = &self.source;
        return self;
    }

    /// On the shard: it was served before it had to wait.
    pub fn serveNow(self: *Waiter, value: Item) void {
        self.value = value;
        Shard.current().?.endOp(self.posted.op, resultOf(value), 0);
    }

    /// On the shard: it never got into the exchange.
    pub fn fail(self: *Waiter, errno: std.os.linux.E) void {
        Shard.current().?.endOp(self.posted.op, errors.negative(errno), 0);
    }

    fn resultOf(value: Item) i32 {
        return if (value.kind == .closed) errors.negative(.PIPE) else 0;
    }

    pub fn settle(self: *Waiter, value: Item) void {
        self.value = value;
        tsan.release(self);
        self.posted.post(resultOf(value));
    }

    pub fn retained(self: *Waiter) *Waiter {
        _ = self.refs.fetchAdd(1, .monotonic);
        return self;
    }

    pub fn release(self: *Waiter) void {
        // Acquire-release: the last one sees all that the others wrote.
        tsan.release(self);
        if (self.refs.fetchSub(1, .acq_rel) != 1) return;
        tsan.acquire(self);
        gpa.destroy(self);
    }

    fn cancel(source: *Source, op: *Op) void {
        const self: *Waiter = @fieldParentPtr("source", source);
        const side: Side = if (self.wait == .put) .putters else .takers;
        // If it is in no queue it was served, and that is on its way.
        if (self.shared.exchange.leave(self, side)) Shard.current().?.endOp(op, errors.negative(.CANCELED), 0);
    }

    /// What it was given and nobody takes goes back.
    fn gone(source: *Source, op: *const Op, taken: bool) void {
        const self: *Waiter = @fieldParentPtr("source", source);
        tsan.acquire(self);
        tsan.acquire(self.shared);
        if (op.result == 0) switch (self.wait) {
            // With all permits there already, there is nothing to give back.
            .units => |weight| if (!taken) {
                _ = self.shared.exchange.putUnits(weight);
            },
            .take => |out| if (taken) {
                out.* = self.value.pointer;
            } else self.giveBack(),
            .put, .wake => {},
        };
        self.shared.drop();
        self.release();
    }

    fn giveBack(self: *Waiter) void {
        const kept = self.shared.exchange.putBack(self.value) catch false;
        if (!kept) self.shared.dropValue(self.value);
    }
};
