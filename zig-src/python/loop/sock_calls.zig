//! Transfers over a socket of the caller's, for `sock_recv` and its kin: each is tried once and never waits.
//! None says that it would have to. On the loop's thread.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const receive = @import("receive.zig");
const raiseErrno = @import("../cpython/callbacks.zig").raiseErrno;
const Loop = @import("loop.zig").Loop;
const Name = @import("addresses.zig").Name;
const Object = api.Object;
const py = &api.py;

const Received = union(enum) { count: usize, blocked, failed };

fn receiveNow(fd: u64, memory: []u8, name: ?*Name) Received {
    if (name) |one| one.len = one.bytes.len;
    const address: ?*linux.sockaddr = if (name) |one| @ptrCast(&one.bytes) else null;
    const length = if (name) |one| &one.len else null;
    const rc = linux.recvfrom(@intCast(fd), memory.ptr, memory.len, linux.MSG.DONTWAIT, address, length);
    switch (linux.errno(rc)) {
        .SUCCESS => {},
        .AGAIN, .INTR => return .blocked,
        else => |errno| {
            _ = raiseErrno(@backingInt(errno), null, null);
            return .failed;
        },
    }
    if (name) |one| one.len = @min(one.len, one.bytes.len);
    return .{ .count = rc };
}

/// Bytes, or None.
fn receiveBytes(loop: *Loop, fd: u64, wanted: usize, name: ?*Name) ?*Object {
    if (wanted > receive.large_bytes) return receiveLarge(fd, wanted, name);
    const memory = loop.largeBuffer() orelse return py.PyErr_NoMemory();
    return switch (receiveNow(fd, memory[0..wanted], name)) {
        .count => |count| py.PyBytes_FromStringAndSize(memory.ptr, @intCast(count)),
        .blocked => api.none(),
        .failed => null,
    };
}

/// More than fits into the loop's buffer.
fn receiveLarge(fd: u64, wanted: usize, name: ?*Name) ?*Object {
    var data: ?*Object = py.PyBytes_FromStringAndSize(null, @intCast(wanted)) orelse return null;
    switch (receiveNow(fd, py.PyBytes_AsString(data.?).?[0..wanted], name)) {
        .count => |count| {
            _ = py._PyBytes_Resize(&data, @intCast(count)); // Null without memory.
            return data;
        },
        .blocked => {
            api.drop(&data);
            return api.none();
        },
        .failed => {
            py.Py_DecRef(data);
            return null;
        },
    }
}

/// A number, or None.
fn receiveInto(fd: u64, target: *Object, wanted: ?usize, name: ?*Name) ?*Object {
    var view: api.Buffer = .{};
    if (py.PyObject_GetBuffer(target, &view, api.buffer_writable) != 0) return null;
    const size: usize = @intCast(view.len);
    const count = wanted orelse size;
    const result: Received = if (count <= size)
        receiveNow(fd, if (size == 0) &.{} else view.buf.?[0..count], name)
    else
        tooLong();
    py.PyBuffer_Release(&view);
    return switch (result) {
        .count => |received| py.PyLong_FromLongLong(@intCast(received)),
        .blocked => api.none(),
        .failed => null,
    };
}

fn tooLong() Received {
    _ = api.raise(py.PyExc_ValueError.*, "nbytes is greater than the length of the buffer");
    return .failed;
}

/// (first, address), or None instead of None; takes over the reference.
fn withAddress(loop: *Loop, first: *Object, name: *const Name) ?*Object {
    if (first == py._Py_NoneStruct) return first;
    const tuple = py.PyTuple_New(2) orelse {
        py.Py_DecRef(first);
        return null;
    };
    _ = py.PyTuple_SetItem(tuple, 0, first);
    const address = loop.addressOf(name) orelse {
        py.Py_DecRef(tuple);
        return null;
    };
    _ = py.PyTuple_SetItem(tuple, 1, address);
    return tuple;
}

fn sizeOf(given: *Object) ?usize {
    const size = object.integer(given, "size") orelse return null;
    if (size >= 0) return @intCast(size);
    _ = api.raise(py.PyExc_ValueError.*, "negative buffersize in recv");
    return null;
}

const fd_max = std.math.maxInt(i32);

/// _recv_now(fd, size)
pub fn recv(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_recv_now", count, 2)) return null;
    const fd = object.unsigned(args[0], "fd", fd_max) orelse return null;
    const size = sizeOf(args[1]) orelse return null;
    return receiveBytes(Loop.of(instance), fd, size, null);
}

/// _recvfrom_now(fd, size)
pub fn recvfrom(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_recvfrom_now", count, 2)) return null;
    const fd = object.unsigned(args[0], "fd", fd_max) orelse return null;
    const size = sizeOf(args[1]) orelse return null;
    var name: Name = .{};
    const loop = Loop.of(instance);
    return withAddress(loop, receiveBytes(loop, fd, size, &name) orelse return null, &name);
}

/// _recv_into_now(fd, buffer)
pub fn recvInto(_: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_recv_into_now", count, 2)) return null;
    const fd = object.unsigned(args[0], "fd", fd_max) orelse return null;
    return receiveInto(fd, args[1], null, null);
}

/// _recvfrom_into_now(fd, buffer, size); 0 is all of it
pub fn recvfromInto(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_recvfrom_into_now", count, 3)) return null;
    const fd = object.unsigned(args[0], "fd", fd_max) orelse return null;
    const size = sizeOf(args[2]) orelse return null;
    var name: Name = .{};
    const received = receiveInto(fd, args[1], if (size == 0) null else size, &name) orelse return null;
    return withAddress(Loop.of(instance), received, &name);
}

/// _send_now(fd, data, offset): the offset of what is left, or None if all was sent.
pub fn send(_: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_send_now", count, 3)) return null;
    const fd = object.unsigned(args[0], "fd", fd_max) orelse return null;
    var offset: usize = @intCast(object.unsigned(args[2], "offset", std.math.maxInt(i64)) orelse return null);
    var view: api.Buffer = .{};
    if (py.PyObject_GetBuffer(args[1], &view, api.buffer_simple) != 0) return null;
    const memory: []const u8 = if (view.len == 0) "" else view.buf.?[0..@intCast(view.len)];
    const errno = sendFrom(@intCast(fd), memory, &offset);
    py.PyBuffer_Release(&view);
    return switch (errno) {
        .SUCCESS => api.none(),
        .AGAIN => py.PyLong_FromLongLong(@intCast(offset)),
        else => raiseErrno(@backingInt(errno), null, null),
    };
}

fn sendFrom(fd: i32, memory: []const u8, offset: *usize) linux.E {
    while (true) {
        const left = memory[@min(offset.*, memory.len)..];
        const rc = linux.sendto(fd, left.ptr, left.len, linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL, null, 0);
        switch (linux.errno(rc)) {
            .SUCCESS => offset.* += rc,
            .INTR => continue,
            else => |errno| return errno,
        }
        if (offset.* >= memory.len) return .SUCCESS;
    }
}
