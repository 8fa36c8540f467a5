//! Whose turn it is to receive, or to send: exchanges of one unit, which Python's half uses as well. An
//! operation that finds another one there waits for a future. On the shard of the task that awaits.

const api = @import("../cpython/api.zig");
const exchange_type = @import("../sync/exchange_type.zig");
const Exchange = @import("../sync/exchange.zig").Exchange;
const Future = @import("../sync/future.zig").Future;
const PyTask = @import("../task/py_task.zig").PyTask;
const TlsOp = @import("tls_op.zig").TlsOp;
const Object = api.Object;

pub const Direction = enum(u1) { receiving, sending };

/// The turns of one operation. Begins as zero bytes.
pub const Turns = struct {
    has: [2]bool,
    /// The future of a turn that it waits for, and the task that does.
    future: ?*Object,
    task: ?*PyTask,
    wanted: Direction,

    pub fn holds(self: *const Turns, direction: Direction) bool {
        return self.has[@backingInt(direction)];
    }

    fn set(self: *Turns, direction: Direction, has: bool) void {
        self.has[@backingInt(direction)] = has;
    }
};

fn exchangeOf(op: *TlsOp, direction: Direction) *Exchange {
    const engine = op.engineOf();
    return exchange_type.Type.body(switch (direction) {
        .receiving => engine.receiving.?,
        .sending => engine.sending.?,
    });
}

/// Whether the turn is the operation's, now or before.
pub fn take(op: *TlsOp, direction: Direction) bool {
    if (op.turns.holds(direction)) return true;
    if (!exchangeOf(op, direction).takeUnits(1)) return false;
    op.turns.set(direction, true);
    return true;
}

/// Gives it to the next one, if the operation has it.
pub fn give(op: *TlsOp, direction: Direction) void {
    if (!op.turns.holds(direction)) return;
    op.turns.set(direction, false);
    _ = exchangeOf(op, direction).putUnits(1);
}

pub fn wait(op: *TlsOp, me: *PyTask, suspended: *bool, direction: Direction) ?*Object {
    op.turns.future = Future.create() orelse return op.failed();
    op.turns.wanted = direction;
    exchangeOf(op, direction).joinForUnits(Future.Type.body(op.turns.future.?), 1);
    return awaitFuture(op, me, suspended);
}

fn awaitFuture(op: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    const future = op.turns.future.?;
    @atomicStore(?*PyTask, &op.turns.task, me, .monotonic); // Only compared: see `waiter`.
    suspended.* = true;
    if (me.awaitLatch(&Future.Type.body(future).latch, future)) return me.suspendNow();
    return me.suspendYield(); // It is ours already: at the next step.
}

/// The task that waits for the operation's turn; null: none does.
pub fn waiter(op: *TlsOp) ?*PyTask {
    return @atomicLoad(?*PyTask, &op.turns.task, .monotonic);
}

/// The waiting task was resumed.
pub fn resumed(op: *TlsOp, me: *PyTask, suspended: *bool) ?*Object {
    const is_done = Future.Type.body(op.turns.future.?).latch.isDone();
    if (!is_done and !me.cancelReached()) return awaitFuture(op, me, suspended);
    @atomicStore(?*PyTask, &op.turns.task, null, .monotonic);
    me.endWait();
    if (is_done) op.turns.set(op.turns.wanted, true) else leave(op);
    api.drop(&op.turns.future);
    return if (is_done) op.goOn(me, suspended) else op.cancelled(me);
}

/// Nobody waits for it any more. If it came meanwhile, the operation has it.
fn leave(op: *TlsOp) void {
    const left = exchangeOf(op, op.turns.wanted).leave(Future.Type.body(op.turns.future.?), .takers);
    if (!left) op.turns.set(op.turns.wanted, true);
}

/// A coroutine that was closed by hand while it waited.
pub fn abandon(op: *TlsOp) void {
    if (op.turns.future == null) return;
    leave(op);
    api.drop(&op.turns.future);
}
