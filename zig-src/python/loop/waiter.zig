//! A spargio awaitable in an asyncio task. There its `__await__` returns a waiter, which acts as
//! the future that the C Task waits for. Behind it the awaitable runs as a spargio task on the
//! loop's shard: the first step at the await, the others whenever it is woken. The waiter alone is
//! a future: the awaitable stays one that `ensure_future`, `shield` and `gather` wrap in a task.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const errors = @import("../../base/errors.zig");
const object = @import("../cpython/object.zig");
const raiseCode = @import("../cpython/callbacks.zig").raiseCode;
const Loop = @import("loop.zig").Loop;
const loop_helpers = &@import("handle.zig").loop_helpers;
const operation = @import("../io/operation.zig");
const PyRuntime = @import("../task/py_runtime.zig").PyRuntime;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

pub const Waiter = struct {
    loop: ?*Object,
    awaitable: ?*Object,
    /// The task behind it, from the first step on.
    task: ?*Object,
    /// What the C Task registered: it is one.
    callback: ?*Object,
    context: ?*Object,
    /// asyncio's mark that a Task has just been suspended on this.
    blocking: bool,
    cancelled: bool,

    pub const Type = object.TypeOf(Waiter);

    fn of(instance: *Object) *Waiter {
        return Type.body(instance);
    }

    /// For an `await` in a callback of the loop that this thread is in; null without an exception elsewhere.
    pub fn make(awaitable: *Object) ?*Object {
        const loop = Loop.inTurn() orelse return null;
        const instance = Type.create() orelse return null;
        const self = of(instance);
        self.loop = api.ref(Loop.Type.objectOf(loop));
        self.awaitable = api.ref(awaitable);
        return instance;
    }

    fn iternext(instance: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.task == null and !self.begin(instance)) return null;
        const task = PyTask.Type.body(self.task.?);
        if (!task.task.isDone()) {
            self.blocking = true;
            return api.ref(instance);
        }
        const value = self.outcome() orelse return null;
        return object.stop(value);
    }

    /// The first step, here and now.
    fn begin(self: *Waiter, instance: *Object) bool {
        const loop = Loop.of(self.loop.?);
        const shard = loop.shard.?;
        const runtime = loop.runtime.?;
        const task = PyTask.create(runtime, self.awaitable.?, null, .pinned, shard.id, shard) orelse return false;
        const handle = PyTask.Type.objectOf(task);
        task.retrieved = true; // Its failure is the awaiter's.
        PyRuntime.of(runtime).runtime.begin(&task.task, shard) catch |err| {
            py.Py_DecRef(handle);
            _ = raiseCode(errors.fromError(err));
            return false;
        };
        self.task = handle;
        py.Py_IncRef(handle); // The scheduler's, given back by `release`.
        const outer = shard.current_task;
        shard.poll(&task.task);
        shard.current_task = outer;
        if (!task.task.isDone()) task.ended_hook = .{ .function = ended, .owner = api.ref(instance) };
        return true;
    }

    /// On the shard: the task behind is done.
    fn ended(instance: *Object) void {
        const self = of(instance);
        const loop = Loop.of(self.loop.?);
        if (self.callback) |callback| {
            self.callback = null;
            const context = self.context.?;
            self.context = null;
            loop.push(.{ .callback = callback, .context = context, .argument = api.ref(instance) }) catch {
                py.Py_DecRef(callback);
                py.Py_DecRef(context);
                py.Py_DecRef(instance);
            };
        }
        py.Py_DecRef(instance);
    }

    /// The value, or an exception set. A cancellation is the outcome even if the operation won: asyncio was
    /// told so. What the operation brought is kept for the next one.
    fn outcome(self: *Waiter) ?*Object {
        const task = PyTask.Type.body(self.task.?);
        if (!self.cancelled) return task.outcome();
        var value = task.outcome();
        if (value) |one| self.giveBack(one) else py.PyErr_Clear();
        api.drop(&value);
        return api.raise(loop_helpers.CancelledError, "");
    }

    fn giveBack(self: *Waiter, value: *Object) void {
        operation.giveBack(self.awaitable.?, value);
    }

    // ---- as a future, for the C Task ----

    fn blockingOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).blocking));
    }

    fn setBlocking(instance: *Object, value: ?*Object, _: ?*anyopaque) callconv(.c) c_int {
        const truth = py.PyObject_IsTrue(value orelse return 0);
        if (truth < 0) return -1;
        of(instance).blocking = truth == 1;
        return 0;
    }

    fn getLoop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return api.ref(of(instance).loop.?);
    }

    /// add_done_callback(callback, *, context=None)
    fn addDoneCallback(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const keywords = if (names) |tuple| py.PyTuple_Size(tuple) else 0;
        if (count != 1 or keywords > 1)
            return api.raise(py.PyExc_TypeError.*, "add_done_callback() takes a callback and a context");
        const context = if (keywords == 1 and args[1] != py._Py_NoneStruct)
            api.ref(args[1])
        else
            py.PyContext_CopyCurrent() orelse return null;
        if (self.callback != null) {
            py.Py_DecRef(context);
            return api.raise(py.PyExc_RuntimeError.*, "an await of spargio's has one awaiter");
        }
        const done = self.task == null or PyTask.Type.body(self.task.?).task.isDone();
        if (done) {
            const loop = Loop.of(self.loop.?);
            loop.push(.{ .callback = api.ref(args[0]), .context = context, .argument = api.ref(instance) }) catch
                return py.PyErr_NoMemory();
            return api.none();
        }
        self.callback = api.ref(args[0]);
        self.context = context;
        return api.none();
    }

    /// remove_done_callback(callback): how many there were.
    fn removeDoneCallback(instance: *Object, callback: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        const found = self.callback != null and self.callback.? == callback;
        if (found) {
            api.drop(&self.callback);
            api.drop(&self.context);
        }
        return py.PyLong_FromLongLong(@intFromBool(found));
    }

    /// cancel(msg=None): whether it was not done.
    fn cancel(instance: *Object, _: [*]const *Object, _: isize, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const handle = self.task orelse return py.PyBool_FromLong(0);
        const task = PyTask.Type.body(handle);
        if (task.task.isDone()) return py.PyBool_FromLong(0);
        self.cancelled = true;
        task.task.cancel_requested.store(true, .seq_cst);
        Shard.wake(&task.task);
        return py.PyBool_FromLong(1);
    }

    fn isDone(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const handle = of(instance).task orelse return py.PyBool_FromLong(0);
        return py.PyBool_FromLong(@intFromBool(PyTask.Type.body(handle).task.isDone()));
    }

    fn result(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const handle = self.task orelse return api.raise(py.PyExc_RuntimeError.*, "Result is not set.");
        if (!PyTask.Type.body(handle).task.isDone()) return api.raise(py.PyExc_RuntimeError.*, "Result is not set.");
        return self.outcome();
    }

    fn self_(instance: *Object) callconv(.c) ?*Object {
        return api.ref(instance);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        for ([_]?*Object{ Type.class, self.loop, self.awaitable, self.task, self.callback, self.context }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        return 0;
    }

    /// For the collector: the operations under way hold these. If nobody runs the loop they do so for the
    /// loop alone, and a loop that was dropped goes away with them: its finalizer closes it.
    pub fn traverseAll(shard: *const Shard, visit: api.Visit, arg: ?*anyopaque) c_int {
        var next = shard.live;
        while (next) |task| : (next = task.live_next) {
            const hook = (PyTask.ofAny(task) orelse continue).ended_hook orelse continue;
            if (hook.function != &ended) continue;
            const status = visit(hook.owner, arg);
            if (status != 0) return status;
        }
        return 0;
    }

    fn tpClear(instance: *Object) callconv(.c) c_int {
        const self = of(instance);
        api.drop(&self.callback);
        api.drop(&self.context);
        return 0;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = of(instance);
        py.PyObject_GC_UnTrack(instance);
        api.drop(&self.callback);
        api.drop(&self.context);
        api.drop(&self.task);
        api.drop(&self.awaitable);
        api.drop(&self.loop);
        Type.free(instance, true);
    }
};

