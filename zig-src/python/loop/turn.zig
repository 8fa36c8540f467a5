//! One turn of an asyncio loop: due timers, callbacks from other threads, received data of the
//! streams, and the callbacks that were ready when it began. On the loop's thread only.

const std = @import("std");
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const binding = @import("binding.zig");
const calls = @import("calls.zig");
const method_names = @import("method_names.zig");
const receive = @import("receive.zig");
const task_module = @import("../../task/task.zig");
const Known = @import("addresses.zig").Known;
const Name = @import("addresses.zig").Name;
const CoreTimer = @import("../../task/timers.zig").Timer;
const Datagram = @import("datagram.zig").Datagram;
const Entry = @import("queue.zig").Entry;
const Handle = @import("handle.zig").Handle;
const Loop = @import("loop.zig").Loop;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Stream = @import("stream.zig").Stream;
const Task = task_module.Task;
const Timer = @import("timer_handle.zig").Timer;
const gpa = @import("../../base/memory.zig").gpa;
const Object = api.Object;
const py = &api.py;

/// Turns in one poll, while nothing waits for the shard.
const turns_max = 64;
/// The recorder of all loops of the process.
pub const lag_name = "spargio loop";
const year_ns: f64 = 365 * 24 * 3600 * 1e9;

// ---- a turn ----

pub fn poll(task: *Task) task_module.Poll {
    const self: *Loop = @fieldParentPtr("task", task);
    const shard = Shard.current().?;
    if (task.cancel_requested.load(.acquire)) {
        self.forget();
        return .ended;
    }
    if (self.done) return .yield; // The run ends with this pass: what is left is the next one's.
    self.in_turn = true;
    defer self.in_turn = false;
    if (self.alarm.isSet()) shard.timers.cancel(&self.alarm);
    const began_ns = clock.nowNs();
    var turns: usize = 0;
    while (!self.ending and self.fatal == null) {
        turn(self);
        turns += 1;
        if (self.stopping) break;
        if (self.queue.len == 0 and !hasInbox(self) and !hasListed(self)) break;
        if (turns == turns_max or ringWaits(shard) or shard.hasReady()) break;
    }
    exitContext(self);
    if (isForked(self)) return .pending;
    recordLag(self, shard, clock.nowNs() -| began_ns);
    self.ending = self.ending or self.stopping or self.fatal != null;
    if (self.ending) {
        self.done = binding.settled(self, shard);
        return if (self.done) .yield else .pending; // An operation that ends wakes the loop.
    }
    self.readiness.arm(self, shard);
    self.waits.arm(self, shard);
    if (ringWaits(shard)) shard.ring_first = true;
    if (self.queue.len > 0 or hasInbox(self) or hasListed(self)) return .yield;
    const verdict = rest(self, shard);
    // A timer that goes away may run Python, in which another thread schedules something without a wake-up.
    return if (self.queue.len > 0 or hasInbox(self)) .yield else verdict;
}

/// It has something to submit, or something has come. That is not to wait until no callback is ready:
/// asyncio looks at the kernel in every turn.
fn ringWaits(shard: *const Shard) bool {
    return shard.ring.hasUnsubmitted() or shard.ring.ready() or shard.ring.hasTaskWork() or
        (shard.ring.mustBeAsked() and shard.ops.flying > 0);
}

/// So long the kernel was not asked: what came at the beginning has waited all the time.
fn recordLag(self: *Loop, shard: *Shard, ns: u64) void {
    const lag = self.lag orelse return;
    if (shard.seats.of(lag)) |tally| tally.record(.one, .{ .ns = ns });
}

/// Nothing is ready: the first timer wakes the loop, or a thread that schedules something.
pub fn rest(self: *Loop, shard: *Shard) task_module.Poll {
    const next = self.schedule.next();
    if (next == std.math.maxInt(u64)) return .pending;
    if (self.own_time) {
        // A clock of the user's moves as it likes: it is asked again after the time that it says is left.
        const now = self.seconds() orelse return failedClock(self);
        const left: f64 = @max(0, @as(f64, @floatFromInt(next)) - now * 1e9);
        shard.timers.set(&self.alarm, clock.deadlineNs(@trunc(@min(left, year_ns)))) catch return .yield;
        return .pending;
    }
    shard.timers.set(&self.alarm, next) catch return .yield; // Without memory it asks again.
    return .pending;
}

