//! The C ABI of files: operations on descriptors, and memory that is registered for them. Only poll
//! functions may call these.

const std = @import("std");
const errors = @import("../base/errors.zig");
const registered_buffers = @import("../ring/registered_buffers.zig");
const fs = @import("../ops/fs.zig");
const limits = @import("../base/limits.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const launch = @import("common.zig").launch;
const offset_max = @import("common.zig").offset_max;
const Shard = @import("../scheduler/shard.zig").Shard;
const sliceOf = @import("common.zig").sliceOf;

/// For splice: the descriptor's own position, or a pipe.
const own_position = std.math.maxInt(u64);

pub export fn spargio_open(path: ?[*:0]const u8, flags: i32, mode: u32, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, fs.open, .{ std.mem.span(name), flags, mode });
}

pub export fn spargio_read_at(fd: i32, buffer: ?[*]u8, length: u32, offset: u64, op: ?*u64) i32 {
    const room = sliceOf([]u8, buffer, length) orelse return fail(error.Invalid);
    if (offset > offset_max) return fail(error.Invalid);
    return launch(op, fs.readAt, .{ fd, room, offset });
}

pub export fn spargio_write_at(fd: i32, buffer: ?[*]const u8, length: u32, offset: u64, op: ?*u64) i32 {
    const data = sliceOf([]const u8, buffer, length) orelse return fail(error.Invalid);
    if (offset > offset_max) return fail(error.Invalid);
    return launch(op, fs.writeAt, .{ fd, data, offset });
}

pub export fn spargio_readv_at(fd: i32, vectors: ?[*]const std.posix.iovec, count: u32, offset: u64, op: ?*u64) i32 {
    const list = vectors orelse return fail(error.Invalid);
    if (count == 0 or count > limits.vectors_max or offset > offset_max) return fail(error.Invalid);
    return launch(op, fs.readvAt, .{ fd, list[0..count], offset });
}

pub export fn spargio_writev_at(
    fd: i32,
    vectors: ?[*]const std.posix.iovec_const,
    count: u32,
    offset: u64,
    op: ?*u64,
) i32 {
    const list = vectors orelse return fail(error.Invalid);
    if (count == 0 or count > limits.vectors_max or offset > offset_max) return fail(error.Invalid);
    return launch(op, fs.writevAt, .{ fd, list[0..count], offset });
}

pub export fn spargio_fsync(fd: i32, data_only: i32, op: ?*u64) i32 {
    return launch(op, fs.fsync, .{ fd, data_only != 0 });
}

pub export fn spargio_truncate(fd: i32, length: u64, op: ?*u64) i32 {
    if (length > offset_max) return fail(error.Invalid);
    return launch(op, fs.truncate, .{ fd, length });
}

pub export fn spargio_allocate(fd: i32, mode: i32, offset: u64, length: u64, op: ?*u64) i32 {
    if (mode < 0 or offset > offset_max or length > offset_max) return fail(error.Invalid);
    return launch(op, fs.allocate, .{ fd, mode, offset, length });
}

pub export fn spargio_splice(
    from: i32,
    from_offset: u64,
    to: i32,
    to_offset: u64,
    length: u32,
    flags: u32,
    op: ?*u64,
) i32 {
    for ([_]u64{ from_offset, to_offset }) |offset|
        if (offset > offset_max and offset != own_position) return fail(error.Invalid);
    const source: fs.End = .{ .fd = from, .offset = from_offset };
    return launch(op, fs.splice, .{ source, fs.End{ .fd = to, .offset = to_offset }, length, flags });
}

pub export fn spargio_close(fd: i32, op: ?*u64) i32 {
    return launch(op, fs.close, .{fd});
}

pub export fn spargio_buffer_register(memory: ?[*]u8, length: usize, index: ?*u32) i32 {
    const out = index orelse return fail(error.Invalid);
    const start = memory orelse return fail(error.Invalid);
    if (length == 0 or length > 1 << 30) return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    const shard = Shard.current().?;
    const slot = shard.fixed.register(shard.ring.registrable(), start[0..length]);
    if (slot < 0) return errors.fromErrno(-slot);
    out.* = @intCast(slot);
    return errors.ok;
}

pub export fn spargio_buffer_unregister(index: u32) i32 {
    if (currentTask() == null) return fail(error.NotOnShard);
    if (index >= registered_buffers.slots) return fail(error.Invalid);
    const shard = Shard.current().?;
    shard.unregister(index);
    return errors.ok;
}
