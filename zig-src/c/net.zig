//! The C ABI of sockets. Any thread may call the functions that return a descriptor at once; only
//! poll functions may start operations.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const datagram = @import("../ops/datagram.zig");
const net = @import("../ops/net.zig");
const options_module = @import("../base/options.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const launch = @import("common.zig").launch;
const Shard = @import("../scheduler/shard.zig").Shard;
const sliceOf = @import("common.zig").sliceOf;

pub export fn spargio_tcp_listen(address: ?[*:0]const u8, port: u16, backlog: u32, out: ?*i32) i32 {
    return listen(address, port, .{ .backlog = backlog }, out);
}

/// Mirrors `spargio_listen_options`.
pub const ListenOptions = extern struct {
    struct_size: u32 = @sizeOf(ListenOptions),
    backlog: u32 = 4096,
    flags: u32 = 0,
    reserved: u32 = 0,
};

pub const listen_reuse_port = 1;
pub const listen_v6_only = 2;
pub const listen_dual_stack = 4;

pub export fn spargio_tcp_listen_with(
    address: ?[*:0]const u8,
    port: u16,
    given: ?*const ListenOptions,
    out: ?*i32,
) i32 {
    const pointer = given orelse return listen(address, port, .{ .backlog = (ListenOptions{}).backlog }, out);
    const read = options_module.read(ListenOptions, .{}, pointer) catch |err| return fail(err);
    const both = listen_v6_only | listen_dual_stack;
    if (read.flags & ~@as(u32, listen_reuse_port | both) != 0 or read.flags & both == both or read.reserved != 0)
        return fail(error.Invalid);
    return listen(address, port, .{
        .backlog = read.backlog,
        .reuse_port = read.flags & listen_reuse_port != 0,
        .v6_only = if (read.flags & both != 0) read.flags & listen_v6_only != 0 else null,
    }, out);
}

fn listen(address: ?[*:0]const u8, port: u16, how: net.Listening, out: ?*i32) i32 {
    const name = address orelse return fail(error.Invalid);
    const descriptor = out orelse return fail(error.Invalid);
    const parsed = net.Address.parse(name, port) catch |err| return fail(err);
    const fd = net.listen(&parsed, how);
    if (fd < 0) return errors.fromErrno(-fd);
    descriptor.* = fd;
    return errors.ok;
}

pub export fn spargio_local_port(fd: i32, port: ?*u16) i32 {
    const out = port orelse return fail(error.Invalid);
    const found = net.localPort(fd);
    if (found < 0) return errors.fromErrno(-found);
    out.* = @intCast(found);
    return errors.ok;
}

pub export fn spargio_accept(fd: i32, op: ?*u64) i32 {
    return launch(op, net.accept, .{fd});
}

pub export fn spargio_accept_from(fd: i32, address: ?*anyopaque, length: ?*u32, op: ?*u64) i32 {
    const room = address orelse return fail(error.Invalid);
    const size = length orelse return fail(error.Invalid);
    return launch(op, net.acceptFrom, .{ fd, @as(*linux.sockaddr, @ptrCast(@alignCast(room))), size });
}

pub export fn spargio_tcp_connect(address: ?[*:0]const u8, port: u16, op: ?*u64) i32 {
    const name = address orelse return fail(error.Invalid);
    if (currentTask() == null) return fail(error.NotOnShard);
    const parsed = net.Address.parse(name, port) catch |err| return fail(err);
    const fd = net.socket(&parsed);
    if (fd < 0) return errors.fromErrno(-fd);
    const status = launch(op, net.connectNew, .{ fd, @as([]const u8, parsed.bytes()) });
    if (status != errors.ok) _ = linux.close(fd);
    return status;
}

/// No flag of recv(2).
pub const recv_drained = 1 << 28;

pub export fn spargio_recv(fd: i32, buffer: ?[*]u8, length: u32, flags: i32, op: ?*u64) i32 {
    const slice = sliceOf([]u8, buffer, length) orelse return fail(error.Invalid);
    const bits: u32 = @bitCast(flags);
    return launch(op, net.recv, .{ fd, slice, bits & ~@as(u32, recv_drained), bits & recv_drained != 0 });
}

pub export fn spargio_send(fd: i32, buffer: ?[*]const u8, length: u32, flags: i32, op: ?*u64) i32 {
    const slice = sliceOf([]const u8, buffer, length) orelse return fail(error.Invalid);
    return launch(op, net.send, .{ fd, slice, @as(u32, @bitCast(flags)) });
}

pub export fn spargio_send_zc(fd: i32, buffer: ?[*]const u8, length: u32, flags: i32, op: ?*u64) i32 {
    const slice = sliceOf([]const u8, buffer, length) orelse return fail(error.Invalid);
    const shard = Shard.current() orelse return fail(error.NotOnShard);
    const bits: u32 = @bitCast(flags);
    if (!shard.scheduler.info.can().send_zc) return launch(op, net.send, .{ fd, slice, bits });
    return launch(op, net.sendZeroCopy, .{ fd, slice, bits });
}

pub export fn spargio_sendto(
    fd: i32,
    buffer: ?[*]const u8,
    length: u32,
    flags: i32,
    address: ?[*]const u8,
    address_length: u32,
    op: ?*u64,
) i32 {
    return sendDatagrams(fd, buffer, length, @bitCast(flags), 0, address, address_length, op);
}

pub export fn spargio_udp_send_batch(
    fd: i32,
    buffer: ?[*]const u8,
    length: u32,
    segment: u16,
    address: ?[*]const u8,
    address_length: u32,
    op: ?*u64,
) i32 {
    if (segment == 0) return fail(error.Invalid);
    return sendDatagrams(fd, buffer, length, 0, segment, address, address_length, op);
}

/// `segment`: the size of each but the last, or 0 for one datagram.
fn sendDatagrams(
    fd: i32,
    buffer: ?[*]const u8,
    length: u32,
    flags: u32,
    segment: u16,
    address: ?[*]const u8,
    address_length: u32,
    op: ?*u64,
) i32 {
    const data = sliceOf([]const u8, buffer, length) orelse return fail(error.Invalid);
    const name = sliceOf([]const u8, address, address_length) orelse return fail(error.Invalid);
    if (name.len > @sizeOf(linux.sockaddr.storage)) return fail(error.Invalid);
    return launch(op, datagram.sendTo, .{ fd, data, flags, name, segment });
}

pub export fn spargio_udp_set_batches(fd: i32, on: i32) i32 {
    const errno = datagram.setBatches(fd, on != 0);
    return if (errno == .SUCCESS) errors.ok else errors.fromErrno(@backingInt(errno));
}

pub export fn spargio_udp_recv_batch(
    fd: i32,
    buffer: ?[*]u8,
    length: u32,
    segment: ?*u32,
    address: ?*anyopaque,
    address_length: ?*u32,
    op: ?*u64,
) i32 {
    const room = sliceOf([]u8, buffer, length) orelse return fail(error.Invalid);
    const size = segment orelse return fail(error.Invalid);
    if ((address == null) != (address_length == null)) return fail(error.Invalid);
    return launch(op, datagram.recvFrom, .{ fd, room, 0, address, address_length, size });
}

pub export fn spargio_recvfrom(
    fd: i32,
    buffer: ?[*]u8,
    length: u32,
    flags: i32,
    address: ?*anyopaque,
    address_length: ?*u32,
    op: ?*u64,
) i32 {
    const room = sliceOf([]u8, buffer, length) orelse return fail(error.Invalid);
    if ((address == null) != (address_length == null)) return fail(error.Invalid);
    const bits: u32 = @bitCast(flags);
    return launch(op, datagram.recvFrom, .{ fd, room, bits, address, address_length, null });
}

pub export fn spargio_shutdown(fd: i32, how: i32, op: ?*u64) i32 {
    if (how < 0 or how > 2) return fail(error.Invalid);
    return launch(op, net.shutdown, .{ fd, @as(u32, @intCast(how)) });
}

/// A sockaddr_un and how much of it counts.
const UnixName = struct {
    address: linux.sockaddr.un align(4),
    len: usize,

    fn parse(given: ?[*:0]const u8) errors.Error!UnixName {
        const path = std.mem.span(given orelse return error.Invalid);
        var self: UnixName = .{ .address = std.mem.zeroes(linux.sockaddr.un), .len = 0 };
        self.address.family = linux.AF.UNIX;
        // A path ends with a zero byte, an abstract name with its length.
        if (path.len == 0 or path.len >= self.address.path.len) return error.Invalid;
        @memcpy(self.address.path[0..path.len], path);
        const start = @offsetOf(linux.sockaddr.un, "path");
        self.len = start + path.len + 1;
        if (path[0] == '@') {
            self.address.path[0] = 0;
            self.len = start + path.len;
        }
        return self;
    }

    fn bytes(self: *const UnixName) []align(4) const u8 {
        const whole: *align(4) const [@sizeOf(linux.sockaddr.un)]u8 = @ptrCast(&self.address);
        return whole[0..self.len];
    }
};

pub export fn spargio_unix_listen(path: ?[*:0]const u8, backlog: u32, out: ?*i32) i32 {
    const descriptor = out orelse return fail(error.Invalid);
    const name = UnixName.parse(path) catch |err| return fail(err);
    const fd = net.bind(name.bytes(), linux.SOCK.STREAM);
    if (fd < 0) return errors.fromErrno(-fd);
    const errno = linux.errno(linux.listen(fd, backlog));
    if (errno != .SUCCESS) {
        _ = linux.close(fd);
        return errors.fromErrno(@backingInt(errno));
    }
    descriptor.* = fd;
    return errors.ok;
}

pub export fn spargio_unix_connect(path: ?[*:0]const u8, op: ?*u64) i32 {
    if (currentTask() == null) return fail(error.NotOnShard);
    const name = UnixName.parse(path) catch |err| return fail(err);
    const rc = linux.socket(linux.AF.UNIX, linux.SOCK.STREAM | linux.SOCK.CLOEXEC, 0);
    if (linux.errno(rc) != .SUCCESS) return errors.fromErrno(@backingInt(linux.errno(rc)));
    const fd: i32 = @intCast(rc);
    const status = launch(op, net.connectNew, .{ fd, @as([]const u8, name.bytes()) });
    if (status != errors.ok) _ = linux.close(fd);
    return status;
}

pub export fn spargio_udp_bind(address: ?[*:0]const u8, port: u16, out: ?*i32) i32 {
    const name = address orelse return fail(error.Invalid);
    const descriptor = out orelse return fail(error.Invalid);
    const parsed = net.Address.parse(name, port) catch |err| return fail(err);
    const fd = net.bind(parsed.bytes(), linux.SOCK.DGRAM);
    if (fd < 0) return errors.fromErrno(-fd);
    descriptor.* = fd;
    return errors.ok;
}

pub export fn spargio_connect(fd: i32, address: ?[*]const u8, length: u32, op: ?*u64) i32 {
    const bytes = address orelse return fail(error.Invalid);
    if (length < @sizeOf(linux.sa_family_t) or length > @sizeOf(linux.sockaddr.storage)) return fail(error.Invalid);
    return launch(op, net.connect, .{ fd, bytes[0..length] });
}

pub export fn spargio_sendmsg(fd: i32, message: ?*const linux.msghdr_const, flags: i32, op: ?*u64) i32 {
    const given = message orelse return fail(error.Invalid);
    return launch(op, net.sendMessage, .{ fd, given, @as(u32, @bitCast(flags)) });
}

pub export fn spargio_recvmsg(fd: i32, message: ?*linux.msghdr, flags: i32, op: ?*u64) i32 {
    const given = message orelse return fail(error.Invalid);
    return launch(op, net.recvMessage, .{ fd, given, @as(u32, @bitCast(flags)) });
}

pub export fn spargio_poll(fd: i32, events: u32, op: ?*u64) i32 {
    return launch(op, net.poll, .{ fd, events });
}
