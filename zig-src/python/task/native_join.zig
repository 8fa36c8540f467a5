//! The handle of a C function that Python spawned: awaited in coroutines, waited for on threads.

const api = @import("../cpython/api.zig");
const errors = @import("../../base/errors.zig");
const callbacks = @import("../cpython/callbacks.zig");
const native = @import("../../runtime/native_task.zig");
const object = @import("../cpython/object.zig");
const repr = @import("repr.zig");
const result_wait = @import("result_wait.zig");
const Placement = @import("../../runtime/runtime.zig").Placement;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const shard_none = @import("../../task/task.zig").shard_none;
const Object = api.Object;
const py = &api.py;

pub const NativeJoin = struct {
    /// Pinned by this object through `join`.
    task: *native.NativeTask,
    join: u64,
    runtime: ?*Object,

    pub const Type = object.TypeOf(NativeJoin);

    pub fn spawn(runtime: *Object, placement: Placement, address: usize, ctx: usize) ?*Object {
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        const owner = PyRuntime.of(runtime);
        native.NativeTask.spawn(
            owner.runtime,
            owner.handle,
            placement,
            @ptrFromInt(address),
            @ptrFromInt(ctx),
            &self.join,
        ) catch |err| {
            py.Py_DecRef(instance);
            return callbacks.raiseCode(errors.fromError(err));
        };
        self.task = native.joins.pin(self.join).?;
        self.runtime = api.ref(runtime);
        return instance;
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of a native task") orelse return null;
        const task = &self.task.task;
        if (!task.isDone() and me.cancelWanted()) {
            me.endWait();
            return me.raiseCancel();
        }
        if (!task.isDone() and me.awaitLatch(&task.latch, instance)) {
            suspended.* = true;
            return me.suspendNow();
        }
        me.endWait();
        return self.outcome();
    }

    fn outcome(self: *NativeJoin) ?*Object {
        const task = &self.task.task;
        if (task.status == errors.ok) return py.PyLong_FromLongLong(task.result);
        if (task.status == @backingInt(errors.Code.cancelled))
            return api.raise(callbacks.table.TaskCancelled, "the task was cancelled before it ended");
        return callbacks.raiseCode(task.status);
    }

    fn result(instance: *Object, arguments: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const limit = result_wait.timeLimit(arguments, count, names) orelse return null;
        if (!self.task.task.isDone() and !PyTask.isHere(self.runtime.?)) return null;
        if (!result_wait.waitDone(&self.task.task.latch, limit)) return null;
        return self.outcome();
    }

    fn cancel(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const task = &Type.body(instance).task.task;
        if (task.isDone()) return py.PyBool_FromLong(0);
        if (!PyTask.isHere(Type.body(instance).runtime.?)) return null;
        task.cancel_requested.store(true, .seq_cst);
        Shard.wake(task);
        return py.PyBool_FromLong(1);
    }

    fn done(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(Type.body(instance).task.task.isDone()));
    }

    fn cancelled(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const task = &Type.body(instance).task.task;
        const by_cancellation = task.isDone() and task.status == @backingInt(errors.Code.cancelled);
        return py.PyBool_FromLong(@intFromBool(by_cancellation));
    }

    fn nameOf(_: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.none();
    }

    fn shardOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const id = Type.body(instance).task.task.home_id.load(.acquire);
        return if (id == shard_none) api.none() else py.PyLong_FromLongLong(id);
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const task = &Type.body(instance).task.task;
        return repr.ofHandle("NativeJoinHandle", null, task, false);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.runtime != null) {
            _ = native.joins.close(self.join);
            native.joins.unpin(self.join);
        }
        api.drop(&self.runtime);
        Type.free(instance, false);
    }

    pub fn define() bool {
        const awaitable = object.Awaitable(step);
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method(
                    "cancel",
                    &cancel,
                    api.meth_noargs,
                    "($self, /)",
                    result_wait.cancel_doc,
                ),
                object.method(
                    "cancelled",
                    &cancelled,
                    api.meth_noargs,
                    "($self, /)",
                    "Whether it ended by cancellation.",
                ),
                object.method("done", &done, api.meth_noargs, "($self, /)", "Whether the task has ended."),
                object.method(
                    "result",
                    &result,
                    api.meth_fastcall | api.meth_keywords,
                    "($self, timeout=None)",
                    result_wait.result_doc,
                ),
                .{},
            };
            var properties = [_]api.GetSetDef{
                .{ .name = "name", .get = &nameOf, .doc = "None: C functions have no name." },
                .{ .name = "shard", .get = &shardOf, .doc = "Shard it started on, or None." },
                .{},
            };
        };
        var slots = awaitable.slots() ++ [_]api.TypeSlot{
            object.docSlot("A spawned C function; its result is the `*result` that it set. See JoinHandle."),
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.repr, &show),
            object.slotOf(api.slot.getset, &S.properties),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("NativeJoinHandle", 0, &slots);
    }
};
