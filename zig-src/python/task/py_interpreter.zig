//! CPython as the core's `Interpreter`: a shard's thread attaches once, takes the interpreter's
//! lock for its Python work, and releases it afterwards.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const limits = @import("../../base/limits.zig");
const sync = @import("../../base/sync.zig");
const callbacks = @import("../cpython/callbacks.zig");
const yield = @import("yield.zig");
const Scheduler = @import("../../scheduler/scheduler.zig").Scheduler;
const Interpreter = @import("../../scheduler/interpreter.zig").Interpreter;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const PyTask = @import("py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Task = @import("../../task/task.zig").Task;
const Object = api.Object;
const py = &api.py;

/// Set at import: whether the interpreter has a lock that all threads share.
pub var interpreter: Interpreter = .{
    .locked = true,
    .attach = attach,
    .detach = detach,
    .acquire = acquire,
    .release = release,
    .wanted = wanted,
    .last_task = lastTask,
    .interrupted = interrupted,
    .name = nameOf,
};

/// The shard that this thread was started for.
threadlocal var own: ?*Shard = null;

fn attach(shard: *Shard) void {
    // A caller's thread is attached already; our own threads get a state for their whole life. (Its
    // `thread` field tells nothing here: the starter may not have written it yet.)
    if (!shard.interruptible) {
        own = shard;
        _ = py.PyGILState_Ensure();
    }
    yield.keepSpare(true);
    callHook(callbacks.table.attached, shard, if (own == shard) threadName() else api.none());
    shard.interpreter.data = py.PyEval_SaveThread();
}

fn threadName() *Object {
    var text: [16]u8 = undefined;
    _ = linux.prctl(@backingInt(linux.PR.GET_NAME), @intFromPtr(&text), 0, 0, 0);
    return api.string(std.mem.sliceTo(&text, 0)) orelse {
        py.PyErr_Clear(); // Without memory for it.
        return api.none();
    };
}

fn detach(shard: *Shard) void {
    py.PyEval_RestoreThread(@ptrCast(shard.interpreter.data.?));
    callHook(callbacks.table.detached, shard, null);
    yield.keepSpare(false);
    if (shard.interruptible) return;
    const runtime = PyRuntime.ofScheduler(shard.scheduler);
    // Its own reference (none if not all threads could be started). Without any left the shard is gone.
    if (runtime.started) py.Py_DecRef(PyRuntime.Type.objectOf(runtime));
    // 1 is PyGILState_UNLOCKED, what Ensure gave: the thread had no state before.
    py.PyGILState_Release(1);
}

fn nameOf(task: *Task, into: []u8) []const u8 {
    const self = PyTask.of(task);
    var given = if (self.name) |name| api.ref(name) else if (self.coroutine) |coroutine|
        py.PyObject_GetAttrString(coroutine, "__qualname__")
    else
        null;
    defer api.drop(&given);
    var size: isize = 0;
    const text = if (given) |name| py.PyUnicode_AsUTF8AndSize(name, &size) else null;
    const bytes = text orelse {
        py.PyErr_Clear();
        return "";
    };
    const cut = @min(@as(usize, @intCast(size)), into.len);
    @memcpy(into[0..cut], bytes[0..cut]);
    return into[0..cut];
}

/// Before a runtime goes away: a thread of its own, which dropped it at the end, cannot wait for itself.
pub fn leaveUnjoined(scheduler: *const Scheduler) void {
    const shard = own orelse return;
    if (shard.scheduler != scheduler) return;
    shard.thread.?.detach();
    shard.thread = null;
}

fn callHook(hook: *Object, shard: *Shard, more: ?*Object) void {
    if (!tryHook(hook, shard, more)) py.PyErr_WriteUnraisable(hook);
}

/// Calls `hook(runtime, shard)`, or `hook(runtime, shard, more)`; takes over the reference to `more`.
/// False, with the exception set, if it raised.
fn tryHook(hook: *Object, shard: *Shard, more: ?*Object) bool {
    var third = more;
    defer api.drop(&third);
    const runtime = PyRuntime.ofScheduler(shard.scheduler);
    if (runtime.dying) return true;
    const id = py.PyLong_FromLongLong(shard.id) orelse return false;
    const instance = api.ref(PyRuntime.Type.objectOf(runtime));
    var result = if (third) |object|
        api.call(hook, &.{ instance, id, api.ref(object) })
    else
        api.call(hook, &.{ instance, id });
    defer api.drop(&result);
    return result != null;
}

/// Shards that wait for the interpreter's lock, how often one got it, and the threads that wait for
/// that.
var waiting: std.atomic.Value(u32) = .init(0);
var entered: std.atomic.Value(u32) = .init(0);
var giving_way: std.atomic.Value(u32) = .init(0);
/// When this shard first saw that another one waits; 0 if none does.
threadlocal var pressed_ns: u64 = 0;

/// How long a shard with work keeps the lock while another one waits for it. A hand-over costs tens
/// of microseconds in which nobody runs Python.
const turn_ns = 500 * std.time.ns_per_us;

/// A thread that waits for the lock within the interpreter has it by then, if nobody else takes it.
const wake_ns = 100 * std.time.ns_per_us;

fn acquire(shard: *Shard) void {
    if (interpreter.locked) _ = waiting.fetchAdd(1, .seq_cst);
    py.PyEval_RestoreThread(@ptrCast(shard.interpreter.data.?));
    if (!interpreter.locked) return;
    _ = waiting.fetchSub(1, .seq_cst);
    _ = entered.fetchAdd(1, .seq_cst);
    if (giving_way.load(.seq_cst) > 0) sync.wake(&entered, std.math.maxInt(i32));
}

/// Back to the interpreter after work apart from it, in the middle of a task: shards that hold its lock
/// know that one waits.
pub fn comeBack(state: *api.ThreadState) void {
    if (interpreter.locked) _ = waiting.fetchAdd(1, .seq_cst);
    py.PyEval_RestoreThread(state);
    if (!interpreter.locked) return;
    _ = waiting.fetchSub(1, .seq_cst);
    _ = entered.fetchAdd(1, .seq_cst);
    if (giving_way.load(.seq_cst) > 0) sync.wake(&entered, std.math.maxInt(i32));
}

fn release(shard: *Shard) void {
    const seen = entered.load(.seq_cst);
    const give_way = wanted(shard);
    shard.interpreter.data = py.PyEval_SaveThread();
    if (!give_way) return;
    // The interpreter gives the lock to the thread that comes first, and that is always this one,
    // awake as it is: it waits until another one has it. (One that is gone meanwhile costs a
    // millisecond.)
    pressed_ns = 0;
    _ = giving_way.fetchAdd(1, .seq_cst);
    sync.wait(&entered, seen, clock.deadlineNs(std.time.ns_per_ms));
    _ = giving_way.fetchSub(1, .seq_cst);
}

/// On a thread that is no shard's, in the interpreter: a shard that waits for the lock gets it now, not only
/// when the interpreter makes its threads change places (after 5 ms). `is_cut`: one has lost it so in
/// the middle of a task, and waits within the interpreter, which reports to nobody when it goes on.
pub fn giveWay(is_cut: bool) void {
    if (!interpreter.locked) return;
    const waits = waiting.load(.monotonic) > 0;
    if (!waits and !is_cut) return;
    const seen = entered.load(.seq_cst);
    const state = py.PyEval_SaveThread();
    _ = giving_way.fetchAdd(1, .seq_cst);
    sync.wait(&entered, seen, clock.deadlineNs(if (waits) std.time.ns_per_ms else wake_ns));
    _ = giving_way.fetchSub(1, .seq_cst);
    py.PyEval_RestoreThread(state);
}

fn wanted(shard: *Shard) bool {
    if (waiting.load(.monotonic) == 0) {
        pressed_ns = 0;
        return false;
    }
    if (pressed_ns == 0) pressed_ns = shard.now_ns;
    return shard.now_ns - pressed_ns >= turn_ns;
}

fn lastTask(shard: *Shard) void {
    shard.acquireInterpreter();
    callHook(callbacks.table.last_task, shard, null);
}

/// Runs Python's signal handlers; what they raise ends the runtime and is raised by run().
fn interrupted(shard: *Shard) void {
    acquire(shard);
    defer release(shard);
    const runtime = PyRuntime.ofScheduler(shard.scheduler);
    if (py.PyErr_CheckSignals() != 0) {
        const exception = api.takeException();
        if (runtime.loop) |loop| loop.interrupted(loop, exception) else runtime.stopWith(exception);
    }
    if (runtime.loop == null) lookAtHandlers(shard); // asyncio has a way of its own.
}

/// Signal handlers that the program has set meanwhile are found: seldom, but at once after main's first step,
/// which is where most are set. In the interpreter.
pub fn lookAtHandlers(shard: *Shard) void {
    const runtime = PyRuntime.ofScheduler(shard.scheduler);
    const now_ns = shard.now_ns;
    if (runtime.looked_ns != 0 and now_ns - runtime.looked_ns < limits.interruptible_backstop_ns) return;
    runtime.looked_ns = now_ns;
    if (!tryHook(callbacks.table.signals, shard, null)) runtime.stopWith(api.takeException());
}
