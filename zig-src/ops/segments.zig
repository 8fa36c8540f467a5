//! An operation that gives what comes on a socket, piece by piece, in buffers that the kernel picks when
//! there is something: one multishot receive after the other (6.0), or single ones. A connection that
//! waits holds no memory. One piece is in the consumer's hands at a time; a consumer that lags stops the
//! operation, and it begins anew when all pieces were taken. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const net = @import("net.zig");
const provided_buffers = @import("../ring/provided_buffers.zig");
const FifoType = @import("../queue/fifo.zig").FifoType;
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Task = @import("../task/task.zig").Task;

/// Pieces that wait for their consumer before the kernel is asked to stop.
const lag_max = 16;

/// What came, in a buffer of the shard's, or in memory of its own if all of those are in hands.
const Piece = struct { memory: union(enum) { picked: u16, own: []u8 }, size: u32 };

pub const Segments = struct {
    source: Source = .{ .cancel = cancel, .release = release, .ready = ready },
    fd: i32,
    /// The caller's operation, and the kernel's, while it is under way.
    op: *Op,
    inner: ?*Op = null,
    pieces: FifoType(Piece) = .{},
    in_hands: ?Piece = null,
    /// The memory of the receive that is under way, if that brings some.
    own: ?[]u8 = null,
    exhausted: bool = false,
    /// There was no memory to remember a piece by.
    lost: bool = false,
    stopping: bool = false,

    pub fn start(shard: *Shard, task: *Task, fd: i32) error{OutOfMemory}!*Op {
        const self = try gpa.create(Segments);
        errdefer gpa.destroy(self);
        self.* = .{ .fd = fd, .op = try shard.ops.take(task, shard) };
        self.op.source = &self.source;
        self.arm(shard);
        return self.op;
    }

    pub fn of(op: *const Op) ?*Segments {
        const source = op.source orelse return null;
        return if (source.cancel == &cancel) @fieldParentPtr("source", source) else null;
    }

    /// The next piece; that before is given back. Null: there is none now, or none any more, if the operation
    /// has ended.
    pub fn next(self: *Segments, shard: *Shard) ?[]const u8 {
        self.giveBack(shard, &self.in_hands);
        self.in_hands = self.pieces.pop();
        const idle = self.inner == null and self.op.phase == .flying;
        if (idle and self.pieces.count() == 0) self.arm(shard);
        const piece = self.in_hands orelse return null;
        return switch (piece.memory) {
            .picked => |id| shard.buffers.ready.all(id)[0..piece.size],
            .own => |bytes| bytes[0..piece.size],
        };
    }

    fn giveBack(_: *Segments, shard: *Shard, slot: *?Piece) void {
        const piece = slot.* orelse return;
        slot.* = null;
        switch (piece.memory) {
            .picked => |id| shard.buffers.ready.giveBack(id),
            .own => |bytes| gpa.free(bytes),
        }
    }

    fn arm(self: *Segments, shard: *Shard) void {
        assert(self.inner == null and !self.stopping and self.own == null);
        // It may end at once, and is gone then.
        const inner = self.launch(shard) catch return shard.endOp(self.op, errors.negative(.NOMEM), 0);
        if (inner.phase == .flying and inner.complete_ctx == @as(*anyopaque, self)) self.inner = inner;
    }

    fn launch(self: *Segments, shard: *Shard) error{OutOfMemory}!*Op {
        const task = self.op.task;
        const once: net.Takers = .{ .each = null, .last = ended, .ctx = self };
        if (!self.exhausted and shard.providedBuffers() != null) {
            if (!shard.scheduler.info.can().recv_multishot) return net.recvOnce(shard, task, self.fd, null, once);
            return net.recvMultishot(shard, task, self.fd, .{ .each = arrived, .last = ended, .ctx = self });
        }
        self.exhausted = false;
        self.own = try gpa.alloc(u8, provided_buffers.size);
        errdefer {
            gpa.free(self.own.?);
            self.own = null;
        }
        return net.recvOnce(shard, task, self.fd, self.own, once);
    }

    fn keep(self: *Segments, shard: *Shard, result: i32, cqe_flags: u32) void {
        const memory = self.own;
        self.own = null;
        var piece: ?Piece = if (provided_buffers.idOf(cqe_flags)) |id|
            .{ .memory = .{ .picked = id }, .size = @intCast(@max(0, result)) }
        else if (memory) |bytes|
            .{ .memory = .{ .own = bytes }, .size = @intCast(@max(0, result)) }
        else
            return;
        if (result <= 0) return self.giveBack(shard, &piece);
        self.pieces.push(piece.?) catch {
            // Bytes that came and cannot be kept: the stream must not go on without them.
            self.giveBack(shard, &piece);
            self.lost = true;
            return;
        };
        Shard.wake(self.op.task);
    }

    fn arrived(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
        const self: *Segments = @ptrCast(@alignCast(ctx.?));
        const shard = Shard.current().?;
        self.keep(shard, result, cqe_flags);
        if (self.pieces.count() >= lag_max or self.lost) shard.cancelOp(self.inner.?);
    }

    fn ended(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
        const self: *Segments = @ptrCast(@alignCast(ctx.?));
        const shard = Shard.current().?;
        self.inner = null;
        self.keep(shard, result, cqe_flags);
        if (self.lost) return shard.endOp(self.op, errors.negative(.NOMEM), 0);
        if (self.stopping) return shard.endOp(self.op, errors.negative(.CANCELED), 0);
        if (result == errors.negative(.NOBUFS)) self.exhausted = true;
        if (result <= 0 and !goesOn(result)) return shard.endOp(self.op, result, 0);
        if (self.pieces.count() == 0) self.arm(shard);
    }

    /// That it was stopped for its consumer's sake, or for want of buffers, is no end.
    fn goesOn(result: i32) bool {
        if (result == 0) return false;
        return switch (errors.ofResult(result)) {
            .CANCELED, .INTR, .NOBUFS => true,
            else => false,
        };
    }

    fn cancel(source: *Source, op: *Op) void {
        const self: *Segments = @fieldParentPtr("source", source);
        const shard = Shard.current().?;
        self.stopping = true;
        if (self.inner) |inner| return shard.cancelOp(inner);
        shard.endOp(op, errors.negative(.CANCELED), 0);
    }

    fn ready(source: *const Source) bool {
        const self: *const Segments = @fieldParentPtr("source", source);
        return self.pieces.count() > 0;
    }

    fn release(source: *Source, _: *const Op, _: bool) void {
        const self: *Segments = @fieldParentPtr("source", source);
        const shard = Shard.current().?;
        assert(self.inner == null and self.own == null);
        self.giveBack(shard, &self.in_hands);
        while (self.pieces.pop()) |piece| {
            var left: ?Piece = piece;
            self.giveBack(shard, &left);
        }
        self.pieces.deinit();
        gpa.destroy(self);
    }
};
