//! quiet(): waits until all other tasks of this shard wait for something.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Waiter = @import("../../scheduler/quiet.zig").Waiter;
const Object = api.Object;
const py = &api.py;

const Wait = struct {
    waiter: Waiter,
    began: bool,

    const Type = object.TypeOf(Wait);

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of quiet()") orelse return null;
        const list = &Shard.current().?.quiet;
        if (me.cancelWanted()) {
            list.leave(&self.waiter);
            return me.raiseCancel();
        }
        if (!self.began) {
            self.began = true;
            self.waiter = .{ .task = &me.task };
            list.join(&self.waiter);
        } else if (self.waiter.task != &me.task) {
            return api.raise(py.PyExc_RuntimeError.*, "quiet() is awaited by two tasks");
        } else if (!self.waiter.waits) return api.none();
        suspended.* = true;
        return me.suspendNow();
    }

    /// A coroutine that was closed while it waited: on its shard, as all that a task holds.
    fn dealloc(instance: *Object) callconv(.c) void {
        if (Shard.current()) |shard| shard.quiet.leave(&Type.body(instance).waiter);
        Type.free(instance, false);
    }
};

fn quiet(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    return Wait.Type.create();
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("quiet", &quiet, api.meth_noargs, "()", "Waits until all other tasks of this shard wait."),
};

pub fn define() bool {
    return object.define(Wait.Type, "Quiet", .{
        .step = Wait.step,
        .dealloc = &Wait.dealloc,
    });
}
