//! How an operation is cancelled. A separate SQE asks the kernel; whatever it answers, the
//! operation ends by its own completion. A task is cancelled by its language: python/task/cancellation.zig,
//! and `cancel_requested` of task/task.zig. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const completions = @import("completions.zig");
const errors = @import("../base/errors.zig");
const clock = @import("../base/clock.zig");
const limits = @import("../base/limits.zig");
const op_module = @import("../task/op.zig");
const Internal = @import("../ring/user_data.zig").Internal;
const Op = op_module.Op;
const Cqe = @import("../ring/ring.zig").Cqe;
const Shard = @import("shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;
const Timer = @import("../task/timers.zig").Timer;
const Timers = @import("../task/timers.zig").Timers;

/// How often this shard has looked for what is to end: see the counters of the same names in the scheduler.
pub const RoundsSeen = struct {
    cancel: u32 = 0,
    end: u32 = 0,
};

const at_once_max = 4;
const ending_bits = op_module.closing_bit | op_module.recall_bit;

/// Asks for the end of an operation; what comes is its completion, as -ECANCELED or a result.
pub fn cancelOp(self: *Shard, op: *Op) void {
    assert(Shard.current() == self);
    if (op.phase != .flying or op.cancel_sent or op.shielded) return;
    op.cancel_sent = true;
    if (op.is_timer) {
        self.timers.cancel(&op.timer);
        return self.endOp(op, errors.negative(.CANCELED), 0);
    }
    if (op.timer.isSet()) self.timers.cancel(&op.timer); // Its time limit.
    if (op.is_sent and completions.endSent(self, op)) return;
    if (op.source) |source| if (source.cancel) |stop| return stop(source, op);
    ask(self, op);
}

/// Asks for the end when the time has come; an operation that ends by that ends as -ETIME.
pub fn limitOp(self: *Shard, op: *Op, deadline_ns: u64) error{OutOfMemory}!void {
    assert(self.isHere() and op.phase == .flying and !op.is_timer and !op.cancel_sent);
    if (op.timer.isSet()) self.timers.cancel(&op.timer); // An earlier limit.
    op.timer.fire = limitPassed;
    try self.timers.set(&op.timer, Timers.rounded(deadline_ns, clock.nowNs()));
}

fn limitPassed(timer: *Timer) void {
    const op: *Op = @fieldParentPtr("timer", timer);
    op.timed_out = true;
    cancelOp(@ptrCast(@alignCast(op.shard)), op);
}

pub fn cancelOps(self: *Shard, task: *Task) void {
    assert(self.isHere());
    var next = task.ops;
    while (next) |op| {
        next = op.next;
        self.cancelOp(op);
    }
}

/// Those whose descriptor is being closed, or whose accept is recalled, maybe by another shard.
pub fn cancelClosed(self: *Shard, task: *Task) void {
    assert(self.isHere());
    var next = task.ops;
    while (next) |op| {
        next = op.next;
        const word = op.descriptor_users orelse continue;
        // Flying: its owner holds the word until then.
        if (op.phase == .flying and word.load(.seq_cst) & ending_bits != 0) self.cancelOp(op);
    }
}

fn ask(self: *Shard, op: *Op) void {
    assert(op.phase == .flying and op.cancel_sent and !op.timer.isSet());
    var sqe: Sqe = undefined;
    sqe.prep_cancel(op.id(), 0);
    sqe.flags |= linux.IOSQE_CQE_SKIP_SUCCESS;
    sqe.user_data = @backingInt(Internal.cancel) | @as(u64, op.index) << 8;
    self.ring.push(&sqe) catch askLater(self, op);
}

/// The kernel did not find it, or could only tap it on the shoulder. Mostly it has ended by itself.
/// But one that is between two places of the kernel (tried anew because its descriptor was ready
/// for a moment, handed on by a worker) is not found either, and may wait forever after that: so
/// the kernel is asked until the operation has ended. One that a disk works on is found by nobody:
/// after some tries at once there is a pause before the next.
pub fn refused(self: *Shard, cqe: Cqe) void {
    assert(self.isHere());
    // By place, without a generation: a later operation there is asked once more than need be.
    const op = self.ops.at(@intCast(cqe.user_data >> 8));
    if (op.phase != .flying or !op.cancel_sent or op.is_timer or op.timer.isSet()) return;
    if (op.is_sent) return; // Only the notification is missing, and nothing hastens that.
    self.counters.cancels_repeated.add(1);
    op.cancels_lost +|= 1;
    const again = cqe.res == errors.negative(.NOENT) and op.cancels_lost <= at_once_max;
    if (again) ask(self, op) else askLater(self, op);
}

fn askLater(self: *Shard, op: *Op) void {
    assert(op.phase == .flying and op.cancel_sent and !op.is_timer);
    op.timer.fire = askAgain;
    // Without memory even for that it goes on and ends by itself; it may be asked from outside again.
    self.timers.set(&op.timer, clock.deadlineNs(limits.cancel_again_ns)) catch {
        op.cancel_sent = false;
    };
}

fn askAgain(timer: *Timer) void {
    const op: *Op = @fieldParentPtr("timer", timer);
    ask(@ptrCast(@alignCast(op.shard)), op);
}
