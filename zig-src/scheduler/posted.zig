//! The end of an operation that comes from outside its shard: whoever has it posts it once, and the shard
//! ends the operation in its next pass.

const std = @import("std");
const assert = std.debug.assert;
const tsan = @import("../base/tsan.zig");
const ListType = @import("../queue/list.zig").ListType;
const Op = @import("../task/op.zig").Op;
const Shard = @import("shard.zig").Shard;

pub const Posted = struct {
    next: ?*Posted = null,
    op: *Op,
    result: i32 = 0,

    /// Any thread, once, while the operation is under way. Afterwards this may be gone.
    pub fn post(self: *Posted, result: i32) void {
        const shard: *Shard = @ptrCast(@alignCast(self.op.shard));
        const scheduler = shard.scheduler;
        self.result = result;
        // The runtime may end as soon as the operation has: no ring is closed, and nothing goes, under who rings.
        const outside = Shard.currentOf(scheduler) == null;
        if (outside) _ = scheduler.ringing.fetchAdd(1, .seq_cst);
        tsan.release(self);
        shard.posted.push(self);
        _ = scheduler.notify(shard);
        if (outside) _ = scheduler.ringing.fetchSub(1, .seq_cst);
    }
};

/// On the shard, outside any task: ends what was posted.
pub fn drain(shard: *Shard) void {
    assert(shard.isHere() and shard.current_task == null);
    var arrived: ListType(Posted) = .{};
    if (shard.posted.drain(&arrived) == 0) return;
    while (arrived.popFront()) |one| {
        tsan.acquire(one);
        shard.endOp(one.op, one.result, 0);
    }
}
