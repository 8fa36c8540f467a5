//! One try at an operation, by system calls that do not block. Runs on the shard's thread.

const std = @import("std");
const linux = std.os.linux;
const blocking = @import("blocking.zig");
const descriptors = @import("nonblocking.zig");
const sockets = @import("sockets.zig");
const Outcome = @import("pending.zig").Outcome;
const Pending = @import("pending.zig").Pending;

/// Opcodes that `attempt` or the pool knows.
pub const known = [_]linux.IORING_OP{
    .NOP,     .READV,   .WRITEV,    .FSYNC,  .READ_FIXED, .WRITE_FIXED,  .POLL_ADD, .SENDMSG, .RECVMSG,
    .ACCEPT,  .CONNECT, .FALLOCATE, .OPENAT, .CLOSE,      .STATX,        .READ,     .WRITE,   .FADVISE,
    .MADVISE, .SEND,    .RECV,      .SPLICE, .SHUTDOWN,   .RENAMEAT,     .UNLINKAT, .MKDIRAT, .SYMLINKAT,
    .LINKAT,  .SOCKET,  .SEND_ZC,   .WAITID, .FTRUNCATE,  .ASYNC_CANCEL,
};

pub fn attempt(pending: *Pending) Outcome {
    const sqe = &pending.sqe;
    return switch (sqe.opcode) {
        .NOP => .{ .done = 0 },
        .READ, .READ_FIXED, .READV => transfer(pending, linux.POLL.IN),
        .WRITE, .WRITE_FIXED, .WRITEV => transfer(pending, linux.POLL.OUT),
        .RECV => sockets.recv(pending),
        .SEND, .SEND_ZC => sockets.send(pending),
        .RECVMSG => sockets.recvMessage(pending),
        .SENDMSG => sockets.sendMessage(pending),
        .ACCEPT => sockets.accept(pending),
        .CONNECT => sockets.connect(pending),
        .SHUTDOWN => .of(linux.shutdown(sqe.fd, @bitCast(sqe.len))),
        .SOCKET => .of(linux.socket(@bitCast(sqe.fd), @intCast(sqe.off), sqe.len)),
        .POLL_ADD => poll(pending),
        .WAITID => waitChild(pending),
        .SPLICE => splice(pending),
        .MADVISE => .of(linux.madvise(@ptrFromInt(sqe.addr), sqe.len, sqe.rw_flags)),
        .FSYNC, .OPENAT, .STATX, .MKDIRAT, .UNLINKAT, .RENAMEAT, .LINKAT, .SYMLINKAT => .block,
        .FALLOCATE, .FTRUNCATE, .FADVISE => .block,
        else => .failure(.OPNOTSUPP),
    };
}

/// Reads what is in the page cache or in the pipe, writes what there is room for.
fn transfer(pending: *Pending, events: u32) Outcome {
    const sqe = &pending.sqe;
    // Too much for this thread, and all of it may be in the page cache.
    if (sqe.flags & linux.IOSQE_ASYNC != 0 and isFile(sqe.fd)) return .block;
    while (true) {
        const rc = blocking.vectored(sqe, pending.done, linux.RWF.NOWAIT);
        switch (linux.errno(rc)) {
            .SUCCESS => {
                const count: u32 = @intCast(rc);
                pending.done += count;
                const whole = pending.done >= blocking.wanted(sqe);
                // A file that is cached in part goes on; of a stream, what there is is enough.
                if (count == 0 or whole or !isFile(sqe.fd)) return .{ .done = @intCast(pending.done) };
            },
            .INTR => {},
            .AGAIN => return if (isFile(sqe.fd)) .block else again(pending, events),
            // A file system or a driver without such attempts.
            .OPNOTSUPP, .NOSYS => return if (isFile(sqe.fd)) .block else carefully(pending, events),
            else => |errno| return .{ .done = pending.resultAfter(errno) },
        }
    }
}

fn again(pending: *Pending, events: u32) Outcome {
    // Some of a stream has been moved: that is the result.
    if (pending.done > 0) return .{ .done = @intCast(pending.done) };
    return .{ .wait = .{ .fd = pending.sqe.fd, .events = events } };
}

