//! Operations as system calls that may block. Run on a thread of the pool.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const limits = @import("../base/limits.zig");
const iovecs = @import("iovecs.zig");
const Pending = @import("pending.zig").Pending;
const Sqe = @import("../ring/ring.zig").Sqe;

/// What may be handed to the pool.
pub fn knows(opcode: linux.IORING_OP) bool {
    return switch (opcode) {
        .READ, .WRITE, .READ_FIXED, .WRITE_FIXED, .READV, .WRITEV, .FSYNC, .OPENAT, .STATX, .MKDIRAT => true,
        .UNLINKAT, .RENAMEAT, .LINKAT, .SYMLINKAT, .FALLOCATE, .FTRUNCATE, .FADVISE, .CONNECT, .ACCEPT => true,
        .SPLICE => true,
        else => false,
    };
}

/// Whose numbers the call will use; negative: none.
pub fn descriptors(sqe: *const Sqe) [2]i32 {
    const second: i32 = switch (sqe.opcode) {
        .RENAMEAT, .LINKAT => @bitCast(sqe.len),
        .SPLICE => sqe.splice_fd_in,
        else => -1,
    };
    return .{ sqe.fd, second };
}

/// Whether the call may last until somebody else does something: opens the other end of a FIFO,
/// accepts, connects, or reads. (Only such ones on sockets are handed to the pool.)
pub fn mayLast(sqe: *const Sqe) bool {
    if (lastsAlways(sqe)) return true;
    if (sqe.opcode != .OPENAT) return false;
    var status: linux.Statx = undefined;
    const rc = linux.syscall5(.statx, word(sqe.fd), @intCast(sqe.addr), 0, mode_wanted, @intFromPtr(&status));
    if (linux.errno(rc) != .SUCCESS) return false;
    const kind = status.mode & linux.S.IFMT;
    return kind == linux.S.IFIFO or kind == linux.S.IFCHR;
}

pub fn lastsAlways(sqe: *const Sqe) bool {
    return switch (sqe.opcode) {
        .CONNECT, .ACCEPT, .SPLICE => true,
        else => false,
    };
}

const mode_wanted: u32 = @bitCast(linux.STATX{ .TYPE = true });

/// The result as io_uring would give it. An interruption ends it if it is not wanted any more.
pub fn perform(pending: *Pending, unwanted: *const std.atomic.Value(bool)) i32 {
    if (!transfers(pending.sqe.opcode)) return performCall(&pending.sqe, unwanted);
    while (!unwanted.load(.seq_cst)) {
        const result = transfer(pending);
        if (result != errors.negative(.INTR)) return result;
    }
    return pending.resultAfter(.CANCELED);
}

/// The same for what is no transfer.
pub fn performCall(sqe: *const Sqe, unwanted: *const std.atomic.Value(bool)) i32 {
    while (!unwanted.load(.seq_cst)) {
        const result = call(sqe);
        if (result != errors.negative(.INTR)) return result;
    }
    return errors.negative(.CANCELED);
}

/// Of one that a thread that must go on makes itself.
pub const wanted_always: std.atomic.Value(bool) = .init(false);

fn transfers(opcode: linux.IORING_OP) bool {
    return switch (opcode) {
        .READ, .WRITE, .READ_FIXED, .WRITE_FIXED, .READV, .WRITEV => true,
        else => false,
    };
}

fn call(sqe: *const Sqe) i32 {
    const fd = word(sqe.fd);
    return switch (sqe.opcode) {
        .FSYNC => errors.resultOf(if (sqe.rw_flags & linux.IORING_FSYNC_DATASYNC != 0)
            linux.syscall1(.fdatasync, fd)
        else
            linux.syscall1(.fsync, fd)),
        .OPENAT => errors.resultOf(linux.syscall4(.openat, fd, @intCast(sqe.addr), sqe.rw_flags, sqe.len)),
        .STATX => errors.resultOf(linux.syscall5(
            .statx,
            fd,
            @intCast(sqe.addr),
            sqe.rw_flags,
            sqe.len,
            @intCast(sqe.off),
        )),
        .MKDIRAT => errors.resultOf(linux.syscall3(.mkdirat, fd, @intCast(sqe.addr), sqe.len)),
        .UNLINKAT => errors.resultOf(linux.syscall3(.unlinkat, fd, @intCast(sqe.addr), sqe.rw_flags)),
        .RENAMEAT => errors.resultOf(linux.syscall5(
            .renameat2,
            fd,
            @intCast(sqe.addr),
            word(@bitCast(sqe.len)),
            @intCast(sqe.off),
            sqe.rw_flags,
        )),
        .LINKAT => errors.resultOf(linux.syscall5(
            .linkat,
            fd,
            @intCast(sqe.addr),
            word(@bitCast(sqe.len)),
            @intCast(sqe.off),
            sqe.rw_flags,
        )),
        .SYMLINKAT => errors.resultOf(linux.syscall3(.symlinkat, @intCast(sqe.addr), fd, @intCast(sqe.off))),
        .FALLOCATE => errors.resultOf(linux.fallocate(
            sqe.fd,
            @bitCast(sqe.len),
            @bitCast(sqe.off),
            @bitCast(sqe.addr),
        )),
        .FTRUNCATE => errors.resultOf(linux.ftruncate(sqe.fd, @bitCast(sqe.off))),
        .FADVISE => errors.resultOf(linux.fadvise(sqe.fd, @bitCast(sqe.off), sqe.len, sqe.rw_flags)),
        .ACCEPT => errors.resultOf(linux.syscall4(.accept4, fd, @intCast(sqe.addr), @intCast(sqe.off), sqe.rw_flags)),
        .SPLICE => errors.resultOf(splice(sqe)),
        .CONNECT => errors.resultOf(linux.syscall3(.connect, fd, @intCast(sqe.addr), @intCast(sqe.off))),
        else => errors.negative(.OPNOTSUPP),
    };
}

