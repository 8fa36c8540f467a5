//! The methods of the native runtime that trace it: thin functions that check, call and raise. Any thread.

const std = @import("std");
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const errors = @import("../../base/errors.zig");
const object = @import("../cpython/object.zig");
const trace_export = @import("../../runtime/trace_export.zig");
const trace_ring = @import("../../scheduler/trace_ring.zig");
const FlightOptions = @import("../../runtime/flight_recorder.zig").Options;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const Runtime = @import("../../runtime/runtime.zig").Runtime;
const Object = api.Object;
const py = &api.py;

fn runtimeOf(instance: *Object) ?*Runtime {
    const self = PyRuntime.of(instance);
    if (!self.forked()) return self.runtime;
    _ = callbacks.raiseCode(errors.fromError(error.Forked));
    return null;
}

/// trace_start(events) -> the moment from which its events are.
fn start(instance: *Object, given: *Object) callconv(.c) ?*Object {
    const events = object.unsigned(given, "events", trace_ring.capacity_max) orelse return null;
    const runtime = runtimeOf(instance) orelse return null;
    const since = runtime.scheduler.tracing.start(&runtime.scheduler, @intCast(events)) catch |err|
        return callbacks.raiseCode(errors.fromError(err));
    return py.PyLong_FromUnsignedLongLong(since);
}

/// trace_stop() -> whether it was on.
fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const runtime = runtimeOf(instance) orelse return null;
    return py.PyBool_FromLong(@intFromBool(runtime.scheduler.tracing.stop(&runtime.scheduler)));
}

/// trace_write(since, fd): without the interpreter meanwhile.
fn write(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("trace_write", count, 2)) return null;
    const since = object.unsigned(arguments[0], "since", std.math.maxInt(u64)) orelse return null;
    const fd = object.unsigned(arguments[1], "fd", std.math.maxInt(i32)) orelse return null;
    const runtime = runtimeOf(instance) orelse return null;
    const state = py.PyEval_SaveThread();
    const outcome = trace_export.write(&runtime.scheduler, since, @intCast(fd), .file);
    py.PyEval_RestoreThread(state);
    const errno = outcome catch |err| return callbacks.raiseCode(errors.fromError(switch (err) {
        error.NotTraced => error.Invalid,
        error.OutOfMemory => error.OutOfMemory,
    }));
    if (errno != 0) return callbacks.raiseErrno(errno, "writing a trace", null);
    return api.none();
}

/// flight_start(folder, events, blocked_ns, recorder, p99_ns, signal, files); bytes for the texts, an empty
/// recorder for none.
fn flightStart(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("flight_start", count, 7)) return null;
    const folder = py.PyBytes_AsString(arguments[0]) orelse return null;
    const recorder = py.PyBytes_AsString(arguments[3]) orelse return null;
    var numbers: [5]u64 = undefined;
    for (&numbers, [_]usize{ 1, 2, 4, 5, 6 }) |*number, i|
        number.* = object.unsigned(arguments[i], "a number", std.math.maxInt(i64)) orelse return null;
    const options: FlightOptions = .{
        .folder = @ptrCast(folder),
        .events = std.math.cast(u32, numbers[0]) orelse std.math.maxInt(u32),
        .blocked_ns = numbers[1],
        .recorder = if (recorder[0] == 0) null else @ptrCast(recorder),
        .p99_ns = numbers[2],
        .signal = std.math.cast(u32, numbers[3]) orelse std.math.maxInt(u32),
        .files = std.math.cast(u32, numbers[4]) orelse std.math.maxInt(u32),
    };
    const runtime = runtimeOf(instance) orelse return null;
    var errno: i32 = 0;
    runtime.startFlight(&options, &errno) catch |err| return switch (err) {
        error.SetupFailed => callbacks.raiseErrno(errno, "a flight recorder", null),
        error.Invalid, error.OutOfMemory, error.Overloaded, error.Forked, error.Closed => |known| //
        callbacks.raiseCode(errors.fromError(known)),
    };
    return api.none();
}

/// flight_stop() -> whether there was one.
fn flightStop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const runtime = runtimeOf(instance) orelse return null;
    const state = py.PyEval_SaveThread();
    const found = runtime.stopFlight();
    py.PyEval_RestoreThread(state);
    return py.PyBool_FromLong(@intFromBool(found));
}

pub const methods = [_]api.MethodDef{
    object.method("trace_start", &start, api.meth_one, "($self, events, /)", "The moment it begins."),
    object.method("trace_stop", &stop, api.meth_noargs, "($self, /)", "Whether it was on."),
    object.method("trace_write", &write, api.meth_fastcall, "($self, since, fd, /)", "JSON to a file."),
    object.method(
        "flight_start",
        &flightStart,
        api.meth_fastcall,
        "($self, folder, events, blocked_ns, recorder, p99_ns, signal, files, /)",
        "A trace that writes itself.",
    ),
    object.method("flight_stop", &flightStop, api.meth_noargs, "($self, /)", "Whether there was one."),
};
