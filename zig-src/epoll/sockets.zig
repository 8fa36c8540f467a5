//! One try at an operation on a socket. A transfer with MSG_WAITALL remembers how far it came.

const std = @import("std");
const linux = std.os.linux;
const provided_buffers = @import("../ring/provided_buffers.zig");
const descriptors = @import("nonblocking.zig");
const limits = @import("../base/limits.zig");
const iovecs = @import("iovecs.zig");
const Outcome = @import("pending.zig").Outcome;
const Pending = @import("pending.zig").Pending;

const Direction = enum { in, out };

pub fn recv(pending: *Pending) Outcome {
    if (pending.buffers) |from| return recvProvided(pending, from);
    const sqe = &pending.sqe;
    const wanted = @min(sqe.len, limits.transfer_max);
    while (true) {
        const start: [*]u8 = @ptrFromInt(@as(usize, @intCast(sqe.addr)) + pending.done);
        const rc = linux.recvfrom(sqe.fd, start, wanted - pending.done, sqe.rw_flags | linux.MSG.DONTWAIT, null, null);
        if (settled(pending, rc, .in, wanted)) |outcome| {
            // As the kernel tells it: there may be more.
            const filled = outcome == .done and outcome.done == sqe.len;
            if (filled) pending.cqe_flags |= linux.IORING_CQE_F_SOCK_NONEMPTY;
            return outcome;
        }
    }
}

/// A buffer is in hands only while there is something in it.
fn recvProvided(pending: *Pending, from: *provided_buffers.Buffers) Outcome {
    const sqe = &pending.sqe;
    const id = from.take() orelse return .failure(.NOBUFS);
    const room = from.all(id)[0..if (sqe.len == 0) provided_buffers.size else @min(sqe.len, provided_buffers.size)];
    while (true) {
        const rc = linux.recvfrom(sqe.fd, room.ptr, room.len, sqe.rw_flags | linux.MSG.DONTWAIT, null, null);
        const outcome = settled(pending, rc, .in, 0) orelse continue;
        if (outcome == .done and outcome.done > 0) {
            pending.cqe_flags |= provided_buffers.flagsOf(id);
            if (outcome.done == room.len) pending.cqe_flags |= linux.IORING_CQE_F_SOCK_NONEMPTY;
        } else {
            from.untake(id);
        }
        return outcome;
    }
}

pub fn send(pending: *Pending) Outcome {
    const sqe = &pending.sqe;
    const address: ?*const linux.sockaddr = @ptrFromInt(@as(usize, @intCast(sqe.off)));
    const address_len: u32 = @as(u16, @truncate(@as(u32, @bitCast(sqe.splice_fd_in)))); // `addr_len`
    const wanted = @min(sqe.len, limits.transfer_max);
    while (true) {
        const start: [*]const u8 = @ptrFromInt(@as(usize, @intCast(sqe.addr)) + pending.done);
        const flags = sqe.rw_flags | linux.MSG.DONTWAIT;
        const rc = linux.sendto(sqe.fd, start, wanted - pending.done, flags, address, address_len);
        if (settled(pending, rc, .out, wanted)) |outcome| return outcome;
    }
}

pub fn recvMessage(pending: *Pending) Outcome {
    const message: *linux.msghdr = @ptrFromInt(@as(usize, @intCast(pending.sqe.addr)));
    const name_room = message.namelen;
    const control_room = message.controllen;
    const pieces = message.iov[0..@intCast(message.iovlen)];
    const total = inPieces(pieces, message.controllen);
    while (true) {
        var rest: [iovecs.pieces_max]std.posix.iovec = undefined;
        var part = message.*;
        if (pending.done > 0) {
            const left = iovecs.remaining(std.posix.iovec, &rest, pieces, pending.done);
            part.iov = left.ptr;
            part.iovlen = @intCast(left.len);
        }
        part.namelen = name_room;
        part.controllen = control_room;
        const rc = linux.recvmsg(pending.sqe.fd, &part, pending.sqe.rw_flags | linux.MSG.DONTWAIT);
        if (linux.errno(rc) == .SUCCESS) {
            message.namelen = part.namelen;
            message.controllen = part.controllen;
            message.flags = part.flags;
        }
        if (settled(pending, rc, .in, total)) |outcome| return outcome;
    }
}

pub fn sendMessage(pending: *Pending) Outcome {
    const message: *const linux.msghdr_const = @ptrFromInt(@as(usize, @intCast(pending.sqe.addr)));
    const pieces = message.iov[0..@intCast(message.iovlen)];
    const total = inPieces(pieces, message.controllen);
    while (true) {
        var rest: [iovecs.pieces_max]std.posix.iovec_const = undefined;
        var part = message.*;
        if (pending.done > 0) {
            const left = iovecs.remaining(std.posix.iovec_const, &rest, pieces, pending.done);
            part.iov = left.ptr;
            part.iovlen = @intCast(left.len);
        }
        const rc = linux.sendmsg(pending.sqe.fd, &part, pending.sqe.rw_flags | linux.MSG.DONTWAIT);
        if (settled(pending, rc, .out, total)) |outcome| return outcome;
    }
}

