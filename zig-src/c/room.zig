//! The C ABI of the wait for room after SPARGIO_E_OVERLOADED. In a poll function only.

const fail = @import("common.zig").fail;
const handles = @import("../runtime/runtime_handle.zig");
const launch = @import("common.zig").launch;
const room_wait = @import("../runtime/room_wait.zig");
const task = @import("task.zig");
const Shard = @import("../scheduler/shard.zig").Shard;

pub export fn spargio_room(handle: u64, placement: ?*const task.PlacementC, op: ?*u64) i32 {
    const where = task.readPlacement(placement) catch |err| return fail(err);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    // Of another runtime: that one may end before.
    if (Shard.currentOf(&runtime.scheduler) == null) return fail(error.NotOnShard);
    const target = runtime.place(where) catch |err| return fail(err);
    return launch(op, room_wait.start, .{target});
}
