//! What a handle of any task answers: of a coroutine (join_handle.zig), or of a C function (native_join.zig).
//! Any thread, attached to the interpreter.

const api = @import("../cpython/api.zig");
const errors = @import("../../base/errors.zig");
const object = @import("../cpython/object.zig");
const result_wait = @import("result_wait.zig");
const shard_none = @import("../../task/task.zig").shard_none;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// `Body`: a handle's, with
/// - `coreTask()`: the scheduler's task;
/// - `runtime`: the Runtime that it belongs to;
/// - `outcome()`: its result, or an exception; only when done.
pub fn HandleMethods(comptime Body: type) type {
    return struct {
        fn cancel(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
            const self = Body.Type.body(handle);
            const task = self.coreTask();
            if (task.isDone()) return py.PyBool_FromLong(0);
            if (!PyRuntime.isHere(self.runtime.?)) return null;
            // It ends already, with all others: what it still does is clean-up.
            if (task.told_of_close.load(.monotonic)) return py.PyBool_FromLong(1);
            task.cancel_requested.store(true, .seq_cst);
            Shard.wake(task);
            return py.PyBool_FromLong(1);
        }

        fn done(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
            return py.PyBool_FromLong(@intFromBool(Body.Type.body(handle).coreTask().isDone()));
        }

        fn cancelled(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
            const task = Body.Type.body(handle).coreTask();
            const by_cancellation = task.isDone() and task.status == @backingInt(errors.Code.cancelled);
            return py.PyBool_FromLong(@intFromBool(by_cancellation));
        }

        /// result(timeout=None): waits on an ordinary thread; signals are looked at in between.
        fn result(handle: *Object, arguments: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
            const self = Body.Type.body(handle);
            const limit = result_wait.timeLimit(arguments, count, names) orelse return null;
            const latch = &self.coreTask().latch;
            if (!latch.isDone() and !PyRuntime.isHere(self.runtime.?)) return null;
            if (!result_wait.waitDone(latch, limit)) return null;
            return self.outcome();
        }

        pub fn shardOf(handle: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
            const id = Body.Type.body(handle).coreTask().home_id.load(.acquire);
            return if (id == shard_none) api.none() else py.PyLong_FromLongLong(id);
        }

        pub const methods = [_]api.MethodDef{
            object.method("cancel", &cancel, api.meth_noargs, "($self, /)", result_wait.cancel_doc),
            object.method("done", &done, api.meth_noargs, "($self, /)", "Whether the task has ended."),
            object.method("cancelled", &cancelled, api.meth_noargs, "($self, /)", "Whether it ended by cancellation."),
            object.method(
                "result",
                &result,
                api.meth_fastcall | api.meth_keywords,
                "($self, timeout=None)",
                result_wait.result_doc,
            ),
        };
    };
}
