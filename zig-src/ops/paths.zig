//! Operations on names: the op owns copies of the paths until the kernel is done with them.

const std = @import("std");
const linux = std.os.linux;
const gpa = @import("../base/memory.zig").gpa;
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;

pub const Error = error{OutOfMemory};

const Named = struct { op: *Op, first: [*:0]const u8, second: [*:0]const u8 };

/// One allocation for both; `second` may be empty.
fn take(shard: *Shard, task: *Task, first: []const u8, second: []const u8) Error!Named {
    const both = try gpa.allocSentinel(u8, first.len + 1 + second.len, 0);
    errdefer gpa.free(both);
    @memcpy(both[0..first.len], first);
    both[first.len] = 0;
    @memcpy(both[first.len + 1 ..], second);
    const op = try shard.ops.take(task, shard);
    op.owned_bytes = both;
    return .{ .op = op, .first = both[0..first.len :0], .second = both[first.len + 1 .. :0] };
}

pub fn mkdir(shard: *Shard, task: *Task, path: []const u8, mode: u32) Error!*Op {
    const named = try take(shard, task, path, "");
    var sqe: Sqe = undefined;
    sqe.prep_mkdirat(linux.AT.FDCWD, named.first, mode);
    shard.launch(named.op, sqe);
    return named.op;
}

/// A file, or with AT_REMOVEDIR an empty directory.
pub fn unlink(shard: *Shard, task: *Task, path: []const u8, flags: u32) Error!*Op {
    const named = try take(shard, task, path, "");
    var sqe: Sqe = undefined;
    sqe.prep_unlinkat(linux.AT.FDCWD, named.first, flags);
    shard.launch(named.op, sqe);
    return named.op;
}

pub fn rename(shard: *Shard, task: *Task, from: []const u8, to: []const u8, flags: u32) Error!*Op {
    const named = try take(shard, task, from, to);
    var sqe: Sqe = undefined;
    sqe.prep_renameat(linux.AT.FDCWD, named.first, linux.AT.FDCWD, named.second, flags);
    shard.launch(named.op, sqe);
    return named.op;
}

pub fn link(shard: *Shard, task: *Task, existing: []const u8, path: []const u8) Error!*Op {
    const named = try take(shard, task, existing, path);
    var sqe: Sqe = undefined;
    sqe.prep_linkat(linux.AT.FDCWD, named.first, linux.AT.FDCWD, named.second, 0);
    shard.launch(named.op, sqe);
    return named.op;
}

pub fn symlink(shard: *Shard, task: *Task, target: []const u8, path: []const u8) Error!*Op {
    const named = try take(shard, task, target, path);
    var sqe: Sqe = undefined;
    sqe.prep_symlinkat(named.first, linux.AT.FDCWD, named.second);
    shard.launch(named.op, sqe);
    return named.op;
}

/// `out` is the caller's, a struct statx, until the op has ended.
pub fn statx(shard: *Shard, task: *Task, path: []const u8, flags: u32, mask: u32, out: *linux.Statx) Error!*Op {
    const named = try take(shard, task, path, "");
    var sqe: Sqe = undefined;
    sqe.prep_statx(linux.AT.FDCWD, named.first, flags, @bitCast(mask), out);
    shard.launch(named.op, sqe);
    return named.op;
}
