//! The interpreter as a language host: a shard's thread attaches once, takes the interpreter's lock
//! around its Python work and gives it up otherwise.

const api = @import("api.zig");
const gpa = @import("../memory.zig").gpa;
const helpers = &@import("helpers.zig").helpers;
const Host = @import("../host.zig").Host;
const PyRuntime = @import("runtime.zig").PyRuntime;
const Shard = @import("../shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// Set at import: whether the interpreter has a lock that all threads share.
pub var host: Host = .{
    .locked = true,
    .attach = attach,
    .detach = detach,
    .enter = enter,
    .leave = leave,
    .last_task = lastTask,
    .interrupted = interrupted,
};

fn attach(shard: *Shard) void {
    // A caller's thread is attached already; a thread of ours gets a state for its whole life. (Its
    // `thread` field tells nothing here: the starter may not have written it yet.)
    if (!shard.interruptible) _ = py.PyGILState_Ensure();
    callHook(helpers.attached, shard);
    shard.host_data = py.PyEval_SaveThread();
}

fn detach(shard: *Shard) void {
    py.PyEval_RestoreThread(@ptrCast(shard.host_data.?));
    callHook(helpers.detached, shard);
    // 1 is PyGILState_UNLOCKED, what Ensure gave: the thread had no state before.
    if (!shard.interruptible) py.PyGILState_Release(1);
}

fn callHook(hook: *Object, shard: *Shard) void {
    const runtime = PyRuntime.ofCrew(shard.crew);
    if (runtime.dying) return;
    const id = py.PyLong_FromLongLong(shard.id) orelse return py.PyErr_WriteUnraisable(hook);
    var result = api.call(hook, &.{ api.ref(PyRuntime.Type.objectOf(runtime)), id });
    if (result == null) py.PyErr_WriteUnraisable(hook);
    api.drop(&result);
}

fn enter(shard: *Shard) void {
    py.PyEval_RestoreThread(@ptrCast(shard.host_data.?));
}

fn leave(shard: *Shard) void {
    shard.host_data = py.PyEval_SaveThread();
}

fn lastTask(shard: *Shard) void {
    shard.enterHost();
    callHook(helpers.last_task, shard);
}

/// Runs Python's signal handlers; what they raise ends the runtime and is raised by run().
fn interrupted(shard: *Shard) void {
    enter(shard);
    if (py.PyErr_CheckSignals() != 0) PyRuntime.ofCrew(shard.crew).stopWith(api.takeException());
    leave(shard);
}
