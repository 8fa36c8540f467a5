//! A view of the running tasks from outside: the tasks of a shard, read on that shard between two
//! polls, and the requests of the monitor's socket that need Python.

const std = @import("std");
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const clock = @import("../../base/clock.zig");
const Monitor = @import("../../runtime/monitor.zig").Monitor;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const object = @import("../cpython/object.zig");
const sync = @import("../../base/sync.zig");
const Shard = @import("../../scheduler/shard.zig").Shard;
const Task = @import("../../task/task.zig").Task;
const Object = api.Object;
const py = &api.py;

/// tasks_here() -> [(JoinHandle, coroutine, companion or None, state, age in ns, ns until its timer or -1), ...]:
/// those that began on this shard and have not ended, the youngest first. C functions are (None, None, None, ...).
fn tasksHere(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const shard = Shard.current() orelse
        return api.raise(py.PyExc_RuntimeError.*, "tasks_here() outside a shard");
    const list = py.PyList_New(0) orelse return null;
    const now = clock.nowNs();
    var next = shard.live;
    while (next) |task| : (next = task.live_next) {
        const item = describe(task, now) orelse {
            py.Py_DecRef(list);
            return null;
        };
        defer py.Py_DecRef(item);
        if (py.PyList_Append(list, item) != 0) {
            py.Py_DecRef(list);
            return null;
        }
    }
    return list;
}

fn describe(task: *Task, now_ns: u64) ?*Object {
    const python = if (task.vtable.interpreted) PyTask.of(task) else null;
    const state: [:0]const u8 = switch (task.state.load(.monotonic)) {
        .queued => "ready",
        .running, .running_notified => "running",
        .idle => "waiting",
        .ended => "ending",
    };
    var until: i64 = -1;
    if (python) |one| if (one.op) |op| {
        if (op.is_timer and op.timer.isSet()) until = @intCast(op.timer.deadline_ns -| now_ns);
    };
    const tuple = py.PyTuple_New(6) orelse return null;
    const age_ns = if (python) |one| now_ns -| one.born_ns else 0;
    const items = [_]?*Object{
        if (python) |one| api.ref(PyTask.Type.objectOf(one)) else api.none(),
        orNone(if (python) |one| one.coroutine else null),
        orNone(if (python) |one| one.companion else null),
        api.string(state),
        py.PyLong_FromLongLong(@intCast(age_ns)),
        py.PyLong_FromLongLong(until),
    };
    for (items, 0..) |item, i| _ = py.PyTuple_SetItem(tuple, @intCast(i), item orelse {
        py.Py_DecRef(tuple);
        return null;
    });
    return tuple;
}

fn orNone(held: ?*Object) *Object {
    return if (held) |one| api.ref(one) else api.none();
}

/// coroutine_of(handle): of a task that began on this shard and has not ended; else None.
fn coroutineOf(_: ?*Object, handle: *Object) callconv(.c) ?*Object {
    if (!PyTask.Type.is(handle)) return api.raise(py.PyExc_TypeError.*, "coroutine_of() takes a JoinHandle");
    const task = PyTask.Type.body(handle);
    const shard = Shard.current();
    // Elsewhere its own shard may let go of it at any time.
    const is_here = shard != null and task.task.home == @as(?*anyopaque, shard.?);
    return orNone(if (is_here) task.coroutine else null);
}

/// stack(): where the coroutine of a task stands, outermost call first. Any thread.
pub fn stack(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = PyTask.Type.body(handle);
    if (self.task.isDone()) return py.PyList_New(0);
    const runtime = self.runtime orelse return py.PyList_New(0);
    return api.call(callbacks.table.stack, &.{ api.ref(handle), api.ref(runtime) });
}

/// progress(wait_ns) -> [(poll sequence, passes, whether it sleeps), ...] of the shards, after a wait; None
/// when the runtime has stopped.
fn progress(instance: *Object, wait: *Object) callconv(.c) ?*Object {
    const wait_ns = object.unsigned(wait, "wait_ns", std.math.maxInt(i64)) orelse return null;
    const scheduler = &PyRuntime.of(instance).runtime.scheduler;
    const state = py.PyEval_SaveThread();
    const end_ns = clock.deadlineNs(wait_ns);
    while (scheduler.stop.load(.acquire) == 0 and clock.nowNs() < end_ns) sync.wait(&scheduler.stop, 0, end_ns);
    py.PyEval_RestoreThread(state);
    if (scheduler.stop.load(.acquire) != 0) return api.none();
    const list = py.PyList_New(0) orelse return null;
    for (scheduler.shards) |*shard| {
        const item = threeOf(
            py.PyLong_FromLongLong(@intCast(shard.published.poll_sequence.load(.monotonic))),
            py.PyLong_FromLongLong(@intCast(shard.counters.passes.get())),
            py.PyBool_FromLong(@intFromBool(shard.park_state.isParked())),
        ) orelse return dropped(list);
        defer py.Py_DecRef(item);
        if (py.PyList_Append(list, item) != 0) return dropped(list);
    }
    return list;
}

/// Takes over the references.
fn threeOf(first: ?*Object, second: ?*Object, third: ?*Object) ?*Object {
    const tuple = py.PyTuple_New(3) orelse return null;
    for ([_]?*Object{ first, second, third }, 0..) |item, i|
        _ = py.PyTuple_SetItem(tuple, @intCast(i), item orelse return dropped(tuple));
    return tuple;
}

/// monitor_open() -> the socket's name, without the zero byte. Once, before `monitor_next`.
fn monitorOpen(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const runtime = PyRuntime.of(instance).runtime;
    if (runtime.monitor == null) {
        var errno: i32 = 0;
        runtime.monitor = Monitor.open(&errno) orelse
            return callbacks.raiseErrno(errno, "the monitor's socket", null);
    }
    const monitor = &runtime.monitor.?;
    return api.string(monitor.name[0..monitor.name_size]);
}

/// monitor_next() -> (fd, request), or None when the runtime has stopped. Statistics are answered in here,
/// without the interpreter.
fn monitorNext(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const runtime = PyRuntime.of(instance).runtime;
    const state = py.PyEval_SaveThread();
    const found = runtime.monitor.?.next(runtime);
    py.PyEval_RestoreThread(state);
    const request = found orelse return api.none();
    const tuple = py.PyTuple_New(2) orelse return null;
    const text = py.PyBytes_FromStringAndSize(&request.text, @intCast(request.size));
    _ = py.PyTuple_SetItem(tuple, 0, py.PyLong_FromLongLong(request.fd) orelse return dropped(tuple));
    _ = py.PyTuple_SetItem(tuple, 1, text orelse return dropped(tuple));
    return tuple;
}

fn dropped(tuple: *Object) ?*Object {
    py.Py_DecRef(tuple);
    return null;
}

/// Of the Runtime.
pub const methods = [_]api.MethodDef{
    object.method("progress", &progress, api.meth_one, "($self, wait_ns, /)", "How far shards have come."),
    object.method("monitor_open", &monitorOpen, api.meth_noargs, "($self, /)", "The socket's name."),
    object.method("monitor_next", &monitorNext, api.meth_noargs, "($self, /)", "(fd, request), or None."),
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "tasks_here",
        &tasksHere,
        api.meth_noargs,
        "()",
        "[(JoinHandle, coroutine, companion, state, age in ns, ns until its timer), ...] of this shard.",
    ),
    object.method("coroutine_of", &coroutineOf, api.meth_one, "(handle, /)", "Of a task of this shard, else None."),
};
