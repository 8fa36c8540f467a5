//! An operation that gives connection after connection: one multishot accept of the kernel after the other.
//! A consumer that lags stops it, and it begins anew when all were taken. What is accepted and never
//! taken is closed. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const errors = @import("../base/errors.zig");
const fs = @import("fs.zig");
const gpa = @import("../base/memory.zig").gpa;
const net = @import("net.zig");
const FifoType = @import("../queue/fifo.zig").FifoType;
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Task = @import("../task/task.zig").Task;

/// Connections that wait for their consumer before the kernel is asked to stop.
const lag_max = 64;

pub const Incoming = struct {
    source: Source = .{ .cancel = cancel, .release = release, .ready = ready },
    fd: i32,
    /// The caller's operation, and the kernel's, while it is under way.
    op: *Op,
    inner: ?*Op = null,
    accepted: FifoType(i32) = .{},
    stopping: bool = false,

    pub fn start(shard: *Shard, task: *Task, fd: i32) error{OutOfMemory}!*Op {
        const self = try gpa.create(Incoming);
        errdefer gpa.destroy(self);
        self.* = .{ .fd = fd, .op = try shard.ops.take(task, shard) };
        self.op.source = &self.source;
        self.arm(shard);
        return self.op;
    }

    pub fn of(op: *const Op) ?*Incoming {
        const source = op.source orelse return null;
        return if (source.cancel == &cancel) @fieldParentPtr("source", source) else null;
    }

    /// The next connection. Null: there is none now, or none any more, if the operation has ended.
    pub fn next(self: *Incoming, shard: *Shard) ?i32 {
        const fd = self.accepted.pop() orelse return null;
        if (self.accepted.count() == 0 and self.inner == null and self.op.phase == .flying) self.arm(shard);
        return fd;
    }

    fn arm(self: *Incoming, shard: *Shard) void {
        assert(self.inner == null and !self.stopping);
        // It may end at once, and is gone then.
        const takers: net.Takers = .{ .each = arrived, .last = ended, .ctx = self };
        const inner = net.acceptMultishot(shard, self.op.task, self.fd, takers) catch
            return shard.endOp(self.op, errors.negative(.NOMEM), 0);
        if (inner.phase == .flying and inner.complete_ctx == @as(*anyopaque, self)) self.inner = inner;
    }

    fn keep(self: *Incoming, shard: *Shard, result: i32) void {
        if (result < 0) return;
        self.accepted.push(result) catch return fs.closeSoon(shard, result); // No memory to remember it by.
        Shard.wake(self.op.task);
    }

    fn arrived(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const self: *Incoming = @ptrCast(@alignCast(ctx.?));
        const shard = Shard.current().?;
        self.keep(shard, result);
        if (self.accepted.count() >= lag_max) shard.cancelOp(self.inner.?);
    }

    fn ended(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const self: *Incoming = @ptrCast(@alignCast(ctx.?));
        const shard = Shard.current().?;
        self.inner = null;
        self.keep(shard, result);
        if (self.stopping) return shard.endOp(self.op, errors.negative(.CANCELED), 0);
        if (result < 0 and !goesOn(result)) return shard.endOp(self.op, result, 0);
        if (self.accepted.count() < lag_max) self.arm(shard);
    }

    /// That one peer went away, or that it was stopped for its consumer's sake, is no end.
    fn goesOn(result: i32) bool {
        return switch (errors.ofResult(result)) {
            .CANCELED, .INTR, .CONNABORTED => true,
            else => false,
        };
    }

    fn cancel(source: *Source, op: *Op) void {
        const self: *Incoming = @fieldParentPtr("source", source);
        const shard = Shard.current().?;
        self.stopping = true;
        if (self.inner) |inner| return shard.cancelOp(inner);
        shard.endOp(op, errors.negative(.CANCELED), 0);
    }

    fn ready(source: *const Source) bool {
        const self: *const Incoming = @fieldParentPtr("source", source);
        return self.accepted.count() > 0;
    }

    fn release(source: *Source, _: *const Op, _: bool) void {
        const self: *Incoming = @fieldParentPtr("source", source);
        assert(self.inner == null);
        while (self.accepted.pop()) |fd| fs.closeSoon(Shard.current().?, fd);
        self.accepted.deinit();
        gpa.destroy(self);
    }
};
