//! The C ABI of what all operations have in common: their result, their end before its time, who is told
//! of it. In a poll function only.

const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const fs = @import("../ops/fs.zig");
const timer = @import("../ops/timer.zig");
const CompleteFn = @import("../task/op.zig").CompleteFn;
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const findOp = @import("common.zig").findOp;
const launch = @import("common.zig").launch;
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;

pub export fn spargio_op_poll(handle: u64, result: ?*i32) i32 {
    const out = result orelse return fail(error.Invalid);
    const op = findOp(handle) catch |err| return fail(err);
    if (op.phase == .flying) return errors.pending;
    out.* = Shard.current().?.ops.consume(op);
    return errors.ready;
}

pub export fn spargio_op_cancel(handle: u64) i32 {
    const op = findOp(handle) catch |err| return fail(err);
    Shard.current().?.cancelOp(op);
    return errors.ok;
}

pub export fn spargio_op_timeout(handle: u64, timeout_ns: u64) i32 {
    const op = findOp(handle) catch |err| return fail(err);
    if (op.is_timer or op.shielded) return fail(error.Invalid);
    if (op.phase != .flying or op.cancel_sent) return errors.ok; // Its end is here, or on its way.
    Shard.current().?.limitOp(op, clock.deadlineNs(timeout_ns)) catch |err| return fail(err);
    return errors.ok;
}

pub export fn spargio_op_on_complete(handle: u64, complete: ?CompleteFn, ctx: ?*anyopaque) i32 {
    const function = complete orelse return fail(error.Invalid);
    const op = findOp(handle) catch |err| return fail(err);
    if (op.complete != null) return fail(error.Invalid);
    if (op.phase == .ended) {
        callNow(op, function, ctx);
        return errors.ok;
    }
    op.complete = function;
    op.complete_ctx = ctx;
    return errors.ok;
}

/// It has ended by now. As ever the function runs outside any task.
fn callNow(op: *Op, function: CompleteFn, ctx: ?*anyopaque) void {
    const shard = Shard.current().?;
    const task = shard.current_task;
    const flags = op.cqe_flags;
    const result = shard.ops.consume(op);
    shard.current_task = null;
    defer shard.current_task = task;
    function(ctx, result, flags);
}

pub export fn spargio_wait_any(handles: ?[*]const u64, count: u32, index: ?*u32) i32 {
    const out = index orelse return fail(error.Invalid);
    const list = (handles orelse return fail(error.Invalid))[0..count];
    if (currentTask() == null) return fail(error.NotOnShard);
    var known = false;
    for (list, 0..) |handle, i| {
        if (handle == 0) continue;
        known = true;
        const op = findOp(handle) catch |err| {
            out.* = @intCast(i);
            return fail(err);
        };
        if (!op.isReady()) continue;
        out.* = @intCast(i);
        return errors.ready;
    }
    return if (known) errors.pending else fail(error.Invalid);
}

pub export fn spargio_nop(op: ?*u64) i32 {
    return launch(op, fs.nop, .{});
}

pub export fn spargio_sleep(duration_ns: u64, op: ?*u64) i32 {
    return launch(op, timer.sleep, .{duration_ns});
}
