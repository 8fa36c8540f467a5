//! An operation that ends when a stealable queue has room: what a task does whose spawn was refused. No
//! promise: who spawns first takes the place. On the waiting task's shard; it is told from anywhere.

const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const Op = @import("../task/op.zig").Op;
const Posted = @import("../scheduler/posted.zig").Posted;
const Room = @import("../task/room.zig").Room;
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Task = @import("../task/task.zig").Task;

const RoomWait = struct {
    waiter: Room.Waiter,
    posted: Posted,
    source: Source = .{ .cancel = cancel, .release = release },
    /// Whose queue. It lives as long as the operation: it is of the same runtime.
    target: *Shard,
};

pub fn start(shard: *Shard, task: *Task, target: *Shard) error{OutOfMemory}!*Op {
    const self = try gpa.create(RoomWait);
    errdefer gpa.destroy(self);
    const op = try shard.ops.take(task, shard);
    self.* = .{ .waiter = .{ .task = task, .told = told }, .posted = .{ .op = op }, .target = target };
    op.source = &self.source;
    target.room.join(&self.waiter);
    // What left the queue before is not told.
    if (target.freePlaces() > 0 and leave(self)) shard.endOp(op, 0, 0);
    return op;
}

/// False: it was served, and its wake-up is on the way.
fn leave(self: *RoomWait) bool {
    return self.target.room.leave(&self.waiter);
}

fn told(waiter: *Room.Waiter) void {
    const self: *RoomWait = @fieldParentPtr("waiter", waiter);
    self.posted.post(0);
}

fn cancel(source: *Source, op: *Op) void {
    const self: *RoomWait = @fieldParentPtr("source", source);
    if (leave(self)) Shard.current().?.endOp(op, errors.negative(.CANCELED), 0);
}

/// The task tries its spawn now, or will not: then the place is for the next.
fn release(source: *Source, _: *const Op, _: bool) void {
    const self: *RoomWait = @fieldParentPtr("source", source);
    self.target.roomTried(&self.waiter);
    gpa.destroy(self);
}
