//! A limit on a part of a task: a timer of the shard, or any caller, requests a cancellation that
//! names the limit, so that only the block that set it handles it (TimeoutError, the end of a
//! group). On the shard's thread only, except `expire`.

const std = @import("std");
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const object = @import("../cpython/object.zig");
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Timer = @import("../../task/timers.zig").Timer;
const sync = @import("../../base/sync.zig");
const Object = api.Object;
const py = &api.py;

pub const CancelScope = struct {
    timer: Timer,
    /// Guards `task` against `expire` from elsewhere: while it is set the task has not ended.
    lock: sync.Lock,
    task: ?*PyTask,
    next: ?*CancelScope,
    expired: std.atomic.Value(bool),
    delivered: bool,

    pub const Type = object.TypeOf(CancelScope);

    fn create() ?*Object {
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        self.timer = .{ .fire = fire }; // The rest is zero: not in use, not expired.
        return instance;
    }

    pub fn make(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        return create();
    }

    fn fire(timer: *Timer) void {
        const self: *CancelScope = @fieldParentPtr("timer", timer);
        self.trip();
    }

    fn trip(self: *CancelScope) void {
        self.lock.lock();
        defer self.lock.unlock();
        const task = self.task orelse return;
        // Release pairs with the acquire of the task, which then looks for what it must know.
        self.expired.store(true, .release);
        Shard.wake(&task.task);
    }

    /// expire(): as if the time had passed. Any thread; nothing if it is not in use.
    fn expire(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        Type.body(instance).trip();
        return api.none();
    }

    /// arm(duration_ns): from now on, for the current task.
    fn arm(instance: *Object, duration: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const task = PyTask.demand("timeout()") orelse return null;
        const ns = object.unsigned(duration, "duration_ns", std.math.maxInt(i64)) orelse return null;
        if (self.task != null) return api.raise(py.PyExc_RuntimeError.*, "this timeout() is in use already");
        self.expired.store(false, .monotonic);
        self.delivered = false;
        if (ns < std.math.maxInt(i64))
            Shard.current().?.timers.set(&self.timer, clock.deadlineNs(ns)) catch return py.PyErr_NoMemory();
        self.lock.lock();
        self.task = task;
        self.lock.unlock();
        self.next = task.scopes;
        task.scopes = self;
        py.Py_IncRef(instance); // Held by the task until `detach`.
        return api.none();
    }

    /// rearm(duration_ns): from now on instead, in the task that it was armed in.
    fn rearm(instance: *Object, duration: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const task = self.task orelse
            return api.raise(py.PyExc_RuntimeError.*, "reschedule() of a time limit that is not in use");
        if (PyTask.current() != task)
            return api.raise(py.PyExc_RuntimeError.*, "reschedule() of a time limit by another task than entered it");
        if (self.expired.load(.acquire))
            return api.raise(py.PyExc_RuntimeError.*, "reschedule() of a time limit that has passed");
        const ns = object.unsigned(duration, "duration_ns", std.math.maxInt(i64)) orelse return null;
        const timers = &task.home().timers;
        if (self.timer.isSet()) timers.cancel(&self.timer);
        if (ns < std.math.maxInt(i64))
            timers.set(&self.timer, clock.deadlineNs(ns)) catch return py.PyErr_NoMemory();
        return api.none();
    }

    fn hasExpired(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(Type.body(instance).expired.load(.acquire)));
    }

    /// disarm() -> whether the time had passed.
    fn disarm(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (self.task) |task| {
            if (PyTask.current() != task)
                return api.raise(py.PyExc_RuntimeError.*, "a timeout() was left by another task than entered it");
            self.detach();
        }
        return py.PyBool_FromLong(@intFromBool(self.expired.load(.acquire)));
    }

    pub fn detach(self: *CancelScope) void {
        const task = self.task.?;
        if (self.timer.isSet()) task.home().timers.cancel(&self.timer);
        var link = &task.scopes;
        while (link.*) |found| : (link = &found.next) {
            if (found != self) continue;
            link.* = self.next;
            break;
        }
        self.lock.lock();
        self.task = null;
        self.lock.unlock();
        self.next = null;
        py.Py_DecRef(Type.objectOf(self));
    }

    /// redeliver(error): a cancellation that came too late for what was awaited; it is raised again at
    /// the next await of this task.
    fn redeliver(_: ?*Object, exception: *Object) callconv(.c) ?*Object {
        const task = PyTask.demand("redeliver()") orelse return null;
        var scope = py.PyObject_GetAttrString(exception, "_scope");
        py.PyErr_Clear(); // One without a scope came from outside.
        const named = scope orelse {
            task.task.cancel_requested.store(true, .seq_cst);
            return api.none();
        };
        defer api.drop(&scope);
        if (named == py._Py_NoneStruct) return api.none(); // Held: the next await raises it anyway.
        if (!Type.is(named)) return api.raise(py.PyExc_TypeError.*, "redeliver() takes a CancelledError");
        Type.body(named).delivered = false; // If the block was left meanwhile nobody asks.
        return api.none();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        Type.free(instance, false);
    }
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("timeout", &CancelScope.make, api.meth_noargs, "()", "A time limit that is not armed."),
    object.method(
        "redeliver",
        &CancelScope.redeliver,
        api.meth_one,
        "(error, /)",
        "Raise this CancelledError again, at the next await.",
    ),
};

pub fn define() bool {
    return object.define(CancelScope.Type, "Timeout", .{
        .methods = &.{
            object.method(
                "arm",
                &CancelScope.arm,
                api.meth_one,
                "($self, duration_ns, /)",
                "Start, for the current task.",
            ),
            object.method(
                "rearm",
                &CancelScope.rearm,
                api.meth_one,
                "($self, duration_ns, /)",
                "Start anew, for the same task.",
            ),
            object.method(
                "expired",
                &CancelScope.hasExpired,
                api.meth_noargs,
                "($self, /)",
                "Whether the time has passed.",
            ),
            object.method(
                "expire",
                &CancelScope.expire,
                api.meth_noargs,
                "($self, /)",
                "As if the time had passed; any thread.",
            ),
            object.method(
                "disarm",
                &CancelScope.disarm,
                api.meth_noargs,
                "($self, /)",
                "Stop; whether the time had passed.",
            ),
        },
        .dealloc = &CancelScope.dealloc,
    });
}
