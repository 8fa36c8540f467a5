//! The C ABI of operations on names, vectors and sockets of any family.

const std = @import("std");
const linux = std.os.linux;
const c_api = @import("api.zig");
const launch = c_api.launch;
const offset_max = c_api.offset_max;
const errors = @import("../base/errors.zig");
const fixed = @import("../ring/registered_buffers.zig");
const fs = @import("../ops/fs.zig");
const limits = @import("../base/limits.zig");
const net = @import("../ops/net.zig");
const paths = @import("../ops/paths.zig");
const Shard = @import("../scheduler/shard.zig").Shard;

fn fail(err: errors.Error) i32 {
    return errors.fromError(err);
}

/// For splice: the descriptor's own position, or a pipe.
const own_position = std.math.maxInt(u64);

pub export fn spargio_mkdir(path: ?[*:0]const u8, mode: u32, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, paths.mkdir, .{ std.mem.span(name), mode });
}

pub export fn spargio_rmdir(path: ?[*:0]const u8, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, paths.unlink, .{ std.mem.span(name), @as(u32, linux.AT.REMOVEDIR) });
}

pub export fn spargio_unlink(path: ?[*:0]const u8, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    return launch(op, paths.unlink, .{ std.mem.span(name), @as(u32, 0) });
}

pub export fn spargio_rename(from: ?[*:0]const u8, to: ?[*:0]const u8, flags: u32, op: ?*u64) i32 {
    const old = from orelse return fail(error.Invalid);
    const new = to orelse return fail(error.Invalid);
    return launch(op, paths.rename, .{ std.mem.span(old), std.mem.span(new), flags });
}

pub export fn spargio_link(existing: ?[*:0]const u8, path: ?[*:0]const u8, op: ?*u64) i32 {
    const old = existing orelse return fail(error.Invalid);
    const new = path orelse return fail(error.Invalid);
    return launch(op, paths.link, .{ std.mem.span(old), std.mem.span(new) });
}

pub export fn spargio_symlink(target: ?[*:0]const u8, path: ?[*:0]const u8, op: ?*u64) i32 {
    const old = target orelse return fail(error.Invalid);
    const new = path orelse return fail(error.Invalid);
    return launch(op, paths.symlink, .{ std.mem.span(old), std.mem.span(new) });
}

pub export fn spargio_statx(path: ?[*:0]const u8, flags: u32, mask: u32, out: ?*linux.Statx, op: ?*u64) i32 {
    const name = path orelse return fail(error.Invalid);
    const buffer = out orelse return fail(error.Invalid);
    return launch(op, paths.statx, .{ std.mem.span(name), flags, mask, buffer });
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

pub export fn spargio_buffer_register(memory: ?[*]u8, length: usize, place: ?*u32) i32 {
    const out = place orelse return fail(error.Invalid);
    const start = memory orelse return fail(error.Invalid);
    if (length == 0 or length > 1 << 30) return fail(error.Invalid);
    if (c_api.currentTask() == null) return fail(error.NotOnShard);
    const shard = Shard.current().?;
    const slot = shard.fixed.register(shard.ring.registrable(), start[0..length]);
    if (slot < 0) return errors.fromErrno(-slot);
    out.* = @intCast(slot);
    return errors.ok;
}

pub export fn spargio_buffer_unregister(place: u32) i32 {
    if (c_api.currentTask() == null) return fail(error.NotOnShard);
    if (place >= fixed.slots) return fail(error.Invalid);
    const shard = Shard.current().?;
    shard.unregister(place);
    return errors.ok;
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
    if (c_api.currentTask() == null) return fail(error.NotOnShard);
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
