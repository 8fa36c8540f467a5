//! The JoinHandle that Python sees: a task (py_task.zig) as an object that other tasks await, that threads
//! ask for its result, and that the collector visits.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const errors = @import("../../base/errors.zig");
const inspect = @import("inspect.zig");
const interpreter = &@import("py_interpreter.zig").interpreter;
const object = @import("../cpython/object.zig");
const repr = @import("repr.zig");
const trashcan = @import("../cpython/trashcan.zig");
const HandleMethods = @import("handle_methods.zig").HandleMethods;
const PyTask = @import("py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

fn step(handle: *Object, suspended: *bool) ?*Object {
    const self = PyTask.Type.body(handle);
    const me = PyTask.demand("await of a JoinHandle") orelse return null;
    if (me == self) return api.raise(py.PyExc_RuntimeError.*, "a task cannot await itself");
    // If both tasks were cancelled, raise the awaiting task's own cancellation; no result is lost.
    if (self.task.isDone() and endedByCancellation(self) and me.cancelWanted()) {
        me.endWait();
        return me.raiseCancel();
    }
    // Twice for each task that is awaited: of a function apart it is a tenth of what a join costs.
    const answer = @call(.always_inline, PyTask.untilDone, .{ me, &self.task.latch, handle, suspended });
    if (answer) |one| return one;
    // The close has ended it, and is about to end the awaiting task: it gets the cancellation, and can clean up.
    if (endedByCancellation(self) and me.endIsNews()) return me.raiseCancel();
    return outcome(self);
}

/// Result, or the exception raised. Only when done.
pub fn outcome(self: *PyTask) ?*Object {
    assert(self.task.isDone());
    self.retrieved = true;
    if (endedByCancellation(self)) return raiseCancelled(self);
    if (self.failed) {
        if (self.traceback) |traceback| {
            if (raisesAlone(self)) _ = py.PyException_SetTraceback(self.value.?, traceback);
        }
        api.raiseObject(self.value.?);
        return null;
    }
    return api.ref(self.value.?);
}

/// And has nothing else to raise: KeyboardInterrupt and SystemExit end a task as cancelled too.
fn endedByCancellation(self: *const PyTask) bool {
    assert(self.task.isDone());
    return self.task.status == @backingInt(errors.Code.cancelled) and !self.failed;
}

/// Whether no other thread ever raised its exception. Without an interpreter's lock (3.13) its traceback is
/// a plain reference: setting it frees what another thread is adding to. Those that only add, as each raise
/// does, keep it alive.
fn raisesAlone(self: *PyTask) bool {
    if (interpreter.locked) return true;
    const me: u32 = @truncate(py.PyThread_get_thread_ident() >> 12);
    const before = @cmpxchgStrong(u32, &self.raised_by, 0, me, .acq_rel, .acquire) orelse return true;
    if (before != me) @atomicStore(u32, &self.raised_by, std.math.maxInt(u32), .release);
    return before == me;
}

/// It says what the cancellation said of a write.
fn raiseCancelled(self: *const PyTask) ?*Object {
    _ = api.raise(callbacks.table.TaskCancelled, "the task was cancelled before it ended");
    if (self.bytes_written >= 0) callbacks.sayWritten(@intCast(self.bytes_written));
    return null;
}

/// In an asyncio loop that is not ours a future of that loop stands for the handle.
fn awaitHere(handle: *Object) callconv(.c) ?*Object {
    if (PyTask.current() != null) return api.ref(handle);
    if (object.foreign_await) |function| {
        if (function(handle)) |waiter| return waiter;
        if (py.PyErr_Occurred() != null) return null;
    }
    const found = api.call(callbacks.table.join_elsewhere, &.{api.ref(handle)}) orelse return null;
    if (found != py._Py_NoneStruct) return found;
    py.Py_DecRef(found);
    return api.ref(handle);
}

fn nameOf(handle: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
    return if (PyTask.Type.body(handle).name) |name| api.ref(name) else api.none();
}

fn runtimeOf(handle: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
    return api.ref(PyTask.Type.body(handle).runtime.?);
}

fn reportUnasked(self: *PyTask) void {
    if (!self.failed or self.retrieved) return;
    self.retrieved = true;
    report(self);
}

/// Nobody asked for the outcome: the exception goes to sys.unraisablehook, with the task's name.
fn report(self: *PyTask) void {
    const aside: api.Aside = .take();
    defer aside.restore();
    api.raiseObject(self.value.?);
    py.PyErr_WriteUnraisable(self.name);
}

fn clear(self: *PyTask) void {
    api.drop(&self.coroutine);
    api.drop(&self.context);
    trashcan.drop(&self.value);
    api.drop(&self.traceback);
    api.drop(&self.name);
    api.drop(&self.runtime);
    api.drop(&self.op_owner);
    api.drop(&self.orphans);
    api.drop(&self.refused);
    api.drop(&self.companion);
}

fn dealloc(handle: *Object) callconv(.c) void {
    const self = PyTask.Type.body(handle);
    py.PyObject_GC_UnTrack(handle);
    reportUnasked(self);
    clear(self);
    PyTask.Type.free(handle, true);
}

/// The collector calls it before it clears a cycle: what is reported must still be whole, because
/// a hook may keep it.
fn finalize(handle: *Object) callconv(.c) void {
    reportUnasked(PyTask.Type.body(handle));
}

fn tpClear(handle: *Object) callconv(.c) c_int {
    const self = PyTask.Type.body(handle);
    // Only what a finished task still holds can be part of garbage.
    if (self.task.isDone()) {
        self.retrieved = self.retrieved or !self.failed;
        trashcan.drop(&self.value);
        api.drop(&self.traceback);
        self.failed = false;
    }
    return 0;
}

fn traverse(handle: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
    const self = PyTask.Type.body(handle);
    for ([_]?*Object{
        PyTask.Type.class, self.coroutine, self.context, self.value,
        self.traceback,    self.name,      self.runtime, self.companion,
    }) |held| {
        const one = held orelse continue;
        const status = visit(one, arg);
        if (status != 0) return status;
    }
    return 0;
}

pub fn define() bool {
    const Methods = HandleMethods(PyTask);
    return object.define(PyTask.Type, "JoinHandle", .{
        .doc = "A spawned task: await it in a spargio task, or ask its result() on an ordinary thread.\n" ++
            "Any thread may use it. An exception that nobody asks for goes to sys.unraisablehook.",
        .step = step,
        .on_await = &awaitHere,
        .methods = &(Methods.methods ++ [_]api.MethodDef{
            object.method(
                "stack",
                &inspect.stack,
                api.meth_noargs,
                "($self, /)",
                "Where its coroutine stands, as text, outermost call first.",
            ),
            object.method(
                "__class_getitem__",
                &object.classGetItem,
                api.meth_one | api.meth_class,
                "($type, item, /)",
                "JoinHandle[T], for annotations.",
            ),
        }),
        .properties = &.{
            .{ .name = "shard", .get = &Methods.shardOf, .doc = "Shard it started on, or None." },
            .{ .name = "name", .get = &nameOf, .doc = "Name, or None." },
            .{ .name = "_runtime", .get = &runtimeOf },
        },
        .repr = &repr.ofTask,
        .dealloc = &dealloc,
        .traverse = &traverse,
        .clear = &tpClear,
        .finalize = &finalize,
    });
}
