//! What tests of whole runtimes have in common: a runtime by the C interface, tasks on it, their ends, and a
//! completion that the kernel posts on a shard's ring as if it were an operation's.

const std = @import("std");
const linux = std.os.linux;
const c_runtime = @import("../c/runtime.zig");
const c_task = @import("../c/task.zig");
const errors = @import("../base/errors.zig");
const runtime_handle = @import("../runtime/runtime_handle.zig");
const Kind = @import("../task/task.zig").Kind;
const Options = @import("../base/options.zig").Options;
const Runtime = @import("../runtime/runtime.zig").Runtime;
const Shard = @import("../scheduler/shard.zig").Shard;
const testing = std.testing;

/// A test that takes longer has hung.
pub const limit_ns = 120 * std.time.ns_per_s;

pub const Poll = *const fn (?*anyopaque, *i64) callconv(.c) i32;

/// One runtime, pinned: its counters can be looked at after its end.
pub const Whole = struct {
    handle: u64,
    runtime: *Runtime,

    pub fn start(options: *const Options) !Whole {
        var handle: u64 = 0;
        try testing.expectEqual(errors.ok, c_runtime.spargio_runtime_start(options, &handle));
        return .{ .handle = handle, .runtime = runtime_handle.pinRuntime(handle).? };
    }

    pub fn shard(self: *const Whole, number: usize) *Shard {
        return &self.runtime.scheduler.shards[number];
    }

    /// On that shard. The key of a join, for `joined`.
    pub fn spawn(self: *const Whole, number: u64, poll: Poll, ctx: ?*anyopaque) !u64 {
        return spawnOn(self.handle, .pinned, number, poll, ctx);
    }

    pub fn shutdown(self: *const Whole) !void {
        try shutdownOf(self.handle);
    }

    pub fn forget(self: *const Whole) void {
        runtime_handle.runtimes.unpin(self.handle);
    }

    /// The kernel posts it on the ring of a shard, where the end of an operation would come.
    pub fn post(self: *const Whole, number: usize, errno: linux.E, user_data: u64) !void {
        var sqe = std.mem.zeroes(linux.io_uring_sqe);
        sqe.opcode = .MSG_RING;
        sqe.fd = self.shard(number).ring.fd();
        sqe.len = @bitCast(errors.negative(errno));
        sqe.off = user_data;
        const rc = linux.io_uring_register(-1, .REGISTER_SEND_MSG_RING, &sqe, 1);
        try testing.expectEqual(linux.E.SUCCESS, linux.errno(rc));
    }
};

pub fn spawnOn(handle: u64, kind: Kind, value: u64, poll: Poll, ctx: ?*anyopaque) !u64 {
    var join: u64 = 0;
    const placement: c_task.PlacementC = .{ .kind = @backingInt(kind), .value = value };
    try testing.expectEqual(errors.ok, c_task.spargio_spawn(handle, &placement, poll, ctx, &join));
    return join;
}

/// Waits for the end of a task; its result.
pub fn joined(join: u64) !i64 {
    var result: i64 = 0;
    try testing.expectEqual(errors.ok, c_task.spargio_join_wait(join, limit_ns, &result));
    try testing.expectEqual(errors.ok, c_task.spargio_join_release(join));
    return result;
}

pub fn shutdownOf(handle: u64) !void {
    try testing.expectEqual(errors.ok, c_runtime.spargio_runtime_shutdown(handle, limit_ns));
}