pub fn define() bool {
    const keywords = api.meth_fastcall | api.meth_keywords;
    return object.define(Waiter.Type, "Waiter", .{
        .methods = &.{
            object.method("get_loop", &Waiter.getLoop, api.meth_noargs, "($self, /)", "The loop."),
            object.method(
                "add_done_callback",
                &Waiter.addDoneCallback,
                keywords,
                "($self, callback, *, context)",
                "For the one awaiter.",
            ),
            object.method(
                "remove_done_callback",
                &Waiter.removeDoneCallback,
                api.meth_one,
                "($self, callback, /)",
                "How many there were.",
            ),
            object.method("cancel", &Waiter.cancel, keywords, "($self, msg=None, /)", "Whether it was not done."),
            object.method("done", &Waiter.isDone, api.meth_noargs, "($self, /)", "Whether it has ended."),
            object.method("result", &Waiter.result, api.meth_noargs, "($self, /)", "Its value, or what it raised."),
        },
        .properties = &.{
            .{ .name = "_asyncio_future_blocking", .get = &Waiter.blockingOf, .set = &Waiter.setBlocking },
        },
        .iter = &Waiter.self_,
        .iternext = &Waiter.iternext,
        .dealloc = &Waiter.dealloc,
        .traverse = &Waiter.traverse,
        .clear = &Waiter.tpClear,
    });
}
