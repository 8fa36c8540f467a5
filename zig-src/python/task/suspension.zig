//! What a step of an awaitable asks of the task that awaits: to be resumed at an operation's end, at a
//! latch, or in the next turn. On the task's shard, attached to the interpreter.

const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const limits = @import("../../base/limits.zig");
const Latch = @import("../../task/latch.zig").Latch;
const Op = @import("../../task/op.zig").Op;
const PyTask = @import("py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

/// Suspends until `op` has ended; `owner` (borrowed) owns what the kernel touches meanwhile.
pub fn suspendForOp(self: *PyTask, op: *Op, owner: *Object, shielded: bool) ?*Object {
    own(self, owner);
    self.op = op;
    self.cut = false;
    self.shielded = shielded;
    return self.suspendNow();
}

/// The same for an owner of several ops: `between` is called whenever one of them has ended.
pub fn suspendForMany(self: *PyTask, owner: *Object, between: PyTask.Between) ?*Object {
    own(self, owner);
    self.op = null;
    self.many = true;
    defer self.between = between;
    return self.suspendNow();
}

/// All ops of that owner are over. Another one may be half done all the same.
pub fn endMany(self: *PyTask, owner: *Object) void {
    if (self.op_owner == owner) self.many = false;
}

fn own(self: *PyTask, owner: *Object) void {
    if (self.op_owner == owner) return;
    dropOwner(self);
    self.op_owner = api.ref(owner);
}

/// Lets go of the last op's owner, unless the kernel still has an op: a coroutine that was closed
/// or resumed by hand, past the executor. Then its memory stays until the task is done.
pub fn dropOwner(self: *PyTask) void {
    const busy = if (self.op) |op| op.phase == .flying else self.many;
    self.many = false;
    if (!busy or self.op_owner == null) return api.drop(&self.op_owner);
    if (self.orphans == null) self.orphans = py.PyList_New(0);
    const kept = if (self.orphans) |list| py.PyList_Append(list, self.op_owner.?) == 0 else false;
    // Without memory for the list the reference itself is kept: a leak, not a fault.
    if (kept) api.drop(&self.op_owner) else self.op_owner = null;
}

pub fn suspendNow(self: *PyTask) ?*Object {
    if (self.suspended and drivenByAnother()) return null;
    self.suspended = true;
    self.yielded = false;
    self.between = null;
    return api.none();
}

/// Resumed again within one poll: an event loop that the task runs would do so forever, and keep the
/// shard from what it waits for. True with the exception set.
fn drivenByAnother() bool {
    @branchHint(.cold);
    const exception = api.call(callbacks.table.other_loop, &.{}) orelse return true;
    defer py.Py_DecRef(exception);
    if (exception == py._Py_NoneStruct) return false;
    api.raiseObject(exception);
    return true;
}

pub fn suspendYield(self: *PyTask) *Object {
    self.suspended = true;
    self.yielded = true;
    self.between = null;
    return api.none();
}

/// Suspends until `target` is done, false where it is; `owner` (borrowed) keeps it in memory.
pub fn awaitLatch(self: *PyTask, target: *Latch, owner: *Object) bool {
    self.endWait();
    if (!target.addWaiter(&self.waiter)) return false;
    self.cut = false;
    self.waits_for = target;
    self.waits_owner = api.ref(owner);
    return true;
}

/// Whether it was cancelled before `target` was done, however that is now: who hands something over after
/// a cancellation finds nobody.
pub fn wasCutOff(self: *const PyTask, target: *const Latch) bool {
    return self.cut and self.waits_for == target;
}

/// Whether one more await of this poll may end at once. A task that finds ready whatever it asks for would
/// keep its shard as long as others go on making it ready. Outside of a task nobody waits for a turn.
pub fn mayEndAtOnce() bool {
    const me = PyTask.current() orelse return true;
    return me.home().mayEndAtOnce(limits.awaits_at_once_max);
}

/// The whole of a step that waits for `target`, which `owner` keeps alive. Null: it is final, and the outcome
/// is the caller's to give. Else what the step returns: it suspends, or this task is cancelled.
pub fn untilDone(self: *PyTask, target: *Latch, owner: *Object, suspended: *bool) ??*Object {
    const is_done = target.isDone();
    if ((!is_done and self.cancelWanted()) or self.wasCutOff(target)) {
        self.endWait();
        return @as(?*Object, self.raiseCancel());
    }
    if (!is_done and self.awaitLatch(target, owner)) {
        suspended.* = true;
        return @as(?*Object, self.suspendNow());
    }
    if (!self.home().mayEndAtOnce(limits.awaits_at_once_max)) {
        suspended.* = true;
        return @as(?*Object, self.suspendYield());
    }
    self.endWait();
    return null;
}

pub fn endWait(self: *PyTask) void {
    const target = self.waits_for orelse return;
    target.removeWaiter(&self.waiter);
    self.waits_for = null;
    api.drop(&self.waits_owner);
}
