//! A value that is set once, by any thread, and awaited by tasks of any shard or waited for by
//! ordinary threads. Locks, channels and answers of worker threads are made of it.

const std = @import("std");
const api = @import("../cpython/api.zig");
const trashcan = @import("../cpython/trashcan.zig");
const object = @import("../cpython/object.zig");
const result_wait = @import("../task/result_wait.zig");
const Latch = @import("../../task/latch.zig").Latch;
const LinkType = @import("../../queue/chain.zig").LinkType;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

pub const Future = struct {
    latch: Latch,
    /// Somebody sets it, or has: of several one wins.
    claimed: std.atomic.Value(bool),
    failed: bool,
    /// Result or exception; final once the completion is.
    value: ?*Object,
    // Of one that waits in an exchange, under whose lock they change.
    link: LinkType(Future),
    left_before: ?*Future,
    /// What it brings, or how many units it wants.
    item: ?*Object,
    weight: u64,

    pub const Type = object.TypeOf(Future);

    pub fn make(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        return create();
    }

    pub fn create() ?*Object {
        return Type.create(); // Zero bytes are a future that is not set.
    }

    /// With a reference of an exchange's.
    pub fn retained(self: *Future) *Future {
        py.Py_IncRef(Type.objectOf(self));
        return self;
    }

    /// Gives that reference back.
    pub fn release(self: *Future) void {
        py.Py_DecRef(Type.objectOf(self));
    }

    /// One that only an exchange sets. Runs nothing of Python: its lock is held.
    pub fn settle(self: *Future, value: *Object) void {
        self.claimed.store(true, .monotonic);
        self.value = api.ref(value);
        self.latch.publish(Shard.wake);
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of a future") orelse return null;
        return me.untilDone(&self.latch, instance, suspended) orelse self.outcome();
    }

    fn outcome(self: *Future) ?*Object {
        const value = self.value orelse return api.raise(py.PyExc_RuntimeError.*, "the future was cleared");
        if (!self.failed) return api.ref(value);
        api.raiseObject(value);
        return null;
    }

    fn set(instance: *Object, value: *Object, failed: bool) ?*Object {
        const self = Type.body(instance);
        if (self.claimed.swap(true, .acq_rel)) return py.PyBool_FromLong(0);
        self.value = api.ref(value);
        self.failed = failed;
        self.latch.publish(Shard.wake);
        return py.PyBool_FromLong(1);
    }

    fn setResult(instance: *Object, value: *Object) callconv(.c) ?*Object {
        return set(instance, value, false);
    }

    fn setException(instance: *Object, value: *Object) callconv(.c) ?*Object {
        const is_exception = py.PyObject_IsInstance(value, py.PyExc_BaseException.*);
        if (is_exception < 0) return null;
        if (is_exception == 0) return api.raise(py.PyExc_TypeError.*, "set_exception() takes an exception instance");
        return set(instance, value, true);
    }

    fn done(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(Type.body(instance).latch.isDone()));
    }

    fn result(instance: *Object, arguments: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const limit = result_wait.timeLimit(arguments, count, names) orelse return null;
        if (!result_wait.waitDone(&self.latch, limit)) return null;
        return self.outcome();
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return api.string(if (!self.latch.isDone())
            "<Future, not set>"
        else if (self.failed) "<Future, failed>" else "<Future, set>");
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        py.PyObject_GC_UnTrack(instance);
        const self = Type.body(instance);
        trashcan.drop(&self.value);
        trashcan.drop(&self.item);
        Type.free(instance, true);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = Type.body(instance);
        var status = visit(Type.class, arg);
        if (self.item) |item| {
            if (status == 0) status = visit(item, arg);
        }
        if (status != 0 or !self.latch.isDone()) return status;
        return if (self.value) |value| visit(value, arg) else 0;
    }

    fn clear(instance: *Object) callconv(.c) c_int {
        trashcan.drop(&Type.body(instance).value);
        return 0;
    }
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("future", &Future.make, api.meth_noargs, "()", "A Future that is not set."),
};

pub fn define() bool {
    return object.define(Future.Type, "Future", .{
        .doc = "A value that is set once, by any thread, and awaited by tasks of any shard. An await\n" ++
            "that is cancelled raises only if the value is not set: nothing is lost.",
        .step = Future.step,
        .methods = &.{
            object.method(
                "set_result",
                &Future.setResult,
                api.meth_one,
                "($self, value, /)",
                "Set it; False if it was set already. Any thread.",
            ),
            object.method(
                "set_exception",
                &Future.setException,
                api.meth_one,
                "($self, exception, /)",
                "The same with an exception, which is raised to those who await it.",
            ),
            object.method("done", &Future.done, api.meth_noargs, "($self, /)", "Whether it is set."),
            object.method(
                "result",
                &Future.result,
                api.meth_fastcall | api.meth_keywords,
                "($self, timeout=None)",
                result_wait.result_doc,
            ),
            object.method(
                "__class_getitem__",
                &object.classGetItem,
                api.meth_one | api.meth_class,
                "($type, item, /)",
                "Future[T], for annotations.",
            ),
        },
        .repr = &Future.show,
        .dealloc = &Future.dealloc,
        .traverse = &Future.traverse,
        .clear = &Future.clear,
    });
}
