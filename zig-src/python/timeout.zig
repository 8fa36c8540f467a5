//! A time limit on a part of a task: a timer of the shard that asks for a cancellation which names
//! the limit, so that only the block that set it turns it into TimeoutError. Shard's thread only.

const std = @import("std");
const api = @import("api.zig");
const clock = @import("../clock.zig");
const object = @import("object.zig");
const PyTask = @import("task.zig").PyTask;
const Shard = @import("../shard.zig").Shard;
const Timer = @import("../timers.zig").Timer;
const Object = api.Object;
const py = &api.py;

pub const Timeout = struct {
    timer: Timer,
    task: ?*PyTask,
    next: ?*Timeout,
    expired: bool,
    delivered: bool,

    pub const Type = object.TypeOf(Timeout);

    fn create() ?*Object {
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        self.* = .{ .timer = .{ .fire = fire }, .task = null, .next = null, .expired = false, .delivered = false };
        return instance;
    }

    pub fn make(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        return create();
    }

    fn fire(timer: *Timer) void {
        const self: *Timeout = @fieldParentPtr("timer", timer);
        self.expired = true;
        Shard.wake(&self.task.?.task);
    }

    /// arm(duration_ns): from now on, for the current task.
    fn arm(instance: *Object, duration: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const task = PyTask.demand("timeout()") orelse return null;
        const ns = object.unsigned(duration, "duration_ns", std.math.maxInt(i64)) orelse return null;
        if (self.task != null) return api.raise(py.PyExc_RuntimeError.*, "this timeout() is in use already");
        self.expired = false;
        self.delivered = false;
        Shard.current().?.timers.set(&self.timer, clock.deadlineNs(ns)) catch return py.PyErr_NoMemory();
        self.task = task;
        self.next = task.scopes;
        task.scopes = self;
        py.Py_IncRef(instance); // Held by the task until `detach`.
        return api.none();
    }

    /// disarm() -> whether the time had passed.
    fn disarm(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (self.task) |task| {
            if (PyTask.current() != task)
                return api.raise(py.PyExc_RuntimeError.*, "a timeout() was left by another task than entered it");
            self.detach();
        }
        return py.PyBool_FromLong(@intFromBool(self.expired));
    }

    pub fn detach(self: *Timeout) void {
        const task = self.task.?;
        if (self.timer.isSet()) task.home().timers.cancel(&self.timer);
        var link = &task.scopes;
        while (link.*) |found| : (link = &found.next) {
            if (found != self) continue;
            link.* = self.next;
            break;
        }
        self.task = null;
        self.next = null;
        py.Py_DecRef(Type.objectOf(self));
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        Type.free(instance, false);
    }

    pub fn define() bool {
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method("arm", &arm, api.meth_one, "Start, for the current task."),
                object.method("disarm", &disarm, api.meth_noargs, "Stop; whether the time had passed."),
                .{},
            };
        };
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("Timeout", 0, &slots);
    }
};
