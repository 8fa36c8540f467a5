//! The C ABI of operations that spargio does not wrap: the caller fills the SQE. Any thread may
//! check an SQE; only poll functions may submit one.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const user_sqe = @import("../ops/user_sqe.zig");
const CompleteFn = @import("../task/op.zig").CompleteFn;
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const Shard = @import("../scheduler/shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const writeMessage = @import("common.zig").writeMessage;

pub export fn spargio_sqe_check(given: ?*const anyopaque, message: ?[*]u8, capacity: usize) i32 {
    const sqe = readSqe(given orelse {
        writeMessage("sqe must point to a struct io_uring_sqe, got NULL", message, capacity);
        return fail(error.Invalid);
    });
    var text: [256]u8 = undefined;
    const said = user_sqe.refusal(&sqe, &text) orelse return errors.ok;
    writeMessage(said, message, capacity);
    return fail(error.Invalid);
}

pub export fn spargio_submit_sqe(
    given: ?*const anyopaque,
    complete: ?CompleteFn,
    ctx: ?*anyopaque,
    out: ?*u64,
) i32 {
    const sqe = readSqe(given orelse return fail(error.Invalid));
    if (complete == null and out == null) return fail(error.Invalid); // Nobody would get the result.
    var text: [256]u8 = undefined;
    if (user_sqe.refusal(&sqe, &text) != null) return fail(error.Invalid);
    const task = currentTask() orelse return fail(error.NotOnShard);
    if (!user_sqe.supported(Shard.current().?, &sqe)) return fail(error.Unsupported);
    const op = user_sqe.submit(Shard.current().?, task, &sqe) catch |err| return fail(err);
    const id = op.id();
    if (complete != null and op.phase == .ended) { // It never began.
        const result = Shard.current().?.ops.consume(op);
        if (result == errors.negative(.NOMEM)) return fail(error.OutOfMemory);
        return errors.fromErrno(-result);
    }
    op.complete = complete;
    op.complete_ctx = ctx;
    if (out) |handle| handle.* = id;
    return errors.ok;
}

/// Copied: the caller's need not be aligned, or stay.
fn readSqe(given: *const anyopaque) Sqe {
    var sqe: Sqe = undefined;
    const bytes: [*]const u8 = @ptrCast(given);
    @memcpy(std.mem.asBytes(&sqe), bytes[0..@sizeOf(Sqe)]);
    return sqe;
}
