//! How operations begin and end on a shard: an SQE into the ring, a CQE out of it, and the meaning
//! of one of several completions. Each operation ends exactly once, by `endOp`. On the shard's
//! thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const cancel = @import("cancel_ops.zig");
const doorbell = @import("doorbell.zig");
const errors = @import("../base/errors.zig");
const idle = @import("idle.zig");
const limits = @import("../base/limits.zig");
const messages = @import("messages.zig");
const platform = @import("../base/platform.zig");
const provided_buffers = @import("../ring/provided_buffers.zig");
const trace_ring = @import("trace_ring.zig");
const user_data = @import("../ring/user_data.zig");
const without_worker = @import("without_worker.zig");
const gpa = @import("../base/memory.zig").gpa;
const Cqe = @import("../ring/ring.zig").Cqe;
const Internal = user_data.Internal;
const Op = @import("../task/op.zig").Op;
const Shard = @import("shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const Timer = @import("../task/timers.zig").Timer;
const Timers = @import("../task/timers.zig").Timers;

/// Hands an operation of the current task to the kernel; it ends exactly once.
pub fn launch(self: *Shard, op: *Op, sqe: Sqe) void {
    assert(self.isHere() and op.phase == .flying);
    op.sqe = sqe;
    op.sqe.user_data = op.id();
    self.trace.noteOp(.submit, @backingInt(op.sqe.opcode), op, op.sqe.fd);
    if (self.ring.submitsAsOther()) return failUnsubmitted(self, op, .PERM);
    self.ring.push(&op.sqe) catch failUnsubmitted(self, op, .NOMEM); // Of the backlog.
}

/// The kernel never saw it, so it ends here. A close must not fail by that: the caller has given the
/// descriptor up.
fn failUnsubmitted(self: *Shard, op: *Op, reason: linux.E) void {
    assert(op.phase == .flying);
    if (op.sqe.opcode != .CLOSE or op.is_user_sqe) return endOp(self, op, errors.negative(reason), 0);
    const rc = platform.system.close(op.sqe.fd);
    endOp(self, op, errors.resultOf(rc), 0);
}

pub fn launchTimer(self: *Shard, op: *Op, deadline_ns: u64) void {
    assert(self.isHere() and op.phase == .flying and !op.timer.isSet());
    op.is_timer = true;
    op.timer.fire = timerFired;
    self.trace.noteOp(.submit, trace_ring.timer_opcode, op, -1);
    self.timers.set(&op.timer, Timers.rounded(deadline_ns, self.now_ns)) catch
        endOp(self, op, errors.negative(.NOMEM), 0);
}

fn timerFired(timer: *Timer) void {
    const op: *Op = @fieldParentPtr("timer", timer);
    const self: *Shard = @ptrCast(@alignCast(op.shard));
    assert(self.isHere() and op.is_timer);
    endOp(self, op, 0, 0);
}

pub fn endOp(self: *Shard, op: *Op, result: i32, cqe_flags: u32) void {
    assert(self.isHere() and op.phase == .flying);
    const task = op.task;
    self.trace.noteOp(.complete, 0, op, result);
    if (op.timer.isSet()) self.timers.cancel(&op.timer); // It would have asked for this end again.
    self.ops.end(op, result, cqe_flags);
    if (op.complete) |function| {
        const ctx = op.complete_ctx;
        const final = self.ops.consume(op); // A new connection's socket, the end of a time limit.
        task.flying += 1; // It may end another operation of the task, but not the task under us.
        // Outside any task, also if a task's cancellation ended it: no operation is begun in there.
        const current = self.current_task;
        self.current_task = null;
        function(ctx, final, cqe_flags);
        self.current_task = current;
        task.flying -= 1;
    } else if (task.draining) discard(self, op);
    if (!task.draining) return self.wakeByOp(task);
    if (task.flying == 0) self.completeTask(task);
}

/// The ring went away with its operations: they end here.
pub fn endLost(self: *Shard) void {
    assert(self.isHere());
    for (0..self.ops.slabs.items.len * limits.op_slab) |index| {
        const op = self.ops.at(@intCast(index));
        if (op.phase == .flying and !op.isOurs()) endOp(self, op, errors.negative(.CANCELED), 0);
    }
}

/// What the kernel has posted, without a system call.
pub fn reapPosted(self: *Shard) void {
    _ = reapReady(self);
}

/// Nobody takes what it brought.
pub fn discard(self: *Shard, op: *Op) void {
    assert(self.isHere() and op.phase == .ended);
    if (provided_buffers.idOf(op.cqe_flags)) |id| self.buffers.ready.giveBack(id);
    self.ops.discard(op);
}

/// The kernel runs a part of the deferred work at a time (20, in newer ones). A pass takes
/// more of it, because what a pass costs (an interpreter's lock) does not grow with them.
pub fn reap(self: *Shard) void {
    assert(self.isHere() and self.current_task == null);
    if (self.ring.hasOverflow()) self.counters.cq_overflows.add(1);
    var rounds: usize = 0;
    while (true) : (rounds += 1) {
        const count = reapReady(self);
        if (count < limits.deferred_batch or rounds == limits.deferred_rounds) return;
        if (!self.ring.hasTaskWork()) return;
        self.submit();
    }
}

pub fn reapReady(self: *Shard) usize {
    assert(self.isHere());
    var count: usize = 0;
    var cqes: [limits.reap_batch]Cqe = undefined;
    while (true) {
        const batch = self.ring.reap(&cqes);
        if (batch.len == 0) return count;
        count += batch.len;
        self.counters.cqes_reaped.add(batch.len);
        for (batch) |cqe| {
            if (cqe.user_data <= user_data.internal_max) internal(self, cqe) else completed(self, cqe);
        }
    }
}

fn completed(self: *Shard, cqe: Cqe) void {
    assert(cqe.user_data > user_data.internal_max);
    if (cqe.flags & linux.IORING_CQE_F_BUFFER != 0) self.buffers.ready.in_use += 1;
    const op = self.ops.find(cqe.user_data) orelse return late(self, cqe);
    // It has ended, and nobody took the result yet: a second end would be a fault of the kernel's.
    if (op.phase != .flying) return late(self, cqe);
    // By far the most.
    if (cqe.res >= 0 and cqe.flags == 0 and op.on_multishot == null) return endOp(self, op, cqe.res, 0);
    if (cqe.flags & linux.IORING_CQE_F_MORE != 0) {
        if (op.on_multishot) |function| return function(op.complete_ctx, cqe.res, cqe.flags);
        op.result = finalOf(op, cqe);
        op.is_sent = true;
        if (op.cancel_sent) _ = endSent(self, op);
        return;
    }
    const result = finalOf(op, cqe);
    const exhausted = op.selects_buffer and result == errors.negative(.NOBUFS);
    if (exhausted) self.counters.buffers_exhausted.add(1);
    if (op.on_multishot != null and (result > 0 or exhausted)) self.counters.multishots_cut.add(1);
    completeOrRetry(self, op, result, cqe.flags);
}

/// A zero-copy send whose end is wanted does not wait for the notification, which a peer that does not
/// read holds back forever. False if it must: the memory is the caller's, or there is none to note it.
pub fn endSent(self: *Shard, op: *Op) bool {
    assert(self.isHere() and op.phase == .flying and op.is_sent and op.cancel_sent);
    const source = op.source orelse return false;
    const memory = source.memory orelse return false;
    self.lent.put(gpa, op.id(), source) catch return false;
    self.gauges.buffers_lent.value.store(self.lent.count(), .monotonic);
    memory.keep(source);
    endOp(self, op, op.result, 0);
    return true;
}

/// Of an operation that has ended: the notification of a zero-copy send, or a fault.
fn late(self: *Shard, cqe: Cqe) void {
    const lent = self.lent.fetchRemove(cqe.user_data) orelse return self.counters.stale_completions.add(1);
    assert(cqe.flags & linux.IORING_CQE_F_NOTIF != 0);
    self.gauges.buffers_lent.value.store(self.lent.count(), .monotonic);
    lent.value.memory.?.let_go(lent.value);
}

/// What a signal or the kernel's own work came in between was not begun, and is asked for again:
/// unless its end is wanted, or it is a close, which has happened all the same (close(2)).
fn completeOrRetry(self: *Shard, op: *Op, result: i32, cqe_flags: u32) void {
    assert(op.phase == .flying);
    op.is_sent = false; // Asked for again, it is a send of its own, with a notification of its own.
    const interrupted = result == errors.negative(.INTR) and !op.is_user_sqe and !op.cancel_sent;
    if (without_worker.isMissing(self, op, result)) {
        return endOp(self, op, without_worker.retry(self, op, result) orelse return, cqe_flags);
    }
    if (!interrupted) return endOp(self, op, result, cqe_flags);
    if (op.sqe.opcode == .CLOSE) return endOp(self, op, 0, cqe_flags);
    self.ring.push(&op.sqe) catch endOp(self, op, result, cqe_flags);
}

/// A notification only says that the buffer is free; the result came before. What a system call
/// would have restarted (a splice that was cancelled) ends by the kernel's own number for that.
fn finalOf(op: *const Op, cqe: Cqe) i32 {
    if (cqe.flags & linux.IORING_CQE_F_NOTIF != 0) return op.result;
    return switch (cqe.res) {
        -516...-512 => errors.negative(.INTR),
        else => cqe.res,
    };
}

fn internal(self: *Shard, cqe: Cqe) void {
    assert(cqe.user_data <= user_data.internal_max);
    const kind: Internal = @fromBackingInt(@intCast(@as(u8, @truncate(cqe.user_data))));
    switch (kind) {
        .ignore => {},
        .cancel => cancel.refused(self, cqe),
        .doorbell => self.counters.ring_msgs_completed.add(1),
        .eventfd => self.bell.eventfd_armed = false,
        .signal => idle.signalled(self, cqe.res),
        .msg_ring => self.bellFailed(cqe),
        .message => {
            self.counters.ring_msgs_completed.add(1);
            messages.arrived(self, cqe.user_data, cqe.res);
        },
        .message_sent => _ = messages.delivered(self, @intCast(cqe.user_data >> 8), doorbell.errnoOf(cqe.res)),
        _ => self.counters.stale_completions.add(1),
    }
}
