//! Socket operations of the current task, and the few calls around them that never wait.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const Shard = @import("../scheduler/shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;
const CompleteFn = @import("../task/op.zig").CompleteFn;
const Op = @import("../task/op.zig").Op;
const provided_buffers = @import("../ring/provided_buffers.zig");
const fs = @import("fs.zig");
const gpa = @import("../base/memory.zig").gpa;

pub const Error = fs.Error;

/// An IPv4 or IPv6 address as the kernel takes it.
pub const Address = struct {
    storage: linux.sockaddr.in6,
    len: u32,

    pub fn pointer(self: *const Address) *const linux.sockaddr {
        return @ptrCast(&self.storage);
    }

    pub fn bytes(self: *const Address) []align(4) const u8 {
        const whole: *align(4) const [@sizeOf(linux.sockaddr.in6)]u8 = @ptrCast(&self.storage);
        return whole[0..self.len];
    }

    /// Numeric addresses only: names are resolved elsewhere, because that waits. The C library says
    /// what is one; std.Io.net takes some that are invalid (1:2:3:4::5:6:7:8).
    pub fn parse(text: [*:0]const u8, port: u16) error{Invalid}!Address {
        var result: Address = .{ .storage = std.mem.zeroes(linux.sockaddr.in6), .len = 0 };
        const big_port = std.mem.nativeToBig(u16, port);
        const in: *linux.sockaddr.in = @ptrCast(&result.storage);
        if (inet_pton(linux.AF.INET, text, &in.addr) == 1) {
            in.* = .{ .port = big_port, .addr = in.addr };
            result.len = @sizeOf(linux.sockaddr.in);
        } else if (inet_pton(linux.AF.INET6, text, &result.storage.addr) == 1) {
            result.storage = .{ .port = big_port, .flowinfo = 0, .addr = result.storage.addr, .scope_id = 0 };
            result.len = @sizeOf(linux.sockaddr.in6);
        } else return error.Invalid;
        return result;
    }
};

extern "c" fn inet_pton(family: c_int, text: [*:0]const u8, address: *anyopaque) c_int;

/// Returns a descriptor that is bound to a sockaddr of any family, or -errno.
pub fn bind(address: []align(4) const u8, kind: u32) i32 {
    const given: *const linux.sockaddr = @ptrCast(address.ptr);
    const rc = linux.socket(given.family, kind | linux.SOCK.CLOEXEC, 0);
    if (linux.errno(rc) != .SUCCESS) return errors.negative(linux.errno(rc));
    const fd: i32 = @intCast(rc);
    const errno = linux.errno(linux.bind(fd, given, @intCast(address.len)));
    if (errno == .SUCCESS) return fd;
    _ = linux.close(fd);
    return errors.negative(errno);
}

pub const Listening = struct {
    backlog: u32,
    reuse_port: bool = false,
    /// Null: what the system has for all (net.ipv6.bindv6only).
    v6_only: ?bool = null,
};

const ipv6_v6only = 26;

/// Gives the descriptor, or -errno.
pub fn listen(address: *const Address, how: Listening) i32 {
    const fd = socket(address);
    if (fd < 0) return fd;
    const backlog = how.backlog;
    const one: u32 = 1;
    _ = linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.REUSEADDR, std.mem.asBytes(&one), 4);
    if (how.reuse_port) _ = linux.setsockopt(fd, linux.SOL.SOCKET, linux.SO.REUSEPORT, std.mem.asBytes(&one), 4);
    if (how.v6_only) |only| if (address.storage.family == linux.AF.INET6) {
        const value: u32 = @intFromBool(only);
        _ = linux.setsockopt(fd, linux.SOL.IPV6, ipv6_v6only, std.mem.asBytes(&value), 4);
    };
    const bound = linux.errno(linux.bind(fd, address.pointer(), address.len));
    const errno = if (bound == .SUCCESS) linux.errno(linux.listen(fd, backlog)) else bound;
    if (errno == .SUCCESS) return fd;
    _ = linux.close(fd);
    return errors.negative(errno);
}