pub fn failedClock(self: *Loop) task_module.Poll {
    self.fatal = api.takeException();
    return .yield;
}

pub fn alarmFired(timer: *CoreTimer) void {
    const self: *Loop = @fieldParentPtr("alarm", timer);
    Shard.wake(&self.task);
}

pub fn isForked(self: *const Loop) bool {
    return self.shard.?.scheduler.forked();
}

pub fn hasInbox(self: *Loop) bool {
    return @atomicLoad(usize, &self.inbox.len, .acquire) > 0;
}

pub fn turn(self: *Loop) void {
    if (hasInbox(self)) takeInbox(self);
    self.turns += 1;
    takeDue(self);
    var left = self.queue.len;
    self.waits.deliver();
    deliver(Stream, &self.streams);
    deliver(Datagram, &self.datagrams);
    while (left > 0) : (left -= 1) {
        var entry = self.queue.pop();
        self.callbacks_run += 1;
        const went_well = if (entry.handle) |handle| runAndDrop(self, handle) else runPrivate(self, &entry);
        if (!went_well) break;
        if (isForked(self)) break;
    }
    while (self.dirty.pop()) |stream| stream.flush();
}

/// A transport, or a wait, is to be served in the next turn.
fn hasListed(self: *const Loop) bool {
    return self.streams.items.len > 0 or self.datagrams.items.len > 0 or self.waits.ready.items.len > 0;
}

/// To the transports that were listed until now. One that lists itself again is served in the next turn.
fn deliver(comptime Transport: type, listed: *std.ArrayList(*Transport)) void {
    const count = listed.items.len;
    if (count == 0) return;
    for (0..count) |i| listed.items[i].deliver();
    std.mem.copyForwards(*Transport, listed.items, listed.items[count..]);
    listed.items.len -= count;
}

pub fn wake(self: *Loop) void {
    if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
}

/// Null without memory.
pub fn largeBuffer(self: *Loop) ?[]u8 {
    if (self.large.len == 0) self.large = gpa.alloc(u8, receive.large_bytes) catch return null;
    return self.large;
}

/// A new reference to what Python has for a socket's address; null with the exception set.
pub fn addressOf(self: *Loop, name: *const Name) ?*Object {
    if (self.known == null) {
        const known = gpa.create(Known) catch return py.PyErr_NoMemory();
        known.* = .{};
        self.known = known;
    }
    return self.known.?.objectOf(name);
}

/// SystemExit and KeyboardInterrupt end the run; the exception is borrowed.
pub fn endsRun(self: *Loop, exception: *Object) bool {
    if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_SystemExit.*) == 0 and
        py.PyErr_GivenExceptionMatches(exception, py.PyExc_KeyboardInterrupt.*) == 0) return false;
    if (self.fatal) |before| py.Py_DecRef(before);
    self.fatal = api.ref(exception);
    return true;
}

pub fn takeInbox(self: *Loop) void {
    self.lock.lock();
    defer self.lock.unlock();
    while (self.inbox.len > 0) {
        const entry = self.inbox.at(0).*;
        self.queue.push(entry) catch return;
        _ = self.inbox.pop();
    }
}

pub fn takeDue(self: *Loop) void {
    if (self.schedule.heap.items.len == 0) return;
    const now_ns: u64 = if (self.own_time) calls.deadlineOf(self.seconds() orelse {
        self.fatal = api.takeException();
        return;
    }) else clock.nowNs();
    while (self.schedule.popDue(now_ns)) |timer| {
        self.queue.push(.{ .handle = timer }) catch {
            self.schedule.add(timer, calls.deadlineOf(Timer.of(timer).when)) catch py.Py_DecRef(timer);
            return;
        };
    }
}

pub fn runAndDrop(self: *Loop, instance: *Object) bool {
    const went_well = runHandle(self, instance);
    Handle.release(instance, self);
    return went_well;
}

/// False if the loop has to end: the exception is in `fatal`.
pub fn runHandle(self: *Loop, instance: *Object) bool {
    const handle = Handle.of(instance);
    if (!handle.begin()) return true;
    defer handle.end();
    // The context moves into `entered`, unless the handle runs again.
    const context = handle.context.?;
    if (handle.lasting) py.Py_IncRef(context) else handle.context = null;
    if (!enterContext(self, context)) return failed(self, instance, .{});
    const began_ns = if (self.debug) clock.nowNs() else 0;
    const flags = handle.count | api.arguments_offset;
    self.calling = true;
    var result = vectorcall(handle.callback.?, handle.arguments(), flags);
    self.calling = false;
    var went_well = true;
    if (result == null) went_well = failed(self, instance, .{}) else api.drop(&result);
    if (self.debug and went_well) went_well = tellSlow(self, instance, began_ns);
    return went_well;
}

