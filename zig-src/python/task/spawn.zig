//! Spawning from Python: which shard a placement means, what may be spawned, and the way to the scheduler.
//! Any thread, attached to the interpreter.

const std = @import("std");
const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const core = @import("../../runtime/runtime.zig");
const errors = @import("../../base/errors.zig");
const interpreter = &@import("py_interpreter.zig").interpreter;
const object = @import("../cpython/object.zig");
const Kind = @import("../../task/task.zig").Kind;
const NativeJoin = @import("native_join.zig").NativeJoin;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

const Target = struct {
    kind: Kind,
    shard: *Shard,
    /// The runtime's shard that spawns, if one does.
    from: ?*Shard,
};

/// spawn(kind, value, coroutine, name) -> Task
fn spawn(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("spawn", count, 4)) return null;
    const self = PyRuntime.of(instance);
    const target = place(self, arguments[0], arguments[1]) orelse return null;
    const coroutine = adopt(arguments[2]) orelse return null;
    defer py.Py_DecRef(coroutine);
    const name = if (arguments[3] == py._Py_NoneStruct) null else arguments[3];
    if (name) |given| if (!isText(given)) return null;
    // One function for what most programs do most often: its pieces have many arguments.
    return @call(.always_inline, submit, .{ self, instance, coroutine, name, target, false });
}

/// False, with the exception set, for a name that could not be shown.
fn isText(name: *Object) bool {
    var size: isize = 0;
    if (py.PyUnicode_AsUTF8AndSize(name, &size) != null) return true;
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_TypeError.*) == 0)
        api.raiseObject(exception) // Text that is not Unicode.
    else
        _ = api.raiseValue(py.PyExc_TypeError.*, "name", name, "a str or None");
    return false;
}

/// spawn_cleanup(coroutine, name) -> Task: on the current shard, also while the runtime closes.
fn spawnCleanup(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("spawn_cleanup", count, 2)) return null;
    const self = PyRuntime.of(instance);
    const shard = Shard.currentOf(&self.runtime.scheduler) orelse
        return api.raise(py.PyExc_RuntimeError.*, "spawn_cleanup() outside a shard");
    const coroutine = adopt(arguments[0]) orelse return null;
    defer py.Py_DecRef(coroutine);
    return submit(self, instance, coroutine, arguments[1], .{ .kind = .pinned, .shard = shard, .from = shard }, true);
}

fn submit(
    self: *PyRuntime,
    instance: *Object,
    coroutine: *Object,
    name: ?*Object,
    target: Target,
    cleanup: bool,
) ?*Object {
    const given = .{ instance, coroutine, name, target.kind, target.shard.id, target.from };
    const task = @call(.always_inline, PyTask.create, given) orelse return null;
    task.task.cleanup = cleanup;
    const handle = PyTask.Type.objectOf(task);
    py.Py_IncRef(handle); // The scheduler's, given back by `release`.
    hand(self, task, target) catch |err| {
        if (err == error.Closed) task.closeCoroutine(); // It can never run; a full queue may empty.
        py.Py_DecRef(handle);
        py.Py_DecRef(handle);
        return callbacks.raiseCode(errors.fromError(err));
    };
    return handle;
}

/// Of a runtime that closes its own tasks may spawn: to clean up. What one spawns that does not know it yet is
/// cancelled as all that was there: it ends before it begins.
fn hand(self: *PyRuntime, task: *PyTask, target: Target) errors.Error!void {
    self.runtime.submitFrom(target.from, &task.task, target.shard) catch |err| {
        if (err != error.Closed or target.from == null) return err;
        const me = PyTask.current() orelse return err;
        task.task.cleanup = true;
        if (me.endIsNews()) task.task.cancel_requested.store(true, .seq_cst);
        return self.runtime.submit(&task.task, target.shard);
    };
}

/// place(kind, value) -> the shard that a placement means now.
fn placeOf(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("place", count, 2)) return null;
    const target = place(PyRuntime.of(instance), arguments[0], arguments[1]) orelse return null;
    return py.PyLong_FromLongLong(target.shard.id);
}

fn place(self: *PyRuntime, kind: *Object, value: *Object) ?Target {
    const placement = readPlacement(self, kind, value) orelse return null;
    const from = Shard.currentOf(&self.runtime.scheduler);
    if (placement.kind == .stealable and interpreter.locked) {
        // Shards that share a lock run one after the other, and a hand-over takes tens of microseconds:
        // the task stays here until this shard is stuck outside the interpreter, which thieves see.
        if (from) |own| return .{ .kind = .stealable, .shard = own, .from = own };
    }
    const shard = self.runtime.place(placement) catch unreachable; // Its shard was checked.
    return .{ .kind = placement.kind, .shard = shard, .from = from };
}

/// Does not take a turn of the round robin.
fn readPlacement(self: *PyRuntime, kind_object: *Object, value_object: *Object) ?core.Placement {
    const number = object.unsigned(kind_object, "placement", @backingInt(Kind.stealable_preferred)) orelse
        return null;
    const kind: Kind = @fromBackingInt(@intCast(number));
    const shards = self.runtime.scheduler.shards.len;
    const value = switch (kind) {
        .pinned, .stealable_preferred => object.unsigned(value_object, "shard", shards - 1),
        .sticky => object.unsigned(value_object, "the key", std.math.maxInt(i64)),
        .round_robin, .stealable => 0,
    };
    return .{ .kind = kind, .value = value orelse return null };
}

/// A new reference to something PyIter_Send can drive.
fn adopt(given: *Object) ?*Object {
    const class = py.PyObject_Type(given);
    defer py.Py_DecRef(class);
    if (class == py.PyCoro_Type) return api.ref(given);
    return api.call(callbacks.table.adopt, &.{api.ref(given)});
}

/// spawn_native(address, ctx, kind, value) -> NativeTask
fn spawnNative(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("spawn_native", count, 4)) return null;
    const self = PyRuntime.of(instance);
    const address = py.PyLong_AsUnsignedLongLong(arguments[0]);
    const ctx = py.PyLong_AsUnsignedLongLong(arguments[1]);
    if (py.PyErr_Occurred() != null) return null;
    if (address == 0)
        return api.raise(py.PyExc_ValueError.*, "address must be that of a C function, got 0");
    const placement = readPlacement(self, arguments[2], arguments[3]) orelse return null;
    return NativeJoin.spawn(instance, placement, address, ctx);
}

/// Of the Runtime.
pub const methods = [_]api.MethodDef{
    object.method(
        "spawn",
        &spawn,
        api.meth_fastcall,
        "($self, kind, value, coroutine, name, /)",
        "A JoinHandle.",
    ),
    object.method(
        "place",
        &placeOf,
        api.meth_fastcall,
        "($self, kind, value, /)",
        "The shard that a placement means now.",
    ),
    object.method(
        "spawn_cleanup",
        &spawnCleanup,
        api.meth_fastcall,
        "($self, coroutine, name, /)",
        "The same on this shard, also while the runtime closes.",
    ),
    object.method(
        "spawn_native",
        &spawnNative,
        api.meth_fastcall,
        "($self, address, ctx, kind, value, /)",
        "A NativeJoinHandle.",
    ),
};
