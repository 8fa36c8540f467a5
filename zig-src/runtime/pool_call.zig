//! A call that a thread of a pool makes, as an operation of a task. What no thread has begun can be cancelled;
//! what has begun ends when the call returns, or is left to its thread. On the shard, but for `perform`,
//! `left` and `giveBack`.

const errors = @import("../base/errors.zig");
const tsan = @import("../base/tsan.zig");
const Call = @import("../epoll/pending.zig").Call;
const Op = @import("../task/op.zig").Op;
const Pending = @import("../epoll/pending.zig").Pending;
const Pool = @import("../epoll/pool.zig").Pool;
const Posted = @import("../scheduler/posted.zig").Posted;
const Shard = @import("../scheduler/shard.zig").Shard;
const Source = @import("../task/source.zig").Source;
const Task = @import("../task/task.zig").Task;

pub const PoolCall = struct {
    pending: Pending = .{ .call = &call },
    posted: Posted = undefined,
    source: Source = .{ .cancel = cancel, .release = gone },
    pool: *Pool = undefined,
    /// On the pool's thread: the result.
    perform: *const fn (*PoolCall) i32,
    /// On the pool's thread, if the operation was given up during `perform`, in place of `release`. Null: it waits
    /// for the call.
    left: ?*const fn (*PoolCall) void = null,
    /// On the shard, once, after the end: frees what the call lies in.
    release: *const fn (*PoolCall, *const Op, taken: bool) void,

    const call: Call = .{ .perform = performOnThread };
    const leaving_call: Call = .{ .perform = performOnThread, .left = leftOnThread };

    pub fn start(self: *PoolCall, shard: *Shard, task: *Task, pool: *Pool) error{OutOfMemory}!*Op {
        const op = try self.take(shard, task);
        self.pool = pool;
        if (self.left != null) self.pending.call = &leaving_call;
        tsan.release(self);
        // Not one thread can be made: that is the result.
        if (!pool.submit(&self.pending)) shard.endOp(op, errors.negative(.AGAIN), 0);
        return op;
    }

    /// It needs no thread.
    pub fn endNow(self: *PoolCall, shard: *Shard, task: *Task, result: i32) error{OutOfMemory}!*Op {
        const op = try self.take(shard, task);
        shard.endOp(op, result, 0);
        return op;
    }

    fn take(self: *PoolCall, shard: *Shard, task: *Task) error{OutOfMemory}!*Op {
        const op = try shard.ops.take(task, shard);
        self.posted = .{ .op = op };
        op.source = &self.source;
        return op;
    }

    fn performOnThread(pending: *Pending) i32 {
        const self: *PoolCall = @fieldParentPtr("pending", pending);
        tsan.acquire(self);
        defer tsan.release(self);
        return self.perform(self);
    }

    fn leftOnThread(pending: *Pending) void {
        const self: *PoolCall = @fieldParentPtr("pending", pending);
        self.left.?(self);
    }

    /// On the pool's thread.
    pub fn giveBack(pending: *Pending) void {
        const self: *PoolCall = @fieldParentPtr("pending", pending);
        self.posted.post(pending.result);
    }

    fn cancel(source: *Source, op: *Op) void {
        const self: *PoolCall = @fieldParentPtr("source", source);
        if (!self.pool.withdraw(&self.pending)) {
            if (self.left == null or !self.pool.letGo(&self.pending)) return; // Its end is to come, or on its way.
            op.source = null; // The thread's.
        }
        Shard.current().?.endOp(op, errors.negative(.CANCELED), 0);
    }

    fn gone(source: *Source, op: *const Op, taken: bool) void {
        const self: *PoolCall = @fieldParentPtr("source", source);
        tsan.acquire(self);
        self.release(self, op, taken);
    }
};
