//! An operation that waits until a descriptor is readable and then asks something of its owner that does
//! not wait: a signal that came, a child that ended. It waits again if that was somebody else's. One
//! IORING_OP_POLL_ADD after the other (5.1). On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;

pub const Asked = struct {
    fd: i32,
    /// The result; null: wait again.
    ask: *const fn (ctx: ?*anyopaque, fd: i32) ?i32,
    /// Once, when the operation is gone. A result that nobody took goes to `untaken`.
    release: ?*const fn (ctx: ?*anyopaque) void = null,
    untaken: ?*const fn (ctx: ?*anyopaque, result: i32) void = null,
    ctx: ?*anyopaque = null,
};

const Readiness = struct {
    source: Source = .{ .cancel = cancel, .release = release },
    asked: Asked,
    /// The caller's operation, and the kernel's, while it is under way.
    op: *Op,
    inner: ?*Op = null,
    stopping: bool = false,

    fn arm(self: *Readiness, shard: *Shard) void {
        assert(self.inner == null and !self.stopping);
        const inner = shard.ops.take(self.op.task, shard) catch
            return shard.endOp(self.op, errors.negative(.NOMEM), 0);
        self.inner = inner;
        inner.complete = ended;
        inner.complete_ctx = self;
        var sqe: Sqe = undefined;
        sqe.prep_poll_add(self.asked.fd, linux.POLL.IN);
        shard.launch(inner, sqe);
    }

    fn ended(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const self: *Readiness = @ptrCast(@alignCast(ctx.?));
        const shard = Shard.current().?;
        self.inner = null;
        if (self.stopping) return shard.endOp(self.op, errors.negative(.CANCELED), 0);
        if (result < 0) return shard.endOp(self.op, result, 0);
        if (self.asked.ask(self.asked.ctx, self.asked.fd)) |found| return shard.endOp(self.op, found, 0);
        self.arm(shard);
    }

    fn cancel(source: *Source, op: *Op) void {
        const self: *Readiness = @fieldParentPtr("source", source);
        const shard = Shard.current().?;
        self.stopping = true;
        if (self.inner) |inner| return shard.cancelOp(inner);
        shard.endOp(op, errors.negative(.CANCELED), 0);
    }

    fn release(source: *Source, op: *const Op, taken: bool) void {
        const self: *Readiness = @fieldParentPtr("source", source);
        assert(self.inner == null);
        if (!taken and op.result >= 0) if (self.asked.untaken) |untaken| untaken(self.asked.ctx, op.result);
        if (self.asked.release) |function| function(self.asked.ctx);
        gpa.destroy(self);
    }
};

/// `asked.release` is called only if this succeeds.
pub fn start(shard: *Shard, task: *Task, asked: Asked) error{OutOfMemory}!*Op {
    const self = try gpa.create(Readiness);
    errdefer gpa.destroy(self);
    const op = try shard.ops.take(task, shard);
    self.* = .{ .asked = asked, .op = op };
    op.source = &self.source;
    if (asked.ask(asked.ctx, asked.fd)) |found| shard.endOp(op, found, 0) else self.arm(shard);
    return op;
}
