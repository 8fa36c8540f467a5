//! Operations that the kernel ends with EINTR: the shard submits them again, and the task sees only
//! the result. A close is not repeated, because it has happened. The kernel posts the completions
//! on the shard's ring, in the place of real ones.

const std = @import("std");
const linux = std.os.linux;
const c_fs = @import("../c/fs.zig");
const c_ops = @import("../c/ops.zig");
const c_task = @import("../c/task.zig");
const c_user_sqe = @import("../c/user_sqe.zig");
const errors = @import("../base/errors.zig");
const harness = @import("harness.zig");
const Options = @import("../base/options.zig").Options;
const Sqe = @import("../ring/ring.zig").Sqe;

const testing = std.testing;
const interruptions = 5;

/// One task on one shard waits for one operation.
const InterruptedRead = struct {
    whole: harness.Whole,
    verbatim: bool,
    pipe: [2]i32,
    op: u64 = 0,
    begun: std.atomic.Value(u64) = .init(0),
    buffer: [8]u8 = undefined,

    fn poll(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
        const self: *InterruptedRead = @ptrCast(@alignCast(ctx.?));
        if (self.op == 0) {
            const said = if (self.verbatim) self.submitRaw() else self.read();
            if (said != errors.ok) return said;
            self.begun.store(self.op, .release);
            return errors.pending;
        }
        var value: i32 = 0;
        const said = c_ops.spargio_op_poll(self.op, &value);
        result.* = value;
        return said;
    }

    fn read(self: *InterruptedRead) i32 {
        return c_fs.spargio_read_at(self.pipe[0], &self.buffer, self.buffer.len, 0, &self.op);
    }

    fn submitRaw(self: *InterruptedRead) i32 {
        var sqe: Sqe = undefined;
        sqe.prep_read(self.pipe[0], &self.buffer, 0);
        return c_user_sqe.spargio_submit_sqe(&sqe, null, null, &self.op);
    }

    /// As the kernel would post the operation's end.
    fn interrupt(self: *InterruptedRead) !void {
        while (self.begun.load(.acquire) == 0) std.atomic.spinLoopHint();
        try self.whole.post(0, .INTR, self.begun.load(.acquire));
    }

    fn reaped(self: *InterruptedRead) u64 {
        return self.whole.shard(0).counters.cqes_reaped.get();
    }
};

fn interrupted(verbatim: bool) !i64 {
    const options: Options = .{ .shards = 1, .ring_entries = 8 };
    const whole: harness.Whole = try .start(&options);
    defer whole.forget();
    defer whole.shutdown() catch unreachable;
    if (!whole.runtime.scheduler.usesSendMsgRing()) return error.SkipZigTest;
    var trial: InterruptedRead = .{ .whole = whole, .verbatim = verbatim, .pipe = undefined };
    try testing.expectEqual(linux.E.SUCCESS, linux.errno(linux.pipe2(&trial.pipe, .{ .CLOEXEC = true })));
    defer for (trial.pipe) |fd| {
        _ = linux.close(fd);
    };
    const join = try whole.spawn(0, InterruptedRead.poll, &trial);
    for (0..if (verbatim) 1 else interruptions) |_| {
        const before = trial.reaped();
        try trial.interrupt();
        while (trial.reaped() == before) _ = linux.sched_yield();
    }
    const result: ?i64 = if (verbatim) try harness.joined(join) else null;
    // Each of the reads that are under way takes one: nothing is left behind in the kernel.
    for (0..interruptions + 1) |_| try testing.expectEqual(1, linux.write(trial.pipe[1], "x", 1));
    const ended = result orelse return harness.joined(join);
    // The read that the kernel still has ends now, and is nobody's.
    const stale = &whole.shard(0).counters.stale_completions;
    while (stale.get() == 0) _ = linux.sched_yield();
    return ended;
}

test "an interrupted operation goes on, the caller's own SQE tells" {
    const result = try interrupted(false);
    try testing.expect(result >= 1 and result <= interruptions + 1);
    try testing.expectEqual(-@as(i64, @backingInt(linux.E.INTR)), try interrupted(true));
}
