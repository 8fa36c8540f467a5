//! The functions under spargio.signal.

const std = @import("std");
const api = @import("cpython/api.zig");
const errors = @import("../base/errors.zig");
const object = @import("cpython/object.zig");
const raiseCode = @import("cpython/callbacks.zig").raiseCode;
const signals = @import("../base/signals.zig");
const Object = api.Object;
const py = &api.py;

/// signal_add(number, eventfd) -> key
pub fn add(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("signal_add", count, 2)) return null;
    const number = object.unsigned(arguments[0], "signal", 64) orelse return null;
    const fd = object.unsigned(arguments[1], "fd", std.math.maxInt(i32)) orelse return null;
    const key = signals.add(@intCast(number), @intCast(fd)) catch |err| return switch (err) {
        error.Invalid => api.raiseFormat(
            py.PyExc_ValueError.*,
            "signal must be one that a program may handle, got {d}",
            .{number},
        ),
        error.Overloaded => api.raise(py.PyExc_RuntimeError.*, "more than 256 watches of signals at a time"),
    };
    return py.PyLong_FromLongLong(@intCast(key));
}

/// signal_take(key) -> how often it came since the last call
pub fn take(_: ?*Object, key: *Object) callconv(.c) ?*Object {
    const number = object.unsigned(key, "key", std.math.maxInt(i64)) orelse return null;
    const count = signals.take(number) catch |err| return raiseCode(errors.fromError(err));
    return py.PyLong_FromLongLong(count);
}

/// signal_remove(key)
pub fn remove(_: ?*Object, key: *Object) callconv(.c) ?*Object {
    const number = object.unsigned(key, "key", std.math.maxInt(i64)) orelse return null;
    signals.remove(number);
    return api.none();
}

/// signal_watched(number) -> whether a key for it is in use
fn watched(_: ?*Object, number: *Object) callconv(.c) ?*Object {
    const signal = object.unsigned(number, "signal", 64) orelse return null;
    return py.PyBool_FromLong(@intFromBool(signals.isWatched(@intCast(signal))));
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("signal_add", &add, api.meth_fastcall, "(number, eventfd, /)", "A key."),
    object.method("signal_take", &take, api.meth_one, "(key, /)", "How often it came."),
    object.method("signal_watched", &watched, api.meth_one, "(number, /)", "Whether it is awaited."),
    object.method("signal_remove", &remove, api.meth_one, "(key, /)", "The handler of before comes back."),
};