/// What waiting for events makes no sense for: it is always ready, and may block all the same.
pub fn isFile(fd: i32) bool {
    // Without one the call itself reports what is wrong.
    return switch (kindOf(fd) orelse return true) {
        linux.S.IFREG, linux.S.IFDIR, linux.S.IFBLK => true,
        else => false,
    };
}

fn kindOf(fd: i32) ?u16 {
    var status: linux.Statx = undefined;
    const rc = linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .TYPE = true }, &status);
    return if (linux.errno(rc) == .SUCCESS) status.mode & linux.S.IFMT else null;
}

/// A descriptor that knows no attempts: only once it is ready, and in small portions, of which a pipe
/// that is ready takes one at least (pipe(7), PIPE_BUF).
fn carefully(pending: *Pending, events: u32) Outcome {
    const fd = pending.sqe.fd;
    if (descriptors.ready(fd, events) == 0) return .{ .wait = .{ .fd = fd, .events = events } };
    if (descriptors.isNonblocking(fd)) {
        const rc = blocking.vectored(&pending.sqe, 0, 0);
        if (linux.errno(rc) == .AGAIN) return .{ .wait = .{ .fd = fd, .events = events } };
        return .of(rc);
    }
    const pipe_buf = 4096;
    if (events == linux.POLL.OUT and pending.sqe.opcode == .WRITE) pending.sqe.len = @min(pending.sqe.len, pipe_buf);
    return .block;
}

fn poll(pending: *Pending) Outcome {
    const events = pending.sqe.rw_flags;
    const seen = descriptors.ready(pending.sqe.fd, events);
    if (seen & linux.POLL.NVAL != 0) return .failure(.BADF);
    if (seen != 0) return .{ .done = @intCast(seen) };
    return .{ .wait = .{ .fd = pending.sqe.fd, .events = events } };
}

/// Of a pidfd, which becomes readable when the process ends (pidfd_open(2), 5.3).
fn waitChild(pending: *Pending) Outcome {
    const sqe = &pending.sqe;
    if (sqe.len != @backingInt(linux.P.PIDFD)) return .failure(.OPNOTSUPP);
    // Asked first: whose child it is not gets its error at once.
    const ended = descriptors.ready(sqe.fd, linux.POLL.IN) != 0;
    const options: u32 = @bitCast(sqe.splice_fd_in); // `file_index` in io_uring's words.
    while (true) {
        const rc = linux.syscall5(
            .waitid,
            sqe.len,
            @bitCast(@as(isize, sqe.fd)),
            @intCast(sqe.off),
            options | linux.W.NOHANG,
            0,
        );
        if (linux.errno(rc) == .INTR) continue;
        if (linux.errno(rc) != .SUCCESS or ended) return .of(rc);
        return .{ .wait = .{ .fd = sqe.fd, .events = linux.POLL.IN } };
    }
}

/// Both ends are ready before it is tried. What a pipe has no room for is left; for a socket the kernel
/// waits, unless that is nonblocking, so that a thread of the pool does it.
fn splice(pending: *Pending) Outcome {
    const sqe = &pending.sqe;
    const ends = [_]struct { fd: i32, events: u32 }{
        .{ .fd = sqe.splice_fd_in, .events = linux.POLL.IN },
        .{ .fd = sqe.fd, .events = linux.POLL.OUT },
    };
    for (ends) |end| {
        const seen = descriptors.ready(end.fd, end.events);
        if (seen & linux.POLL.NVAL != 0) return .failure(.BADF);
        if (seen == 0) return .{ .wait = .{ .fd = end.fd, .events = end.events } };
    }
    if (waits(sqe.fd) or waits(sqe.splice_fd_in)) return .block;
    while (true) {
        const rc = blocking.splice(sqe);
        switch (linux.errno(rc)) {
            .INTR => {},
            .AGAIN => return .{ .wait = .{ .fd = sqe.fd, .events = linux.POLL.OUT } },
            else => return .of(rc),
        }
    }
}

/// Whether a call on it would wait for somebody, whatever flags splice gets: a socket or a terminal.
fn waits(fd: i32) bool {
    return switch (kindOf(fd) orelse return false) {
        linux.S.IFSOCK, linux.S.IFCHR => !descriptors.isNonblocking(fd),
        else => false,
    };
}
