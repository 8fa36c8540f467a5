//! Addresses and options of sockets. The functions use system calls on the descriptor, never an
//! object of Python's socket module, which would make the socket nonblocking for all its holders if
//! a default timeout is set.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const raiseErrno = @import("../cpython/callbacks.zig").raiseErrno;
const Descriptor = @import("descriptor.zig").Descriptor;
const Object = api.Object;
const py = &api.py;

const option_room = 1024;

/// sockaddr(peer) -> bytes: its own address, or the other end's.
pub fn sockaddr(instance: *Object, peer: *Object) callconv(.c) ?*Object {
    const self = Descriptor.Type.body(instance);
    const which = object.unsigned(peer, "peer", 1) orelse return null;
    if (!self.acquire()) return null;
    defer self.release();
    var room: linux.sockaddr.storage = undefined;
    var len: linux.socklen_t = @sizeOf(linux.sockaddr.storage);
    const rc = if (which == 1)
        linux.getpeername(self.fd, @ptrCast(&room), &len)
    else
        linux.getsockname(self.fd, @ptrCast(&room), &len);
    if (linux.errno(rc) != .SUCCESS) return raiseErrno(@backingInt(linux.errno(rc)), null, null);
    return py.PyBytes_FromStringAndSize(std.mem.asBytes(&room), @intCast(@min(len, @sizeOf(linux.sockaddr.storage))));
}

/// getsockopt(level, option, size) -> bytes; no more than `size`.
pub fn getsockopt(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("getsockopt", count, 3)) return null;
    const self = Descriptor.Type.body(instance);
    const level = object.unsigned(arguments[0], "level", std.math.maxInt(i32)) orelse return null;
    const option = object.unsigned(arguments[1], "option", std.math.maxInt(i32)) orelse return null;
    var len: linux.socklen_t = @intCast(object.unsigned(arguments[2], "size", option_room) orelse return null);
    var room: [option_room]u8 align(8) = undefined;
    if (!self.acquire()) return null;
    defer self.release();
    const rc = linux.getsockopt(self.fd, @intCast(level), @intCast(option), &room, &len);
    if (linux.errno(rc) != .SUCCESS) return raiseErrno(@backingInt(linux.errno(rc)), null, null);
    return py.PyBytes_FromStringAndSize(&room, @intCast(@min(len, room.len)));
}

/// setsockopt(level, option, value: bytes)
pub fn setsockopt(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("setsockopt", count, 3)) return null;
    const self = Descriptor.Type.body(instance);
    const level = object.unsigned(arguments[0], "level", std.math.maxInt(i32)) orelse return null;
    const option = object.unsigned(arguments[1], "option", std.math.maxInt(i32)) orelse return null;
    const value = py.PyBytes_AsString(arguments[2]) orelse return null;
    const size = py.PyBytes_Size(arguments[2]);
    if (!self.acquire()) return null;
    defer self.release();
    const rc = linux.setsockopt(self.fd, @intCast(level), @intCast(option), value, @intCast(size));
    if (linux.errno(rc) != .SUCCESS) return raiseErrno(@backingInt(linux.errno(rc)), null, null);
    return api.none();
}
