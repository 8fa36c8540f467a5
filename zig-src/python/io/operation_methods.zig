//! The operations that Python calls often, as methods of a descriptor and functions of the module.

const std = @import("std");
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const AcceptMultishot = @import("accept_multishot.zig").AcceptMultishot;
const Kind = @import("operation.zig").Kind;
const PyOp = @import("operation.zig").PyOp;
const RecvMultishot = @import("recv_multishot.zig").RecvMultishot;
const Object = api.Object;

const offset_max = std.math.maxInt(i64);

// ---- methods of Descriptor ----

fn recv(self: *Object, size: *Object) callconv(.c) ?*Object {
    return (PyOp.withBytes(.recv, self, size) orelse return null).asObject();
}

fn readExactly(self: *Object, size: *Object) callconv(.c) ?*Object {
    return (PyOp.withBytes(.read_exactly, self, size) orelse return null).asObject();
}

fn recvInto(self: *Object, buffer: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.recv_into, self, buffer, api.buffer_writable) orelse return null).asObject();
}

fn send(self: *Object, data: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.send, self, data, api.buffer_simple) orelse return null).asObject();
}

fn writeAll(self: *Object, data: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.write_all, self, data, api.buffer_simple) orelse return null).asObject();
}

fn writeAllZeroCopy(self: *Object, data: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.write_all_zero_copy, self, data, api.buffer_simple) orelse return null).asObject();
}

fn accept(self: *Object, _: ?*Object) callconv(.c) ?*Object {
    return (PyOp.create(.accept, self) orelse return null).asObject();
}

fn close(self: *Object, _: ?*Object) callconv(.c) ?*Object {
    return (PyOp.create(.close, self) orelse return null).asObject();
}

fn shutdown(self: *Object, how: *Object) callconv(.c) ?*Object {
    const value = object.unsigned(how, "how", 2) orelse return null;
    const op = PyOp.create(.shutdown, self) orelse return null;
    op.argument = value;
    return op.asObject();
}

fn fsync(self: *Object, data_only: *Object) callconv(.c) ?*Object {
    const value = object.unsigned(data_only, "data_only", 1) orelse return null;
    const op = PyOp.create(.fsync, self) orelse return null;
    op.argument = value;
    return op.asObject();
}

fn readAt(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("read_at", count, 2)) return null;
    const offset = object.unsigned(arguments[0], "offset", offset_max) orelse return null;
    const op = PyOp.withBytes(.read_at, self, arguments[1]) orelse return null;
    op.argument = offset;
    return op.asObject();
}

fn atWith(
    kind: Kind,
    comptime name: []const u8,
    flags: c_int,
    self: *Object,
    arguments: [*]const *Object,
    count: isize,
) ?*Object {
    if (!object.arity(name, count, 2)) return null;
    const offset = object.unsigned(arguments[0], "offset", offset_max) orelse return null;
    const op = PyOp.withBuffer(kind, self, arguments[1], flags) orelse return null;
    op.argument = offset;
    return op.asObject();
}

fn readAtInto(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    return atWith(.read_at_into, "read_at_into", api.buffer_writable, self, arguments, count);
}

fn writeAt(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    return atWith(.write_at, "write_at", api.buffer_simple, self, arguments, count);
}

fn writeAllAt(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    return atWith(.write_all_at, "write_all_at", api.buffer_simple, self, arguments, count);
}

pub const descriptor_methods = [_]api.MethodDef{
    object.method("recv", &recv, api.meth_one, "($self, max_bytes, /)", "An awaitable of bytes, b'' at the end."),
    object.method("read_exactly", &readExactly, api.meth_one, "($self, size, /)", "An awaitable of so many bytes."),
    object.method(
        "recv_into",
        &recvInto,
        api.meth_one,
        "($self, buffer, /)",
        "An awaitable of the number of bytes.",
    ),
    object.method("send", &send, api.meth_one, "($self, data, /)", "An awaitable of the number of bytes taken."),
    object.method("write_all", &writeAll, api.meth_one, "($self, data, /)", "An awaitable."),
    object.method("write_all_zero_copy", &writeAllZeroCopy, api.meth_one, "($self, data, /)", "An awaitable."),
    object.method(
        "incoming",
        &AcceptMultishot.make,
        api.meth_noargs,
        "($self, /)",
        "An awaitable of the next connection, again and again.",
    ),
    object.method(
        "segments",
        &RecvMultishot.make,
        api.meth_noargs,
        "($self, /)",
        "An awaitable of the next piece, again and again.",
    ),
    object.method("accept", &accept, api.meth_noargs, "($self, /)", "An awaitable of a Descriptor."),
    object.method("close", &close, api.meth_noargs, "($self, /)", "An awaitable; idempotent."),
    object.method("shutdown", &shutdown, api.meth_one, "($self, how, /)", "An awaitable."),
    object.method("fsync", &fsync, api.meth_one, "($self, data_only, /)", "An awaitable."),
    object.method("read_at", &readAt, api.meth_fastcall, "($self, offset, size, /)", "An awaitable of bytes."),
    object.method(
        "read_at_into",
        &readAtInto,
        api.meth_fastcall,
        "($self, offset, buffer, /)",
        "An awaitable of the number of bytes.",
    ),
    object.method(
        "write_at",
        &writeAt,
        api.meth_fastcall,
        "($self, offset, data, /)",
        "An awaitable of the number of bytes taken.",
    ),
    object.method("write_all_at", &writeAllAt, api.meth_fastcall, "($self, offset, data, /)", "An awaitable."),
};

// ---- functions of the module ----

pub fn sleep(_: ?*Object, duration: *Object) callconv(.c) ?*Object {
    const ns = object.unsigned(duration, "duration_ns", std.math.maxInt(i64)) orelse return null;
    const op = PyOp.create(.sleep, null) orelse return null;
    op.argument = ns;
    return op.asObject();
}

pub fn nop(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    return (PyOp.create(.nop, null) orelse return null).asObject();
}

/// open(path: bytes, name, flags, mode): a Descriptor. `name` is what errors call it.
pub fn open(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("open", count, 4)) return null;
    const flags = object.unsigned(arguments[2], "flags", std.math.maxInt(i32)) orelse return null;
    const mode = object.unsigned(arguments[3], "permissions", 0o7777) orelse return null;
    const op = PyOp.create(.open, null) orelse return null;
    if (!op.lend(arguments[0], api.buffer_simple)) return op.abandon();
    op.held = api.ref(arguments[1]);
    op.argument = flags;
    op.mode = @intCast(mode);
    return op.asObject();
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "open",
        &open,
        api.meth_fastcall,
        "(path, name, flags, mode, /)",
        "An awaitable of the Descriptor.",
    ),
    object.method("sleep", &sleep, api.meth_one, "(duration_ns, /)", "An awaitable."),
    object.method(
        "nop",
        &nop,
        api.meth_noargs,
        "()",
        "An awaitable that goes through the ring and does nothing.",
    ),
};
