//! ended(handle): waits for the end of a task without its outcome, which then counts as retrieved.
//! It is for a group, which has the outcome already: an exception that is raised in a frame that
//! holds the handle would hold itself.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const PyTask = @import("py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

const Ended = struct {
    handle: ?*Object,

    const Type = object.TypeOf(Ended);

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const handle = Type.body(instance).handle.?;
        const me = PyTask.demand("await of an end") orelse return null;
        const task = PyTask.Type.body(handle);
        if (me.untilDone(&task.task.latch, handle, suspended)) |answer| return answer;
        task.retrieved = true;
        return api.none();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        api.drop(&Type.body(instance).handle);
        Type.free(instance, false);
    }
};

pub fn ended(_: ?*Object, handle: *Object) callconv(.c) ?*Object {
    if (!PyTask.Type.is(handle)) return api.raise(py.PyExc_TypeError.*, "ended() takes a JoinHandle");
    const instance = Ended.Type.create() orelse return null;
    Ended.Type.body(instance).handle = api.ref(handle);
    return instance;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("ended", &ended, api.meth_one, "(handle, /)", "Waits for a task's end, without its outcome."),
};

pub fn define() bool {
    return object.define(Ended.Type, "Ended", .{
        .step = Ended.step,
        .dealloc = &Ended.dealloc,
    });
}
