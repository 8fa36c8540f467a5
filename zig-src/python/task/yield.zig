//! `yield_now()`. Each call returns an object of its own, which knows whether it was awaited. The
//! last object that was freed is kept for the next call.

const api = @import("../cpython/api.zig");
const forgotten = @import("../cpython/forgotten.zig");
const interpreter = &@import("py_interpreter.zig").interpreter;
const object = @import("../cpython/object.zig");
const PyTask = @import("py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

const Yield = struct { asked: bool };
const Type = object.TypeOf(Yield);

const Spare = struct {
    kept: bool,
    /// Without a reference, as a free list has it.
    instance: ?*Object = null,
};
/// Guarded by the interpreter's lock, if there is one.
var shared: Spare = .{ .kept = true };
/// Without that lock: one per shard thread, which empties it at its end.
threadlocal var own: Spare = .{ .kept = false };

fn spare() *Spare {
    return if (interpreter.locked) &shared else &own;
}

fn step(instance: *Object, suspended: *bool) ?*Object {
    @atomicStore(bool, &Type.body(instance).asked, true, .monotonic);
    const me = PyTask.demand("await of yield_now()") orelse return null;
    const resumed = me.in_yield;
    me.in_yield = false;
    if (me.cancelWanted()) return me.raiseCancel();
    if (resumed) return api.none();
    me.in_yield = true;
    suspended.* = true;
    return me.suspendYield();
}

fn yieldNow(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const mine = spare();
    const instance = if (mine.instance) |one| again: {
        mine.instance = null;
        py._Py_NewReference(one);
        Type.body(one).asked = false;
        break :again one;
    } else Type.create() orelse return null;
    forgotten.made(instance);
    return instance;
}

/// close(): it is not to be awaited.
fn giveUp(instance: *Object) void {
    @atomicStore(bool, &Type.body(instance).asked, true, .monotonic);
}

fn show(_: *Object) callconv(.c) ?*Object {
    return api.string("<yield_now()>");
}

fn dealloc(instance: *Object) callconv(.c) void {
    if (Type.body(instance).asked) forgotten.used(instance) else forgotten.warn(instance, "yield_now()");
    const mine = spare();
    if (!mine.kept or mine.instance != null) return Type.free(instance, false);
    mine.instance = instance;
}

/// A shard begins on this thread, or ends.
pub fn keepSpare(yes: bool) void {
    own.kept = yes;
    if (yes) return;
    if (own.instance) |instance| Type.free(instance, false);
    own.instance = null;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "yield_now",
        &yieldNow,
        api.meth_noargs,
        "()",
        "``await yield_now()`` lets the other tasks that are ready on this shard run first.",
    ),
};

pub fn define() bool {
    return object.define(Type, "Yield", .{
        .step = step,
        .give_up = giveUp,
        .repr = &show,
        .dealloc = &dealloc,
    });
}
