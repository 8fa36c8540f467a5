//! `result(timeout=None)` of handles and futures: an ordinary thread waits for the end, and handles
//! signals in between.

const std = @import("std");
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const Latch = @import("../../task/latch.zig").Latch;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

pub const cancel_doc =
    "Ask the task to end: CancelledError is raised at its next await. A task that has not begun\n" ++
    "never does. False if it has ended already. Any thread.";

pub const result_doc =
    "Wait on an ordinary thread, at most `timeout` seconds (None: no limit), and return what an await\n" ++
    "returns, or raise. TimeoutError: it has not ended yet. RuntimeError on a shard: await it there.";

/// The one argument of `result`, seconds or None, as nanoseconds.
pub fn timeLimit(arguments: [*]const *Object, count: isize, names: ?*Object) ?u64 {
    const named = if (names) |tuple| py.PyTuple_Size(tuple) else 0;
    if (count + named > 1 or (named == 1 and !isNamed(names.?, "timeout"))) {
        _ = api.raise(py.PyExc_TypeError.*, "result() takes at most one argument: timeout, in seconds");
        return null;
    }
    if (count + named == 0 or arguments[0] == py._Py_NoneStruct) return std.math.maxInt(u64);
    const seconds = py.PyFloat_AsDouble(arguments[0]);
    if (py.PyErr_Occurred()) |raised| {
        if (py.PyErr_GivenExceptionMatches(raised, py.PyExc_TypeError.*) == 0) return null;
        py.PyErr_Clear();
        _ = api.raiseValue(py.PyExc_TypeError.*, "timeout", arguments[0], "a number of seconds, or None");
        return null;
    }
    if (!(seconds >= 0)) {
        _ = api.raiseFormat(py.PyExc_ValueError.*, "timeout must be 0 or more seconds, or None, got {d}", .{
            seconds,
        });
        return null;
    }
    return if (seconds > 1e9) std.math.maxInt(u64) else @intFromFloat(seconds * std.time.ns_per_s);
}

fn isNamed(names: *Object, wanted: []const u8) bool {
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(py.PyTuple_GetItem(names, 0).?, &size) orelse {
        py.PyErr_Clear();
        return false;
    };
    return std.mem.eql(u8, text[0..@intCast(size)], wanted);
}

/// An ordinary thread waits; false with an exception set.
pub fn waitDone(latch: *Latch, limit_ns: u64) bool {
    const slice_ns = 50 * std.time.ns_per_ms;
    if (Shard.current() != null and !latch.isDone()) {
        _ = api.raise(py.PyExc_RuntimeError.*, "result() would block a shard: await the handle instead");
        return false;
    }
    const deadline = clock.deadlineNs(limit_ns);
    while (!latch.isDone()) {
        const now = clock.nowNs();
        if (now >= deadline) {
            _ = api.raise(py.PyExc_TimeoutError.*, "the task has not ended within the time limit");
            return false;
        }
        const state = py.PyEval_SaveThread();
        _ = latch.waitThread(@min(deadline, now + slice_ns));
        py.PyEval_RestoreThread(state);
        if (py.PyErr_CheckSignals() != 0) return false;
    }
    return true;
}