/// Does not wait for a pipe. For a socket it does, unless that is nonblocking.
pub fn splice(sqe: *const Sqe) usize {
    const none = std.math.maxInt(u64);
    const nonblock = 2; // SPLICE_F_NONBLOCK
    var from = sqe.addr;
    var to = sqe.off;
    return linux.syscall6(
        .splice,
        word(sqe.splice_fd_in),
        if (from == none) 0 else @intFromPtr(&from),
        word(sqe.fd),
        if (to == none) 0 else @intFromPtr(&to),
        sqe.len,
        sqe.rw_flags | nonblock,
    );
}

fn transfer(pending: *Pending) i32 {
    const result = errors.resultOf(vectored(&pending.sqe, pending.done, 0));
    if (result < 0) return if (pending.done > 0) @intCast(pending.done) else result;
    return @intCast(pending.done + @as(u32, @intCast(result)));
}

fn isMany(sqe: *const Sqe) bool {
    return sqe.opcode == .READV or sqe.opcode == .WRITEV;
}

fn list(sqe: *const Sqe) []const std.posix.iovec {
    return @as([*]const std.posix.iovec, @ptrFromInt(@as(usize, @intCast(sqe.addr))))[0..sqe.len];
}

/// How many bytes a transfer is for. Of a list of buffers only after the kernel has read it without an error.
pub fn wanted(sqe: *const Sqe) u32 {
    return if (isMany(sqe)) iovecs.total(list(sqe)) else @min(sqe.len, limits.transfer_max);
}

/// preadv2(2) or pwritev2(2) of what an SQE describes, less the first `done` bytes. If the file has
/// no position, as a pipe, none is used.
pub fn vectored(sqe: *const Sqe, done: u32, flags: u32) usize {
    if (isMany(sqe)) {
        if (done > 0) return rest(sqe, done, flags);
        return positioned(sqe, @intCast(sqe.addr), sqe.len, 0, flags);
    }
    const single = [2]usize{ @intCast(sqe.addr + done), wanted(sqe) - done };
    return positioned(sqe, @intFromPtr(&single), 1, done, flags);
}

fn rest(sqe: *const Sqe, done: u32, flags: u32) usize {
    var room: [iovecs.pieces_max]std.posix.iovec = undefined;
    const left = iovecs.remaining(std.posix.iovec, &room, list(sqe), done);
    return positioned(sqe, @intFromPtr(left.ptr), left.len, done, flags);
}

fn positioned(sqe: *const Sqe, pieces: usize, count: usize, done: u32, flags: u32) usize {
    const current = std.math.maxInt(u64);
    const offset = if (sqe.off == current) current else sqe.off + done;
    const reads = sqe.opcode == .READ or sqe.opcode == .READ_FIXED or sqe.opcode == .READV;
    const rc = at(reads, sqe.fd, pieces, count, offset, sqe.rw_flags | flags);
    if (linux.errno(rc) != .SPIPE or offset == current) return rc;
    return at(reads, sqe.fd, pieces, count, current, sqe.rw_flags | flags);
}

fn at(reads: bool, fd: i32, pieces: usize, count: usize, offset: u64, flags: u32) usize {
    // The kernel takes the offset in two words; a 64-bit one looks at the first alone.
    const high: usize = if (@sizeOf(usize) == 8) 0 else @intCast(offset >> 32);
    const low: usize = @truncate(offset);
    const rc = linux.syscall6(if (reads) .preadv2 else .pwritev2, word(fd), pieces, count, low, high, flags);
    if (flags != 0 or linux.errno(rc) != .NOSYS) return rc;
    // Linux before 4.6, and qemu-user. What asks for no flag has calls without them.
    if (offset == std.math.maxInt(u64)) return linux.syscall3(if (reads) .readv else .writev, word(fd), pieces, count);
    return linux.syscall5(if (reads) .preadv else .pwritev, word(fd), pieces, count, low, high);
}

fn word(fd: i32) usize {
    return @bitCast(@as(isize, fd));
}

test "a transfer is for no more than the kernel moves" {
    var sqe = std.mem.zeroes(Sqe);
    sqe.opcode = .READ;
    sqe.len = std.math.maxInt(u32);
    try std.testing.expectEqual(limits.transfer_max, wanted(&sqe));
    sqe.len = 5;
    try std.testing.expectEqual(5, wanted(&sqe));
}
