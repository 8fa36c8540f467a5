//! Whether a task is to be cancelled, by whom, and the exception that says so. On the task's shard,
//! attached to the interpreter.

const api = @import("../cpython/api.zig");
const callbacks = @import("../cpython/callbacks.zig");
const CancelScope = @import("cancel_scope.zig").CancelScope;
const PyTask = @import("py_task.zig").PyTask;
const Object = api.Object;
const py = &api.py;

pub fn cancelWanted(self: *const PyTask) bool {
    if (self.task.cancel_requested.load(.acquire) or self.heldNow()) return true;
    var scope = self.scopes;
    while (scope) |s| : (scope = s.next) if (s.expired.load(.acquire) and !s.delivered) return true;
    return false;
}

/// Whether each await is cancelled now.
pub fn heldNow(self: *const PyTask) bool {
    // Acquire pairs with the release store of who holds it, and wakes the task afterwards.
    return self.held.load(.acquire) and self.kept_back == 0;
}

/// Of an operation that the kernel says was cancelled: also where nobody wants that any more.
pub fn cancelReached(self: *const PyTask) bool {
    return self.cancelWanted() or self.cut;
}

/// Raises the cancellation that is wanted, once. One from outside goes before a time limit, so
/// that no time limit can swallow it; so does one that is held, which is not used up by it and whose
/// exception has None as its scope.
pub fn raiseCancel(self: *PyTask) ?*Object {
    const asked = self.task.cancel_requested.swap(false, .acq_rel);
    const told = asked or self.endIsNews();
    const by_library = !told and (self.heldNow() or self.cut);
    self.cut = false;
    if (by_library) return raiseHeld(self);
    const exception = api.call(callbacks.table.CancelledError, &.{}) orelse return null;
    defer py.Py_DecRef(exception);
    if (told) {
        const closing = self.home().scheduler.closing.load(.seq_cst);
        if (closing and !self.task.cleanup) self.task.told_of_close.store(true, .monotonic);
    } else {
        var scope = self.scopes;
        while (scope) |s| : (scope = s.next) {
            if (!s.expired.load(.acquire) or s.delivered) continue;
            s.delivered = true;
            if (py.PyObject_SetAttrString(exception, "_scope", CancelScope.Type.objectOf(s)) != 0) return null;
            break;
        }
    }
    api.raiseObject(exception);
    return null;
}

/// Its text is what the companion says of the reason.
fn raiseHeld(self: *PyTask) ?*Object {
    var reason: ?*Object = null;
    if (self.companion) |companion| {
        reason = py.PyObject_GetAttrString(companion, "reason") orelse return null;
    }
    const exception = if (reason) |text|
        api.call(callbacks.table.CancelledError, &.{text}) orelse return null
    else
        api.call(callbacks.table.CancelledError, &.{}) orelse return null;
    defer py.Py_DecRef(exception);
    if (py.PyObject_SetAttrString(exception, "_scope", py._Py_NoneStruct) != 0) return null;
    api.raiseObject(exception);
    return null;
}

/// The runtime closes, and this task was not cancelled for it yet.
pub fn endIsNews(self: *const PyTask) bool {
    return self.home().scheduler.closing.load(.seq_cst) and !self.task.cleanup and
        !self.task.told_of_close.load(.monotonic);
}
