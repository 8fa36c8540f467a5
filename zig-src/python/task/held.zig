//! Cancellation that is held: raised at each await of a task until it is taken back, as in anyio
//! and trio. The holder knows the reason (a tree of scopes); the task knows only that it is held.
//! Also functions about tasks for a library that keeps such trees.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// hold(handle, on): from now on each await of the task is cancelled, or no more. Any thread.
fn hold(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("hold", count, 2)) return null;
    if (!PyTask.Type.is(arguments[0])) return api.raise(py.PyExc_TypeError.*, "hold() takes a JoinHandle");
    const task = PyTask.Type.body(arguments[0]);
    const on = py.PyObject_IsTrue(arguments[1]);
    if (on < 0) return null;
    // Release pairs with the acquire in `heldNow`: the woken task sees it.
    task.held.store(on == 1, .release);
    if (on == 0 or task.task.isDone()) return api.none();
    const shard = Shard.current();
    if (shard != null and task.task.home == @as(?*anyopaque, shard.?)) {
        if (task.waits_for) |target| if (task.kept_back == 0 and !target.isDone()) {
            task.cut = true;
        };
    }
    Shard.wake(&task.task);
    return api.none();
}

/// keep_back(change): +1 before what must end first, -1 afterwards; in between nothing that is held reaches
/// this task.
fn keepBack(_: ?*Object, change: *Object) callconv(.c) ?*Object {
    const task = PyTask.demand("keep_back()") orelse return null;
    const by = object.integer(change, "change") orelse return null;
    if (by == 1) {
        task.kept_back += 1;
    } else if (by == -1 and task.kept_back > 0) {
        task.kept_back -= 1;
    } else return api.raiseFormat(
        py.PyExc_ValueError.*,
        "change must be 1, or -1 once for each 1, got {d} after {d}",
        .{ by, task.kept_back },
    );
    return api.none();
}

/// companion(): what set_companion() was given in this task, else None; None outside a task.
pub fn companion(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const task = PyTask.current() orelse return api.none();
    return if (task.companion) |one| api.ref(one) else api.none();
}

fn setCompanion(_: ?*Object, given: *Object) callconv(.c) ?*Object {
    const task = PyTask.demand("set_companion()") orelse return null;
    var before = task.companion;
    task.companion = api.ref(given);
    api.drop(&before);
    return api.none();
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("hold", &hold, api.meth_fastcall, "(handle, on, /)", "Cancels each await of the task, or not."),
    object.method(
        "keep_back",
        &keepBack,
        api.meth_one,
        "(change, /)",
        "+1: nothing that is held reaches this task; -1: it does again.",
    ),
    object.method("companion", &companion, api.meth_noargs, "()", "What a library keeps about this task."),
    object.method("set_companion", &setCompanion, api.meth_one, "(companion, /)", "Until the task ends."),
};