/// How many bytes MSG_WAITALL waits for. With control data it does not: more of it would come over what is
/// there, and be sent again. io_uring has the same rule.
fn inPieces(pieces: anytype, control_len: usize) u32 {
    return if (control_len > 0) 0 else iovecs.total(pieces);
}

/// What a transfer's call came to; null: call again.
fn settled(pending: *Pending, rc: usize, direction: Direction, wanted: usize) ?Outcome {
    const all = pending.sqe.rw_flags & linux.MSG.WAITALL != 0 and pending.sqe.rw_flags & linux.MSG.PEEK == 0;
    switch (linux.errno(rc)) {
        .SUCCESS => {
            pending.done += @intCast(rc);
            if (all and rc > 0 and pending.done < wanted and isStream(pending.sqe.fd)) return null;
            return .{ .done = @intCast(pending.done) };
        },
        .INTR => return null,
        .AGAIN => {
            if (pending.sqe.rw_flags & linux.MSG.DONTWAIT == 0)
                return .{ .wait = .{ .fd = pending.sqe.fd, .events = switch (direction) {
                    .in => linux.POLL.IN,
                    .out => linux.POLL.OUT,
                } } };
            return .{ .done = pending.resultAfter(.AGAIN) };
        },
        else => |errno| return .{ .done = pending.resultAfter(errno) },
    }
}

/// Of the others a transfer is one datagram.
fn isStream(fd: i32) bool {
    const kind = option(fd, linux.SO.TYPE) orelse return false;
    return kind == linux.SOCK.STREAM or kind == linux.SOCK.SEQPACKET;
}

fn option(fd: i32, name: u32) ?u32 {
    var value: u32 = 0;
    var size: linux.socklen_t = @sizeOf(u32);
    const rc = linux.getsockopt(fd, linux.SOL.SOCKET, name, std.mem.asBytes(&value), &size);
    return if (linux.errno(rc) == .SUCCESS) value else null;
}

/// accept4(2) has no flag that keeps it from blocking, and O_NONBLOCK would be for all who share the
/// listener. A blocking one is asked by a thread of the pool, once something has come: another process may
/// be faster.
pub fn accept(pending: *Pending) Outcome {
    const sqe = &pending.sqe;
    if (!descriptors.isNonblocking(sqe.fd)) {
        if (descriptors.ready(sqe.fd, linux.POLL.IN) != 0) return .block;
        return .{ .wait = .{ .fd = sqe.fd, .events = linux.POLL.IN } };
    }
    while (true) {
        const rc = linux.syscall4(
            .accept4,
            @bitCast(@as(isize, sqe.fd)),
            @intCast(sqe.addr),
            @intCast(sqe.off),
            sqe.rw_flags,
        );
        switch (linux.errno(rc)) {
            .INTR => {},
            .AGAIN => return .{ .wait = .{ .fd = sqe.fd, .events = linux.POLL.IN } },
            else => return .of(rc),
        }
    }
}

pub fn connect(pending: *Pending) Outcome {
    const sqe = &pending.sqe;
    if (pending.connecting) {
        if (descriptors.ready(sqe.fd, linux.POLL.OUT) == 0)
            return .{ .wait = .{ .fd = sqe.fd, .events = linux.POLL.OUT } };
        return .{ .done = -errorOf(sqe.fd) };
    }
    // For the time of the call only, and if it may wait: a stream that has no peer yet.
    const alters = isStream(sqe.fd) and !descriptors.isNonblocking(sqe.fd);
    const was = if (alters) descriptors.setNonblocking(sqe.fd) orelse return .failure(.BADF) else 0;
    defer if (alters) descriptors.restore(sqe.fd, was);
    while (true) {
        const rc = linux.syscall3(.connect, @bitCast(@as(isize, sqe.fd)), @intCast(sqe.addr), @intCast(sqe.off));
        switch (linux.errno(rc)) {
            .INTR => {},
            .INPROGRESS => {
                pending.connecting = true;
                return .{ .wait = .{ .fd = sqe.fd, .events = linux.POLL.OUT } };
            },
            // A Unix socket whose listener has a full queue: there is no event for that (connect(2)).
            .AGAIN => return if (alters) .block else .of(rc),
            else => return .of(rc),
        }
    }
}

/// SO_ERROR, which is cleared by being read.
fn errorOf(fd: i32) i32 {
    var number: i32 = 0;
    var size: linux.socklen_t = @sizeOf(i32);
    const rc = linux.getsockopt(fd, linux.SOL.SOCKET, linux.SO.ERROR, std.mem.asBytes(&number), &size);
    return if (linux.errno(rc) == .SUCCESS) number else @backingInt(linux.errno(rc));
}
