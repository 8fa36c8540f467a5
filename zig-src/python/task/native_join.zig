//! The handle of a C function that Python spawned: awaited in coroutines, waited for on threads.

const api = @import("../cpython/api.zig");
const errors = @import("../../base/errors.zig");
const callbacks = @import("../cpython/callbacks.zig");
const native = @import("../../runtime/native_task.zig");
const object = @import("../cpython/object.zig");
const repr = @import("repr.zig");
const Placement = @import("../../runtime/runtime.zig").Placement;
const HandleMethods = @import("handle_methods.zig").HandleMethods;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Task = @import("../../task/task.zig").Task;
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
            .{ .poll_fn = @ptrFromInt(address), .ctx = @ptrFromInt(ctx) },
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
        return me.untilDone(&self.task.task.latch, instance, suspended) orelse self.outcome();
    }

    pub fn coreTask(self: *NativeJoin) *Task {
        return &self.task.task;
    }

    pub fn outcome(self: *NativeJoin) ?*Object {
        const task = &self.task.task;
        if (task.status == errors.ok) return py.PyLong_FromLongLong(task.result);
        if (task.status == @backingInt(errors.Code.cancelled))
            return api.raise(callbacks.table.TaskCancelled, "the task was cancelled before it ended");
        return callbacks.raiseCode(task.status);
    }

    fn nameOf(_: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.none();
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
};

pub fn define() bool {
    const Methods = HandleMethods(NativeJoin);
    return object.define(NativeJoin.Type, "NativeJoinHandle", .{
        .doc = "A spawned C function; its result is the `*result` that it set. See JoinHandle.",
        .step = NativeJoin.step,
        .methods = &Methods.methods,
        .properties = &.{
            .{ .name = "name", .get = &NativeJoin.nameOf, .doc = "None: C functions have no name." },
            .{ .name = "shard", .get = &Methods.shardOf, .doc = "Shard it started on, or None." },
        },
        .repr = &NativeJoin.show,
        .dealloc = &NativeJoin.dealloc,
    });
}