pub fn socket(address: *const Address) i32 {
    const rc = linux.socket(address.storage.family, linux.SOCK.STREAM | linux.SOCK.CLOEXEC, 0);
    const errno = linux.errno(rc);
    return if (errno == .SUCCESS) @intCast(rc) else errors.negative(errno);
}

/// In host order, or -errno.
pub fn localPort(fd: i32) i32 {
    var storage: linux.sockaddr.in6 = undefined;
    var len: linux.socklen_t = @sizeOf(linux.sockaddr.in6);
    const errno = linux.errno(linux.getsockname(fd, @ptrCast(&storage), &len));
    // The port is at the same place for both families.
    return if (errno == .SUCCESS) std.mem.bigToNative(u16, storage.port) else errors.negative(errno);
}

/// Who takes an operation's completions, with `ctx`, and the word that counts it. `each`: if it has several.
pub const Takers = struct {
    each: ?CompleteFn,
    last: CompleteFn,
    ctx: *anyopaque,
    users: ?*const std.atomic.Value(u32) = null,

    fn set(self: *const Takers, op: *Op) void {
        op.on_multishot = self.each;
        op.complete = self.last;
        op.complete_ctx = self.ctx;
        op.descriptor_users = self.users;
    }
};

/// Gives connections until it is ended (IORING_ACCEPT_MULTISHOT, 5.19).
pub fn acceptMultishot(shard: *Shard, task: *Task, fd: i32, takers: Takers) Error!*Op {
    const op = try shard.ops.take(task, shard);
    takers.set(op);
    var sqe: Sqe = undefined;
    sqe.prep_accept(fd, null, null, linux.SOCK.CLOEXEC);
    sqe.ioprio = linux.IORING_ACCEPT_MULTISHOT;
    shard.launch(op, sqe);
    return op;
}

/// Receives into the shard's buffers until it is ended (IORING_RECV_MULTISHOT, 6.0).
pub fn recvMultishot(shard: *Shard, task: *Task, fd: i32, takers: Takers) Error!*Op {
    const op = try shard.ops.take(task, shard);
    takers.set(op);
    op.selects_buffer = true;
    var sqe: Sqe = undefined;
    sqe.prep_recv_multishot(fd, &.{}, 0);
    sqe.flags |= linux.IOSQE_BUFFER_SELECT;
    sqe.buf_index = provided_buffers.group;
    shard.launch(op, sqe);
    return op;
}

/// A single receive: into `own`, or into a buffer of the shard's.
pub fn recvOnce(shard: *Shard, task: *Task, fd: i32, own: ?[]u8, takers: Takers) Error!*Op {
    const op = try shard.ops.take(task, shard);
    takers.set(op);
    op.selects_buffer = own == null;
    var sqe: Sqe = undefined;
    sqe.prep_recv(fd, own orelse &.{}, 0);
    if (own == null) {
        sqe.len = provided_buffers.size;
        sqe.flags |= linux.IOSQE_BUFFER_SELECT;
        sqe.buf_index = provided_buffers.group;
    }
    shard.launch(op, sqe);
    return op;
}

/// With the peer's address: `length` has its room, and then its size.
pub fn acceptFrom(shard: *Shard, task: *Task, fd: i32, address: *linux.sockaddr, length: *u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    op.unclaimed = .close_descriptor;
    var sqe: Sqe = undefined;
    sqe.prep_accept(fd, address, length, linux.SOCK.CLOEXEC);
    shard.launch(op, sqe);
    return op;
}

pub fn accept(shard: *Shard, task: *Task, fd: i32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    op.unclaimed = .close_descriptor;
    var sqe: Sqe = undefined;
    sqe.prep_accept(fd, null, null, linux.SOCK.CLOEXEC);
    shard.launch(op, sqe);
    return op;
}

/// `address` is a sockaddr of any family, which the op keeps. The socket stays the caller's.
pub fn connect(shard: *Shard, task: *Task, fd: i32, address: []const u8) Error!*Op {
    const op = try takeWithAddress(shard, task, address);
    var sqe: Sqe = undefined;
    sqe.prep_connect(fd, @ptrCast(@alignCast(op.owned_bytes.?.ptr)), @intCast(address.len));
    shard.launch(op, sqe);
    return op;
}

