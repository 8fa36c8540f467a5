//! The C ABI of operations that give one thing after another: connections, and what comes on one. In a poll
//! function only.

const errors = @import("../base/errors.zig");
const fail = @import("common.zig").fail;
const findOp = @import("common.zig").findOp;
const Incoming = @import("../ops/incoming.zig").Incoming;
const launch = @import("common.zig").launch;
const Op = @import("../task/op.zig").Op;
const Segments = @import("../ops/segments.zig").Segments;
const Shard = @import("../scheduler/shard.zig").Shard;

pub export fn spargio_accept_multishot(fd: i32, op: ?*u64) i32 {
    return launch(op, Incoming.start, .{fd});
}

pub export fn spargio_accept_next(handle: u64, descriptor: ?*i32) i32 {
    const out = descriptor orelse return fail(error.Invalid);
    const op = findOp(handle) catch |err| return fail(err);
    const incoming = Incoming.of(op) orelse return fail(error.Invalid);
    out.* = incoming.next(Shard.current().?) orelse return over(op, out);
    return errors.ready;
}

pub export fn spargio_recv_multishot(fd: i32, op: ?*u64) i32 {
    return launch(op, Segments.start, .{fd});
}

pub export fn spargio_recv_next(handle: u64, data: ?*?[*]const u8, result: ?*i32) i32 {
    const start = data orelse return fail(error.Invalid);
    const out = result orelse return fail(error.Invalid);
    const op = findOp(handle) catch |err| return fail(err);
    const segments = Segments.of(op) orelse return fail(error.Invalid);
    start.* = null;
    const piece = segments.next(Shard.current().?) orelse return over(op, out);
    start.* = piece.ptr;
    out.* = @intCast(piece.len);
    return errors.ready;
}

/// There is nothing now, or the end is the last thing to take.
fn over(op: *Op, out: *i32) i32 {
    if (op.phase == .flying) return errors.pending;
    out.* = Shard.current().?.ops.consume(op);
    return errors.ready;
}
