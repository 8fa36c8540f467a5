//! An operation that ends when a time has passed: a timer of the shard, no SQE. On the shard's thread only.

const clock = @import("../base/clock.zig");
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

pub fn sleep(shard: *Shard, task: *Task, duration_ns: u64) error{OutOfMemory}!*Op {
    const op = try shard.ops.take(task, shard);
    shard.launchTimer(op, clock.deadlineNs(duration_ns));
    return op;
}
