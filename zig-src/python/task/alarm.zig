//! A function that a shard calls at a given time, for a library that keeps its own time limits. It
//! belongs to a task, and ends with it at the latest. On the task's shard only.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const object = @import("../cpython/object.zig");
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Timer = @import("../../task/timers.zig").Timer;
const Object = api.Object;
const py = &api.py;

pub const Alarm = struct {
    timer: Timer,
    callback: ?*Object,
    /// Set while it is in the task's list, which holds a reference.
    task: ?*PyTask,
    next: ?*Alarm,

    pub const Type = object.TypeOf(Alarm);

    /// alarm(handle, callback, duration_ns): set, of a task of this shard that has not ended.
    pub fn make(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("alarm", count, 3)) return null;
        const handle = arguments[0];
        if (!PyTask.Type.is(handle)) return api.raise(py.PyExc_TypeError.*, "alarm() takes a JoinHandle");
        const ns = object.unsigned(arguments[2], "duration_ns", std.math.maxInt(i64)) orelse return null;
        const task = PyTask.Type.body(handle);
        const shard = Shard.current();
        if (shard == null or task.task.home != @as(?*anyopaque, shard.?) or task.coroutine == null)
            return api.raise(py.PyExc_RuntimeError.*, "alarm() of a task that does not run on this shard");
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        self.timer = .{ .fire = fire };
        shard.?.timers.set(&self.timer, clock.deadlineNs(ns)) catch {
            py.Py_DecRef(instance);
            return py.PyErr_NoMemory();
        };
        self.callback = api.ref(arguments[1]);
        self.task = task;
        self.next = task.alarms;
        task.alarms = self;
        py.Py_IncRef(instance);
        return instance;
    }

    fn fire(timer: *Timer) void {
        const self: *Alarm = @fieldParentPtr("timer", timer);
        assert(self.task != null);
        Shard.current().?.acquireInterpreter();
        const instance = api.ref(Type.objectOf(self));
        defer py.Py_DecRef(instance);
        const callback = self.callback.?;
        self.callback = null;
        defer py.Py_DecRef(callback);
        self.detach();
        var result = api.call(callback, &.{});
        defer api.drop(&result);
        if (result == null) py.PyErr_WriteUnraisable(callback);
    }

    pub fn detach(self: *Alarm) void {
        const task = self.task orelse return;
        if (self.timer.isSet()) task.home().timers.cancel(&self.timer);
        var link = &task.alarms;
        while (link.*) |found| : (link = &found.next) {
            if (found != self) continue;
            link.* = self.next;
            break;
        }
        self.task = null;
        self.next = null;
        api.drop(&self.callback);
        py.Py_DecRef(Type.objectOf(self));
    }

    fn cancel(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const task = self.task orelse return api.none();
        if (Shard.current() != task.home())
            return api.raise(py.PyExc_RuntimeError.*, "an alarm was cancelled on another shard than it was set on");
        self.detach();
        return api.none();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        py.PyObject_GC_UnTrack(instance);
        assert(Type.body(instance).task == null);
        Type.free(instance, true);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const status = visit(Type.class, arg);
        if (status != 0) return status;
        return if (Type.body(instance).callback) |callback| visit(callback, arg) else 0;
    }
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "alarm",
        &Alarm.make,
        api.meth_fastcall,
        "(handle, callback, duration_ns, /)",
        "Calls it then, unless the task has ended.",
    ),
};

pub fn define() bool {
    return object.define(Alarm.Type, "Alarm", .{
        .methods = &.{
            object.method(
                "cancel",
                &Alarm.cancel,
                api.meth_noargs,
                "($self, /)",
                "It does not come; nothing if it has.",
            ),
        },
        .dealloc = &Alarm.dealloc,
        .traverse = &Alarm.traverse,
    });
}
