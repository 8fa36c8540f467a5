//! File operations of the current task: each queues one SQE and returns its op. On the shard's
//! thread only.

const std = @import("std");
const linux = std.os.linux;
const gpa = @import("../base/memory.zig").gpa;
const limits = @import("../base/limits.zig");
const Shard = @import("../scheduler/shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;
const Op = @import("../task/op.zig").Op;
const Internal = @import("../ring/user_data.zig").Internal;

pub const Error = error{OutOfMemory};

/// Longest transfer of one read(2) or write(2).
pub const transfer_max = limits.transfer_max;

pub fn nop(shard: *Shard, task: *Task) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_nop();
    shard.launch(op, sqe);
    return op;
}

pub fn open(shard: *Shard, task: *Task, path: []const u8, flags: i32, mode: u32) Error!*Op {
    const copy = try gpa.dupeSentinel(u8, path, 0);
    errdefer gpa.free(copy);
    const op = try shard.ops.take(task, shard);
    op.owned_bytes = copy;
    op.unclaimed = .close_descriptor;
    var how: linux.O = @bitCast(flags);
    how.CLOEXEC = true;
    var sqe: Sqe = undefined;
    sqe.prep_openat(linux.AT.FDCWD, copy, how, mode);
    shard.launch(op, sqe);
    return op;
}

/// A read or write of `bytes`. What would keep the shard's thread too long is done by another one.
pub inline fn launchTransfer(shard: *Shard, op: *Op, sqe: *Sqe, bytes: usize) void {
    if (!shard.ring.mayCopyInline(bytes)) sqe.flags |= linux.IOSQE_ASYNC;
    shard.launch(op, sqe.*);
}

pub fn readAt(shard: *Shard, task: *Task, fd: i32, buffer: []u8, offset: u64) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    const room = buffer[0..@min(buffer.len, transfer_max)];
    sqe.prep_read(fd, room, offset);
    if (shard.fixed.indexOf(room)) |index| {
        sqe.opcode = .READ_FIXED;
        sqe.buf_index = index;
    }
    launchTransfer(shard, op, &sqe, room.len);
    return op;
}

pub fn writeAt(shard: *Shard, task: *Task, fd: i32, buffer: []const u8, offset: u64) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    const data = buffer[0..@min(buffer.len, transfer_max)];
    sqe.prep_write(fd, data, offset);
    if (shard.fixed.indexOf(data)) |index| {
        sqe.opcode = .WRITE_FIXED;
        sqe.buf_index = index;
    }
    launchTransfer(shard, op, &sqe, data.len);
    return op;
}

pub fn readvAt(shard: *Shard, task: *Task, fd: i32, vectors: []const std.posix.iovec, offset: u64) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_readv(fd, vectors, offset);
    launchTransfer(shard, op, &sqe, total(vectors));
    return op;
}

pub fn writevAt(shard: *Shard, task: *Task, fd: i32, vectors: []const std.posix.iovec_const, offset: u64) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_writev(fd, vectors, offset);
    launchTransfer(shard, op, &sqe, total(vectors));
    return op;
}

pub fn total(vectors: anytype) usize {
    var bytes: usize = 0;
    for (vectors) |vector| bytes +|= vector.len;
    return bytes;
}

pub fn truncate(shard: *Shard, task: *Task, fd: i32, length: u64) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_rw(.FTRUNCATE, fd, 0, 0, length);
    shard.launch(op, sqe);
    return op;
}

pub fn allocate(shard: *Shard, task: *Task, fd: i32, mode: i32, offset: u64, length: u64) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_fallocate(fd, mode, offset, length);
    shard.launch(op, sqe);
    return op;
}

/// An offset of all ones: the descriptor's own position, or a pipe.
pub fn splice(shard: *Shard, task: *Task, from: End, to: End, length: u32, flags: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_splice(from.fd, from.offset, to.fd, to.offset, length);
    sqe.rw_flags = flags;
    shard.launch(op, sqe);
    return op;
}

pub const End = struct { fd: i32, offset: u64 };

pub fn fsync(shard: *Shard, task: *Task, fd: i32, data_only: bool) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_fsync(fd, if (data_only) linux.IORING_FSYNC_DATASYNC else 0);
    shard.launch(op, sqe);
    return op;
}

/// Closes it with the next submission; nobody waits for that, or hears of an error.
pub fn closeSoon(shard: *Shard, fd: i32) void {
    if (shard.ring.submitsAsOther()) {
        _ = linux.close(fd);
        return;
    }
    var sqe: Sqe = undefined;
    sqe.prep_close(fd);
    sqe.flags |= linux.IOSQE_CQE_SKIP_SUCCESS;
    sqe.user_data = @backingInt(Internal.ignore);
    shard.ring.push(&sqe) catch {
        _ = linux.close(fd);
    };
}

pub fn close(shard: *Shard, task: *Task, fd: i32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    // A file system that flushes does it on a thread of the kernel; cancelled, it would stay open.
    op.shielded = true;
    var sqe: Sqe = undefined;
    sqe.prep_close(fd);
    shard.launch(op, sqe);
    return op;
}
