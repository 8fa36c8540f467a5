//! A thread of Python's runs shard 0, or waits until a runtime has ended; and what a signal handler or a task
//! raised to end the whole program.

const std = @import("std");
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const clock = @import("../../base/clock.zig");
const errors = @import("../../base/errors.zig");
const object = @import("../cpython/object.zig");
const runtime_handle = @import("../../runtime/runtime_handle.zig");
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// drive(main: Task): runs shard 0 on this thread until main and all others have ended.
fn drive(instance: *Object, main: *Object) callconv(.c) ?*Object {
    const self = PyRuntime.of(instance);
    if (!PyTask.Type.is(main)) return api.raise(py.PyExc_TypeError.*, "drive() takes a Task");
    if (Shard.current() != null)
        return api.raise(
            py.PyExc_RuntimeError.*,
            "spargio.run() inside a spargio task: await the coroutine instead",
        );
    if (self.driving or !self.runtime.driven)
        return api.raise(py.PyExc_RuntimeError.*, "this runtime is not to be driven");
    self.driving = true;
    const task = PyTask.Type.body(main);
    // Not run yet: shard 0 is this thread's.
    task.is_main = true;
    self.runtime.drive();
    if (self.forked() and self.fatal != null) return takeFatal(self); // A child that exits.
    if (!stop(self, std.math.maxInt(u64), true)) return null;
    if (self.fatal != null) task.retrieved = true; // What is raised instead of its outcome.
    return takeFatal(self);
}

/// drive_until(job): runs shard 0 on this thread until that task has ended. The same thread may come back;
/// shutdown() runs it for the last time.
fn driveUntil(instance: *Object, job: *Object) callconv(.c) ?*Object {
    const self = PyRuntime.of(instance);
    if (!PyTask.Type.is(job)) return api.raise(py.PyExc_TypeError.*, "drive_until() takes a Task");
    if (Shard.current() != null)
        return api.raise(py.PyExc_RuntimeError.*, "a spargio task runs in this thread: await the coroutine");
    if (self.driving or !self.runtime.driven)
        return api.raise(py.PyExc_RuntimeError.*, "this runtime is not to be driven");
    self.driving = true;
    defer self.driving = false;
    const task = PyTask.Type.body(job);
    var done = false;
    if (!task.task.isDone()) {
        task.ended_hook = .{ .function = jobEnded, .owner = @ptrCast(&done) };
        self.runtime.driveUntil(&done);
    }
    if (self.fatal != null) task.retrieved = true;
    return takeFatal(self);
}

fn jobEnded(owner: *Object) void {
    const done: *bool = @ptrCast(owner);
    done.* = true;
    Shard.current().?.idle.check_interrupts = true; // So that the shard does not sleep first.
}

/// signal_fd(fd): what a signal handler writes there ends a wait of shard 0. Before `drive`.
fn signalFd(instance: *Object, number: *Object) callconv(.c) ?*Object {
    const fd = object.unsigned(number, "fd", std.math.maxInt(i32)) orelse return null;
    PyRuntime.of(instance).runtime.scheduler.shards[0].idle.signal_fd = @intCast(fd);
    return api.none();
}

/// None, or raises what ended the program.
fn takeFatal(self: *PyRuntime) ?*Object {
    const exception = self.fatal orelse return api.none();
    self.fatal = null;
    api.raiseObject(exception);
    py.Py_DecRef(exception);
    return null;
}

/// Takes over the reference. The last one counts: a second Ctrl-C replaces the first.
pub fn stopWith(self: *PyRuntime, exception: *Object) void {
    // In the background nobody raises it: kept, its traceback could hold this object forever.
    if (!self.runtime.driven) {
        py.Py_DecRef(exception);
        return self.closeRuntime();
    }
    // Tasks of two shards may come here at once.
    if (@atomicRmw(?*Object, &self.fatal, .Xchg, exception, .acq_rel)) |before| py.Py_DecRef(before);
    const scheduler = &self.runtime.scheduler;
    if (scheduler.closing.load(.seq_cst)) scheduler.cancelAgain() else self.closeRuntime();
}

/// shutdown(timeout_ns) -> whether all has ended.
fn shutdown(instance: *Object, timeout: *Object) callconv(.c) ?*Object {
    const self = PyRuntime.of(instance);
    const ns = object.unsigned(timeout, "timeout_ns", std.math.maxInt(i64)) orelse return null;
    if (Shard.current() == null and !self.forked()) driveToEnd(self);
    if (!stop(self, if (ns == std.math.maxInt(i64)) std.math.maxInt(u64) else clock.deadlineNs(ns), true))
        return if (py.PyErr_Occurred() != null) null else py.PyBool_FromLong(0);
    return py.PyBool_FromLong(1);
}

/// Where nobody ran shard 0 yet, which is the caller's: tasks that wait there end as cancelled.
pub fn driveToEnd(self: *PyRuntime) void {
    if (!self.runtime.driven or self.driving) return;
    self.driving = true;
    self.closeRuntime();
    self.runtime.drive();
}

/// Ends all that runs, for the one that has it alone; what a signal brings is for later.
pub fn end(self: *PyRuntime) void {
    if (self.forked()) return;
    driveToEnd(self);
    if (!stop(self, std.math.maxInt(u64), false)) py.PyErr_WriteUnraisable(null);
}

/// False: not in time, or with an exception set. A signal handler's is one only where it may be.
pub fn stop(self: *PyRuntime, deadline_ns: u64, interruptible: bool) bool {
    if (self.forked()) {
        _ = callbacks.raiseCode(errors.fromError(error.Forked));
        return false;
    }
    while (true) {
        const slice = @min(deadline_ns, clock.deadlineNs(50 * std.time.ns_per_ms));
        const state = py.PyEval_SaveThread();
        const result = self.runtime.shutdown(slice);
        py.PyEval_RestoreThread(state);
        if (result) |finished| {
            if (finished) {
                _ = runtime_handle.runtimes.close(self.handle);
                return true;
            }
        } else |err| {
            _ = callbacks.raiseCode(errors.fromError(err));
            return false;
        }
        if (clock.nowNs() >= deadline_ns) return false;
        if (interruptible and py.PyErr_CheckSignals() != 0) return false;
    }
}

/// Of the Runtime.
pub const methods = [_]api.MethodDef{
    object.method(
        "drive",
        &drive,
        api.meth_one,
        "($self, main, /)",
        "Run shard 0 here until all has ended.",
    ),
    object.method(
        "drive_until",
        &driveUntil,
        api.meth_one,
        "($self, job, /)",
        "Run shard 0 here until that task has ended.",
    ),
    object.method(
        "shutdown",
        &shutdown,
        api.meth_one,
        "($self, timeout_ns, /)",
        "Whether all has ended in time.",
    ),
    object.method(
        "signal_fd",
        &signalFd,
        api.meth_one,
        "($self, fd, /)",
        "Read it for wake-ups by signals.",
    ),
};
