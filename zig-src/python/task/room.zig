//! room(shard): waits until that shard's stealable queue is not full. It reserves nothing: the
//! first spawn takes the place.

const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Room = @import("../../task/room.zig").Room;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

const Wait = struct {
    waiter: Room.Waiter,
    shard: *Shard,
    /// Keeps the shard; null if it was awaited to its end.
    runtime: ?*Object,
    suspended: bool,

    const Type = object.TypeOf(Wait);

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of room in a queue") orelse return null;
        if (self.runtime == null or (self.suspended and self.waiter.task != &me.task))
            return api.raise(py.PyExc_RuntimeError.*, "room in a queue can be awaited once");
        self.endWait();
        if (me.cancelWanted()) {
            api.drop(&self.runtime);
            return me.raiseCancel();
        }
        self.waiter = .{ .task = &me.task };
        self.shard.room.join(&self.waiter);
        if (self.shard.freePlaces() > 0) {
            self.leave();
            api.drop(&self.runtime);
            return api.none();
        }
        self.suspended = true;
        suspended.* = true;
        return me.suspendNow();
    }

    fn endWait(self: *Wait) void {
        if (self.suspended) self.leave();
        self.suspended = false;
    }

    fn leave(self: *Wait) void {
        if (!self.shard.room.leave(&self.waiter)) self.shard.roomTried(&self.waiter);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        self.endWait();
        api.drop(&self.runtime);
        Type.free(instance, false);
    }
};

/// room(shard): of a runtime
pub fn room(runtime: *Object, argument: *Object) callconv(.c) ?*Object {
    const shards = PyRuntime.of(runtime).runtime.scheduler.shards;
    const shard = object.unsigned(argument, "shard", shards.len - 1) orelse return null;
    const instance = Wait.Type.create() orelse return null;
    const self = Wait.Type.body(instance);
    self.shard = &shards[@intCast(shard)];
    self.runtime = api.ref(runtime);
    return instance;
}

pub fn define() bool {
    return object.define(Wait.Type, "Room", .{
        .step = Wait.step,
        .dealloc = &Wait.dealloc,
    });
}