/// The same with a new socket, which is the op's from here on, and its result.
pub fn connectNew(shard: *Shard, task: *Task, fd: i32, address: []const u8) Error!*Op {
    const op = try takeWithAddress(shard, task, address);
    op.unclaimed = .close_descriptor;
    op.socket = fd;
    var sqe: Sqe = undefined;
    sqe.prep_connect(fd, @ptrCast(@alignCast(op.owned_bytes.?.ptr)), @intCast(address.len));
    shard.launch(op, sqe);
    return op;
}

fn takeWithAddress(shard: *Shard, task: *Task, address: []const u8) Error!*Op {
    const copy = try gpa.dupeSentinel(u8, address, 0); // malloc aligns it for any sockaddr.
    errdefer gpa.free(copy);
    const op = try shard.ops.take(task, shard);
    op.owned_bytes = copy;
    return op;
}

/// `drained`: the last receive took all there was, so the kernel need not try before it waits
/// (IORING_RECVSEND_POLL_FIRST, 5.19).
pub fn recv(shard: *Shard, task: *Task, fd: i32, buffer: []u8, flags: u32, drained: bool) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_recv(fd, buffer[0..@min(buffer.len, fs.transfer_max)], flags);
    if (drained) sqe.ioprio |= linux.IORING_RECVSEND_POLL_FIRST;
    shard.launch(op, sqe);
    return op;
}

/// The same into a buffer that the kernel picks when something has come: the completion names it.
/// At most `length` bytes, and at most what such a buffer holds.
pub fn recvProvided(shard: *Shard, task: *Task, fd: i32, length: usize, drained: bool) Error!*Op {
    const op = try shard.ops.take(task, shard);
    op.selects_buffer = true;
    var sqe: Sqe = undefined;
    sqe.prep_recv(fd, &.{}, 0);
    sqe.len = @intCast(@min(length, provided_buffers.size));
    sqe.flags |= linux.IOSQE_BUFFER_SELECT;
    sqe.buf_index = provided_buffers.group;
    if (drained) sqe.ioprio |= linux.IORING_RECVSEND_POLL_FIRST;
    shard.launch(op, sqe);
    return op;
}

pub fn send(shard: *Shard, task: *Task, fd: i32, buffer: []const u8, flags: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_send(fd, buffer[0..@min(buffer.len, fs.transfer_max)], flags | linux.MSG.NOSIGNAL);
    shard.launch(op, sqe);
    return op;
}

/// The buffer goes to the network card as it is (6.0); the op ends when nothing refers to it any more.
pub fn sendZeroCopy(shard: *Shard, task: *Task, fd: i32, buffer: []const u8, flags: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_send_zc(fd, buffer[0..@min(buffer.len, fs.transfer_max)], flags | linux.MSG.NOSIGNAL, 0);
    shard.launch(op, sqe);
    return op;
}

pub fn shutdown(shard: *Shard, task: *Task, fd: i32, how: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_shutdown(fd, how);
    shard.launch(op, sqe);
    return op;
}

/// `message` and all it points to are the caller's until the op has ended.
pub fn recvMessage(shard: *Shard, task: *Task, fd: i32, message: *linux.msghdr, flags: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    op.unclaimed = .{ .close_passed = message };
    var sqe: Sqe = undefined;
    sqe.prep_recvmsg(fd, message, flags);
    shard.launch(op, sqe);
    return op;
}

pub fn sendMessage(shard: *Shard, task: *Task, fd: i32, message: *const linux.msghdr_const, flags: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_sendmsg(fd, message, flags | linux.MSG.NOSIGNAL);
    shard.launch(op, sqe);
    return op;
}

pub fn poll(shard: *Shard, task: *Task, fd: i32, events: u32) Error!*Op {
    const op = try shard.ops.take(task, shard);
    var sqe: Sqe = undefined;
    sqe.prep_poll_add(fd, events);
    shard.launch(op, sqe);
    return op;
}
