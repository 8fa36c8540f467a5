//! `yield_now()`: one object for all, because its only state is the task's.

const api = @import("api.zig");
const object = @import("object.zig");
const PyTask = @import("task.zig").PyTask;
const Object = api.Object;

const Yield = struct { unused: u64 };
const Type = object.TypeOf(Yield);

var instance: ?*Object = null;

fn step(_: *Object, suspended: *bool) ?*Object {
    const me = PyTask.demand("await of yield_now()") orelse return null;
    const resumed = me.in_yield;
    me.in_yield = false;
    if (me.cancelWanted()) return me.raiseCancel();
    if (resumed) return api.none();
    me.in_yield = true;
    suspended.* = true;
    return me.suspendYield();
}

pub fn yieldNow(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    return api.ref(instance.?);
}

fn dealloc(self: *Object) callconv(.c) void {
    Type.free(self, false);
}

pub fn define() bool {
    const awaitable = object.Awaitable(step);
    var slots = awaitable.slots() ++ [_]api.TypeSlot{
        object.slotOf(api.slot.dealloc, &dealloc),
        .{},
    };
    if (!Type.define("Yield", 0, &slots)) return false;
    instance = Type.create();
    return instance != null;
}