pub fn runPrivate(self: *Loop, entry: *Entry) bool {
    const context = entry.context.?;
    entry.context = null;
    defer entry.drop();
    if (!enterContext(self, context)) return failed(self, null, entry.*);
    var room = [2]?*Object{ null, entry.argument };
    const count: usize = @intFromBool(entry.argument != null);
    self.calling = true;
    var result = vectorcall(entry.callback.?, room[1..].ptr, count | api.arguments_offset);
    self.calling = false;
    if (result == null) return failed(self, null, entry.*);
    api.drop(&result);
    return true;
}

/// The function that the callable itself names: without the interpreter's look at what it returned.
pub fn vectorcall(callable: *Object, args: [*]const ?*Object, flags: usize) ?*Object {
    if (py.PyVectorcall_Function) |ask| if (ask(callable)) |function| {
        const result = function(callable, args, flags, null);
        if (result == null and py.PyErr_Occurred() == null)
            _ = api.raise(py.PyExc_RuntimeError.*, "a callback failed without an exception");
        return result;
    };
    return py.PyObject_VectorcallDict(callable, args, flags, null);
}

/// Takes over the reference.
pub fn enterContext(self: *Loop, context: *Object) bool {
    if (self.entered == context) {
        py.Py_DecRef(context);
        return true;
    }
    exitContext(self);
    if (py.PyContext_Enter(context) != 0) {
        py.Py_DecRef(context);
        return false;
    }
    self.entered = context;
    return true;
}

pub fn exitContext(self: *Loop) void {
    const context = self.entered orelse return;
    self.entered = null;
    if (py.PyContext_Exit(context) != 0) py.PyErr_WriteUnraisable(context);
    py.Py_DecRef(context);
}

/// A callback raised. SystemExit and KeyboardInterrupt end the run, the rest goes to the loop's handler.
pub fn failed(self: *Loop, instance: ?*Object, entry: Entry) bool {
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (endsRun(self, exception)) return false;
    // The report runs in the context of what failed, and finds it at the handle.
    var context: ?*Object = if (self.entered) |one| api.ref(one) else null;
    defer api.drop(&context);
    exitContext(self);
    if (instance) |one| Handle.of(one).lend(context);
    var shown: ?*Object = if (instance) |one| api.ref(one) else shownHandle(self, entry, context);
    defer api.drop(&shown);
    const handle = shown orelse return fatalOf(self);
    var result = method_names.callMethod(self.me(), &method_names.callback_failed, &.{ handle, exception });
    if (result == null) return fatalOf(self);
    api.drop(&result);
    return true;
}

/// The text that asyncio would have shown, for the reader of the report.
pub fn shownHandle(self: *Loop, entry: Entry, entered: ?*Object) ?*Object {
    const args: []const *Object = if (entry.argument) |*one| one[0..1] else &.{};
    const context = if (entered) |one| api.ref(one) else py.PyContext_CopyCurrent() orelse return null;
    return (Handle.make(self, entry.callback.?, args, context) orelse return null).objectOf();
}

pub fn fatalOf(self: *Loop) bool {
    self.fatal = api.takeException();
    return false;
}

pub fn tellSlow(self: *Loop, instance: *Object, began_ns: u64) bool {
    const spent = py.PyFloat_FromDouble(@as(f64, @floatFromInt(clock.nowNs() - began_ns)) / 1e9) orelse
        return fatalOf(self);
    defer py.Py_DecRef(spent);
    var result = method_names.callMethod(self.me(), &method_names.callback_ran, &.{ instance, spent });
    if (result == null) return fatalOf(self);
    api.drop(&result);
    return true;
}

/// In debug mode, after a call of a protocol: the same report as of any callback.
pub fn tellSlowCall(self: *Loop, entry: Entry, began_ns: u64) void {
    @branchHint(.cold);
    const shown = shownHandle(self, entry, self.entered) orelse return py.PyErr_WriteUnraisable(entry.callback);
    _ = tellSlow(self, shown, began_ns);
    py.Py_DecRef(shown);
}
