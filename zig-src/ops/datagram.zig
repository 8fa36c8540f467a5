//! sendto(2) and recvfrom(2) as operations, and batches of UDP datagrams in one buffer (UDP_SEGMENT, 4.18;
//! UDP_GRO, 5.0): a message of one piece and one address, which lies here until the operation's slot is
//! free. On the shard's thread only.

const std = @import("std");
const linux = std.os.linux;
const fs = @import("fs.zig");
const gpa = @import("../base/memory.zig").gpa;
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;

const sol_udp = 17;
const udp_segment = 103;
const udp_gro = 104;
const header_bytes = std.mem.alignForward(usize, @sizeOf(linux.cmsghdr), linux.cmsg_align);
const control_bytes = header_bytes + 8;

const Datagram = struct {
    source: Source = .{ .cancel = null, .release = release },
    message: linux.msghdr,
    piece: std.posix.iovec,
    address: linux.sockaddr.storage,
    /// The caller's, of a receive: how long the sender's address is, and one datagram of a batch.
    length: ?*u32 = null,
    segment: ?*u32 = null,
    control: [control_bytes]u8 align(8) = @splat(0),

    fn create(bytes: [*]u8, size: usize, name: ?*anyopaque, name_size: u32) error{OutOfMemory}!*Datagram {
        const self = try gpa.create(Datagram);
        self.* = .{
            .message = std.mem.zeroes(linux.msghdr),
            .piece = .{ .base = bytes, .len = @min(size, fs.transfer_max) },
            .address = undefined,
        };
        self.message.name = @ptrCast(@alignCast(name));
        self.message.namelen = name_size;
        self.message.iov = (&self.piece)[0..1];
        self.message.iovlen = 1;
        return self;
    }

    fn release(source: *Source, op: *const Op, taken: bool) void {
        const self: *Datagram = @fieldParentPtr("source", source);
        if (taken and op.result >= 0) {
            if (self.length) |length| length.* = self.message.namelen;
            if (self.segment) |segment| segment.* = self.segmentOf(op.result);
        }
        gpa.destroy(self);
    }

    /// One of a batch; of a single datagram all that came.
    fn segmentOf(self: *const Datagram, received: i32) u32 {
        if (self.message.controllen < header_bytes + 4) return @intCast(received);
        const header = std.mem.bytesToValue(linux.cmsghdr, self.control[0..@sizeOf(linux.cmsghdr)]);
        if (header.level != sol_udp or header.type != udp_gro) return @intCast(received);
        return @intCast(std.mem.bytesToValue(i32, self.control[header_bytes..][0..4]));
    }
};

/// `address` is copied; an empty one is that of the connected peer. `segment`: the kernel makes datagrams of so
/// many bytes of it; 0: it is one.
pub fn sendTo(
    shard: *Shard,
    task: *Task,
    fd: i32,
    data: []const u8,
    flags: u32,
    address: []const u8,
    segment: u16,
) fs.Error!*Op {
    const self: *Datagram = try .create(@constCast(data.ptr), data.len, null, 0);
    errdefer gpa.destroy(self);
    @memcpy(std.mem.asBytes(&self.address)[0..address.len], address);
    if (address.len > 0) self.message.name = @ptrCast(&self.address);
    self.message.namelen = @intCast(address.len);
    if (segment > 0) {
        const header: linux.cmsghdr = .{ .len = header_bytes + 2, .level = sol_udp, .type = udp_segment };
        @memcpy(self.control[0..@sizeOf(linux.cmsghdr)], std.mem.asBytes(&header));
        @memcpy(self.control[header_bytes..][0..2], std.mem.asBytes(&segment));
        self.message.control = &self.control;
        self.message.controllen = control_bytes;
    }
    const op = try shard.ops.take(task, shard);
    op.source = &self.source;
    var sqe: Sqe = undefined;
    sqe.prep_sendmsg(fd, @ptrCast(&self.message), flags | linux.MSG.NOSIGNAL);
    shard.launch(op, sqe);
    return op;
}

/// Whether the kernel may give several datagrams of one sender in one buffer. errno, or 0.
pub fn setBatches(fd: i32, on: bool) linux.E {
    const value: u32 = @intFromBool(on);
    return linux.errno(linux.setsockopt(fd, sol_udp, udp_gro, std.mem.asBytes(&value), 4));
}

/// `length` has the room of `address`, and then the size of the sender's; `segment`, if wanted, gets the size of
/// one datagram of a batch.
pub fn recvFrom(
    shard: *Shard,
    task: *Task,
    fd: i32,
    room: []u8,
    flags: u32,
    address: ?*anyopaque,
    length: ?*u32,
    segment: ?*u32,
) fs.Error!*Op {
    const self: *Datagram = try .create(room.ptr, room.len, address, if (length) |size| size.* else 0);
    errdefer gpa.destroy(self);
    self.length = length;
    self.segment = segment;
    if (segment != null) {
        self.message.control = &self.control;
        self.message.controllen = control_bytes;
    }
    const op = try shard.ops.take(task, shard);
    op.source = &self.source;
    var sqe: Sqe = undefined;
    sqe.prep_recvmsg(fd, &self.message, flags);
    shard.launch(op, sqe);
    return op;
}
