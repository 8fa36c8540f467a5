//! What the files of the C front end share: the caller's task, the start of an operation, sizes,
//! sentences. Runs on the shard of the calling task, except `fail` and `writeMessage`.

const std = @import("std");
const builtin = @import("builtin");
const errors = @import("../base/errors.zig");
const Op = @import("../task/op.zig").Op;
const NativeTask = @import("../runtime/native_task.zig").NativeTask;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

pub fn fail(err: errors.Error) i32 {
    return errors.fromError(err);
}

/// The native task that this thread polls.
pub fn currentTask() ?*Task {
    const shard = Shard.current() orelse return null;
    const task = shard.current_task orelse return null;
    return if (NativeTask.isNative(task)) task else null;
}

/// What a function was up to a release, for programs that were linked then: "NAME@NODE".
pub fn exportVersion(comptime function: anytype, comptime name: []const u8) void {
    const shared = builtin.output_mode == .Lib and builtin.link_mode == .dynamic;
    // Zig's own linker writes no versions.
    if (shared and builtin.zig_backend == .stage2_llvm) @export(function, .{ .name = name });
}

/// An op of the current task; another's handle is as good as stale.
pub fn findOp(handle: u64) errors.Error!*Op {
    const task = currentTask() orelse return error.NotOnShard;
    const op = Shard.current().?.ops.find(handle) orelse return error.Closed;
    return if (op.task == task) op else error.Closed;
}

/// Runs one of the functions of ops/ for the current task and gives out the op's handle.
pub fn launch(out: ?*u64, comptime function: anytype, arguments: anytype) i32 {
    const handle = out orelse return fail(error.Invalid);
    const task = currentTask() orelse return fail(error.NotOnShard);
    const op = @call(.auto, function, .{ Shard.current().?, task } ++ arguments) catch |err| return fail(err);
    handle.* = op.id();
    return errors.ok;
}

/// A file's greatest offset. To the kernel UINT64_MAX is the descriptor's own position, which pread(2)
/// never uses: a negative number of the caller's must not become that.
pub const offset_max = std.math.maxInt(i64);

/// NULL is a buffer only if nothing is to be transferred.
pub fn sliceOf(comptime Slice: type, buffer: anytype, length: u32) ?Slice {
    const pointer = buffer orelse return if (length == 0) &.{} else null;
    return pointer[0..length];
}

pub fn writeMessage(said: []const u8, message: ?[*]u8, capacity: usize) void {
    const out = message orelse return;
    if (capacity == 0) return;
    const length = @min(said.len, capacity - 1);
    @memcpy(out[0..length], said[0..length]);
    out[length] = 0;
}
