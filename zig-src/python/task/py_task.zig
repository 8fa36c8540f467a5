//! A Python task: a coroutine on a shard. The object is its JoinHandle, and the core's Task lies
//! inside it, so a spawn is one allocation. The executor only resumes the coroutine; the awaited
//! object (an op, another task, a yield) decides in its own step what the resumption means, a
//! cancellation included. The shard's thread, attached to the interpreter, owns all fields, except
//! those of `task` that say otherwise.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const errors = @import("../../base/errors.zig");
const trashcan = @import("../cpython/trashcan.zig");
const core_task = @import("../../task/task.zig");
const object = @import("../cpython/object.zig");
const callbacks = @import("../cpython/callbacks.zig");
const interpreter = &@import("py_interpreter.zig").interpreter;
const lookAtHandlers = @import("py_interpreter.zig").lookAtHandlers;
const raiseCode = @import("../cpython/callbacks.zig").raiseCode;
const inspect = @import("inspect.zig");
const repr = @import("repr.zig");
const result_wait = @import("result_wait.zig");
const Op = @import("../../task/op.zig").Op;
const Poll = core_task.Poll;
const PyRuntime = @import("py_runtime.zig").PyRuntime;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Task = core_task.Task;
const Alarm = @import("alarm.zig").Alarm;
const CancelScope = @import("cancel_scope.zig").CancelScope;
const StallWatchdog = @import("stall_watchdog.zig").StallWatchdog;
const Latch = @import("../../task/latch.zig").Latch;
const Waiter = @import("../../task/latch.zig").Waiter;
const Object = api.Object;
const py = &api.py;

pub const PyTask = struct {
    task: Task,
    waiter: Waiter,
    /// What `waiter` waits for, and the object that it lies in.
    waits_for: ?*Latch,
    waits_owner: ?*Object,
    /// The op that must end before the coroutine is resumed, and the object that owns its memory.
    op: ?*Op,
    op_owner: ?*Object,
    /// The owner has several ops under way, and `op` is none of them.
    many: bool,
    between: ?Between,
    /// Owners of ops that nobody will resume for, but the kernel still has; a list.
    orphans: ?*Object,
    /// The op is not to be cancelled (a close).
    shielded: bool,
    /// One of our steps suspended the coroutine; otherwise something foreign was awaited.
    suspended: bool,
    yielded: bool,
    in_yield: bool,
    /// What a coroutine yielded that is not ours, to be refused at the next poll.
    refused: ?*Object,
    is_main: bool,
    /// Of a runtime in debug mode.
    has_watchdog: bool,
    failed: bool,
    retrieved: bool,
    scopes: ?*CancelScope,
    /// It is cancelled at every await, for as long as this is set, and not once. // any thread
    held: std.atomic.Value(bool),
    /// But not while this is above 0: it waits for what must have ended first.
    kept_back: u32,
    /// What it waits for was cut off because of `held`, which may be taken back before that has ended.
    cut: bool,
    /// Of `held`: time limits of a library that stands on this one.
    alarms: ?*Alarm,
    /// What such a library keeps about the task.
    companion: ?*Object,
    runtime: ?*Object,
    coroutine: ?*Object,
    context: ?*Object,
    name: ?*Object,
    /// Result or exception.
    value: ?*Object,
    /// The exception's traceback as the task left it: each raise to an awaiter adds to the exception's.
    traceback: ?*Object,
    /// The thread that raised the exception to an awaiter (a part of its number that no two share: they lie in
    /// different pages); 0: none, all ones: several.
    raised_by: u32,
    /// Of a write that the cancellation of the task cut short; -1: there was none.
    bytes_written: i64,
    /// When it was spawned: the beginning of the spawner's pass, if that is a shard.
    born_ns: u64,
    /// Called once, at the end, in the interpreter.
    ended_hook: ?Hook,

    pub const Hook = struct { function: *const fn (owner: *Object) void, owner: *Object };

    /// Of the owner that the coroutine waits for: goes on without it; null if it is to be resumed.
    pub const Between = *const fn (owner: *Object, me: *PyTask) ?Poll;

    const vtable: core_task.VTable = .{ .interpreted = true, .poll = poll, .abandon = abandon, .release = release };
    pub const Type = object.TypeOf(PyTask);

    /// References to `runtime`, `coroutine` and `name` are borrowed.
    pub fn create(runtime: *Object, coroutine: *Object, name: ?*Object, kind: core_task.Kind, preferred: u16) ?*PyTask {
        const context = py.PyContext_CopyCurrent() orelse return null;
        const self = Type.body(Type.create() orelse {
            py.Py_DecRef(context);
            return null;
        });
        // The body is zero bytes, which the collector may look at from now on.
        self.task = .{ .vtable = &vtable, .kind = kind, .preferred = preferred };
        self.waiter = .{ .task = &self.task };
        self.bytes_written = -1;
        self.born_ns = if (Shard.current()) |shard| shard.now_ns else clock.nowNs();
        self.has_watchdog = PyRuntime.of(runtime).watchdog != null;
        self.runtime = api.ref(runtime);
        self.coroutine = api.ref(coroutine);
        self.context = context;
        if (name) |n| self.name = api.ref(n);
        return self;
    }

    pub fn of(task: *Task) *PyTask {
        assert(task.vtable == &vtable);
        return @fieldParentPtr("task", task);
    }

    /// The same, or null for a task of another language.
    pub fn ofAny(task: *Task) ?*PyTask {
        return if (task.vtable == &vtable) of(task) else null;
    }

    /// The shard it was started on. (Not the current one: in a child that forked in a task there is
    /// none.)
    pub fn home(self: *const PyTask) *Shard {
        return @ptrCast(@alignCast(self.task.home.?));
    }

    /// The Python task that this thread is in the middle of.
    pub fn current() ?*PyTask {
        const shard = Shard.current() orelse return null;
        return ofAny(shard.current_task orelse return null);
    }

    /// The same, or RuntimeError.
    pub fn demand(comptime what: []const u8) ?*PyTask {
        return current() orelse outside(what);
    }

    fn outside(what: []const u8) ?*PyTask {
        @branchHint(.cold);
        const text = api.string(what) orelse return null;
        const exception = api.call(callbacks.table.outside, &.{text}) orelse return null;
        defer py.Py_DecRef(exception);
        api.raiseObject(exception);
        return null;
    }

    // ---- the executor ----

    fn poll(task: *Task) Poll {
        const self = of(task);
        if (self.op) |op| if (op.phase == .flying) {
            if (!self.shielded and self.cancelWanted()) {
                self.cut = self.heldNow();
                Shard.current().?.cancelOp(op);
            }
            return .pending; // Resumed by its completion; a cancelled one has one too.
        };
        if (self.between) |between| if (between(self.op_owner.?, self)) |verdict| return verdict;
        if (self.has_watchdog) StallWatchdog.begin(self);
        defer if (self.has_watchdog) StallWatchdog.end(self);
        self.suspended = false;
        if (py.PyContext_Enter(self.context.?) != 0) return self.fail();
        const verdict = self.advance();
        _ = py.PyContext_Exit(self.context.?);
        if (self.is_main) lookAtHandlers(self.home());
        if (verdict == .ended) self.settle();
        return verdict;
    }

    fn advance(self: *PyTask) Poll {
        if (self.refused) |value| {
            self.refused = null;
            return self.refuse(value);
        }
        var value: ?*Object = null;
        switch (py.PyIter_Send(self.coroutine.?, py._Py_NoneStruct, &value)) {
            .next => return self.afterSuspension(value.?),
            .@"return" => {
                self.value = value;
                return .ended;
            },
            .@"error" => return self.fail(),
        }
    }

    fn afterSuspension(self: *PyTask, value: *Object) Poll {
        if (!self.suspended) return self.refuse(value);
        py.Py_DecRef(value);
        return if (self.yielded) .yield else .pending;
    }

    /// Something that is not ours was yielded: an asyncio future, a bare `yield`. It would never be
    /// resumed, so the await itself fails, where the mistake is.
    fn refuse(self: *PyTask, value: *Object) Poll {
        defer py.Py_DecRef(value);
        const throw = py.PyObject_GetAttrString(self.coroutine.?, "throw") orelse return self.fail();
        defer py.Py_DecRef(throw);
        const exception = api.call(callbacks.table.foreign, &.{api.ref(value)}) orelse return self.fail();
        const next = api.call(throw, &.{exception}) orelse return self.afterThrow();
        // It caught the error. If it awaits something foreign again, the next poll tells it again.
        if (self.suspended) return self.afterSuspension(next);
        self.refused = next;
        return .yield;
    }

    /// A coroutine that caught the error and returned says so by StopIteration.
    fn afterThrow(self: *PyTask) Poll {
        const exception = api.takeException();
        if (!matches(exception, py.PyExc_StopIteration.*)) {
            api.raiseObject(exception);
            py.Py_DecRef(exception);
            return self.fail();
        }
        defer py.Py_DecRef(exception);
        self.value = py.PyObject_GetAttrString(exception, "value") orelse return self.fail();
        return .ended;
    }

    fn isClosing() bool {
        return Shard.current().?.scheduler.closing.load(.seq_cst);
    }

    /// The coroutine raised: the exception becomes the task's outcome.
    fn fail(self: *PyTask) Poll {
        const exception = api.takeException();
        if (matches(exception, callbacks.table.CancelledError)) {
            self.task.status = @backingInt(errors.Code.cancelled);
            self.nameAfterCoroutine();
            self.bytes_written = writtenOf(exception);
            py.Py_DecRef(exception); // Nobody asks for it; its traceback holds the frames.
            return .ended;
        } else if (matches(exception, callbacks.table.TaskCancelled) and isClosing()) {
            // The close has ended what the task awaited before the task itself was told: no failure of it.
            self.task.status = @backingInt(errors.Code.cancelled);
            self.retrieved = true;
        } else if (matches(exception, py.PyExc_KeyboardInterrupt.*) or matches(exception, py.PyExc_SystemExit.*)) {
            // It is raised from run() as well; a runtime in the background has nobody to raise it.
            self.retrieved = PyRuntime.of(self.runtime.?).runtime.driven;
            self.task.status = @backingInt(errors.Code.cancelled);
            PyRuntime.of(self.runtime.?).stopWith(api.ref(exception));
        }
        self.failed = true;
        self.value = exception;
        self.traceback = py.PyObject_GetAttrString(exception, "__traceback__");
        if (self.traceback == null) py.PyErr_Clear();
        // Not one line of the coroutine was run.
        if (self.traceback == py._Py_NoneStruct) self.sayRunTwice();
        self.nameAfterCoroutine();
        return .ended;
    }

    /// Of a coroutine that another task, or an await, has run or runs: the interpreter's words do not say so.
    fn sayRunTwice(self: *PyTask) void {
        @branchHint(.cold);
        const both = [_]*Object{ api.ref(self.coroutine.?), api.ref(self.value.?) };
        const better = api.call(callbacks.table.run_twice, &both) orelse
            return py.PyErr_Clear();
        api.drop(&self.value);
        self.value = better;
    }

    /// A report wants a name; only failures and debug mode pay for it.
    pub fn nameAfterCoroutine(self: *PyTask) void {
        if (self.name != null) return;
        self.name = py.PyObject_GetAttrString(self.coroutine.?, "__qualname__");
        if (self.name == null) py.PyErr_Clear();
    }

    fn matches(exception: *Object, class: *Object) bool {
        return py.PyErr_GivenExceptionMatches(exception, class) != 0;
    }

    fn abandon(task: *Task) void {
        const self = of(task);
        task.status = @backingInt(errors.Code.cancelled);
        self.closeCoroutine();
        self.settle();
    }

    /// Says that it was meant not to run: no "never awaited" warning.
    pub fn closeCoroutine(self: *PyTask) void {
        if (py.PyObject_GetAttrString(self.coroutine.?, "close")) |close| {
            defer py.Py_DecRef(close);
            var closed = api.call(close, &.{});
            api.drop(&closed);
        }
        if (py.PyErr_Occurred() != null) py.PyErr_WriteUnraisable(self.coroutine);
    }

    /// The coroutine will not run again: what it held is let go on this thread.
    fn settle(self: *PyTask) void {
        while (self.scopes) |scope| scope.detach();
        while (self.alarms) |alarm| alarm.detach();
        self.endWait();
        self.dropOwner();
        self.op = null;
        api.drop(&self.coroutine);
        api.drop(&self.context);
        api.drop(&self.companion);
        if (self.is_main) PyRuntime.of(self.runtime.?).closeRuntime();
    }

    fn release(task: *Task) void {
        // Reached from a completion too, if the shard is not in the interpreter.
        Shard.current().?.acquireInterpreter();
        const self = of(task);
        if (self.ended_hook) |hook| {
            self.ended_hook = null;
            hook.function(hook.owner);
        }
        py.Py_DecRef(Type.objectOf(self));
    }

    // ---- what awaitables use ----

    pub fn cancelWanted(self: *const PyTask) bool {
        if (self.task.cancel_requested.load(.acquire) or self.heldNow()) return true;
        var scope = self.scopes;
        while (scope) |s| : (scope = s.next) if (s.expired.load(.acquire) and !s.delivered) return true;
        return false;
    }

    /// Whether each await is cancelled now.
    pub fn heldNow(self: *const PyTask) bool {
        // Acquire pairs with the release store of the holder, which wakes the task afterwards.
        return self.held.load(.acquire) and self.kept_back == 0;
    }

    /// Of an operation that the kernel says was cancelled: also if nobody wants that any more.
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
        if (by_library) return self.raiseHeld();
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

    /// Suspends until `op` has ended; `owner` (borrowed) owns what the kernel touches meanwhile.
    pub fn suspendForOp(self: *PyTask, op: *Op, owner: *Object, shielded: bool) ?*Object {
        self.own(owner);
        self.op = op;
        self.cut = false;
        self.shielded = shielded;
        return self.suspendNow();
    }

    /// The same for an owner of several ops: `between` is called whenever one of them has ended.
    pub fn suspendForMany(self: *PyTask, owner: *Object, between: Between) ?*Object {
        self.own(owner);
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
        self.dropOwner();
        self.op_owner = api.ref(owner);
    }

    /// Lets go of the last op's owner, unless the kernel still has an op: a coroutine that was closed
    /// or resumed by hand, past the executor. Then its memory stays until the task is done.
    fn dropOwner(self: *PyTask) void {
        const busy = if (self.op) |op| op.phase == .flying else self.many;
        self.many = false;
        if (!busy or self.op_owner == null) return api.drop(&self.op_owner);
        if (self.orphans == null) self.orphans = py.PyList_New(0);
        const kept = if (self.orphans) |list| py.PyList_Append(list, self.op_owner.?) == 0 else false;
        // Without memory for the list the reference itself is kept: a leak, not a fault.
        if (kept) api.drop(&self.op_owner) else self.op_owner = null;
    }

    pub fn suspendNow(self: *PyTask) ?*Object {
        if (self.suspended and self.drivenByAnother()) return null;
        self.suspended = true;
        self.yielded = false;
        self.between = null;
        return api.none();
    }

    /// Resumed again within one poll: an event loop that the task runs would do so forever, and
    /// keep the shard from what it waits for. True with the exception set.
    fn drivenByAnother(_: *PyTask) bool {
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

    /// Suspends until `target` is done, false if it is; `owner` (borrowed) keeps it in memory.
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
        self.endWait();
        return null;
    }

    pub fn endWait(self: *PyTask) void {
        const target = self.waits_for orelse return;
        target.removeWaiter(&self.waiter);
        self.waits_for = null;
        api.drop(&self.waits_owner);
    }

    // ---- the JoinHandle that Python sees ----

    fn step(handle: *Object, suspended: *bool) ?*Object {
        const self = Type.body(handle);
        const me = demand("await of a JoinHandle") orelse return null;
        if (me == self) return api.raise(py.PyExc_RuntimeError.*, "a task cannot await itself");
        // If both tasks were cancelled, raise the awaiting task's own cancellation; no result is lost.
        if (self.task.isDone() and self.endedByCancellation() and me.cancelWanted()) {
            me.endWait();
            return me.raiseCancel();
        }
        if (me.untilDone(&self.task.latch, handle, suspended)) |answer| return answer;
        // The close has ended it, and is about to end the awaiting task: that one gets the
        // cancellation, and can clean up.
        if (self.endedByCancellation() and me.endIsNews()) return me.raiseCancel();
        return self.outcome();
    }

    /// The runtime closes, and this task was not told yet.
    pub fn endIsNews(self: *const PyTask) bool {
        return self.home().scheduler.closing.load(.seq_cst) and !self.task.cleanup and
            !self.task.told_of_close.load(.monotonic);
    }

    /// And has nothing else to raise: KeyboardInterrupt and SystemExit end a task as cancelled too.
    fn endedByCancellation(self: *const PyTask) bool {
        assert(self.task.isDone());
        return self.task.status == @backingInt(errors.Code.cancelled) and !self.failed;
    }

    /// Result, or the exception raised. Only when done.
    pub fn outcome(self: *PyTask) ?*Object {
        assert(self.task.isDone());
        self.retrieved = true;
        if (self.endedByCancellation()) return self.raiseCancelled();
        if (self.failed) {
            if (self.traceback) |traceback| {
                if (self.raisesAlone()) _ = py.PyException_SetTraceback(self.value.?, traceback);
            }
            api.raiseObject(self.value.?);
            return null;
        }
        return api.ref(self.value.?);
    }

    /// Whether no other thread ever raised its exception. Without an interpreter's lock (3.13) its traceback is
    /// a plain reference: setting it frees what another thread is adding to. Those that only add, as each raise
    /// does, keep it alive.
    fn raisesAlone(self: *PyTask) bool {
        if (interpreter.locked) return true;
        const me: u32 = @truncate(py.PyThread_get_thread_ident() >> 12);
        const before = @cmpxchgStrong(u32, &self.raised_by, 0, me, .acq_rel, .acquire) orelse return true;
        if (before != me) @atomicStore(u32, &self.raised_by, std.math.maxInt(u32), .release);
        return before == me;
    }

    /// It says what the cancellation said of a write.
    fn raiseCancelled(self: *const PyTask) ?*Object {
        _ = api.raise(callbacks.table.TaskCancelled, "the task was cancelled before it ended");
        if (self.bytes_written >= 0) callbacks.sayWritten(@intCast(self.bytes_written));
        return null;
    }

    /// What an exception says of a write that it cut short, or -1.
    fn writtenOf(exception: *Object) i64 {
        var written = py.PyObject_GetAttrString(exception, "bytes_written");
        defer api.drop(&written);
        const count = if (written) |number| py.PyLong_AsLongLong(number) else -1;
        py.PyErr_Clear(); // Mostly there is none.
        return count;
    }

    fn cancel(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(handle);
        if (self.task.isDone()) return py.PyBool_FromLong(0);
        if (!isHere(self.runtime.?)) return null;
        // It ends already, with all others: what it still does is clean-up.
        if (self.task.told_of_close.load(.monotonic)) return py.PyBool_FromLong(1);
        self.task.cancel_requested.store(true, .seq_cst);
        Shard.wake(&self.task);
        return py.PyBool_FromLong(1);
    }

    fn done(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(Type.body(handle).task.isDone()));
    }

    fn cancelled(handle: *Object, _: ?*Object) callconv(.c) ?*Object {
        const task = &Type.body(handle).task;
        return py.PyBool_FromLong(@intFromBool(task.isDone() and
            task.status == @backingInt(errors.Code.cancelled)));
    }

    fn shardOf(handle: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const id = Type.body(handle).task.home_id.load(.acquire);
        return if (id == core_task.shard_none) api.none() else py.PyLong_FromLongLong(id);
    }

    fn nameOf(handle: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return if (Type.body(handle).name) |name| api.ref(name) else api.none();
    }

    /// result(timeout=None): waits on an ordinary thread; signals are looked at in between.
    fn result(handle: *Object, arguments: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(handle);
        const limit = result_wait.timeLimit(arguments, count, names) orelse return null;
        if (!self.task.isDone() and !isHere(self.runtime.?)) return null;
        if (!result_wait.waitDone(&self.task.latch, limit)) return null;
        return self.outcome();
    }

    /// False, with the exception set, if a forked child asks: the task is its parent's.
    pub fn isHere(runtime: *Object) bool {
        if (!PyRuntime.of(runtime).forked()) return true;
        _ = raiseCode(errors.fromError(error.Forked));
        return false;
    }

    fn dealloc(handle: *Object) callconv(.c) void {
        const self = Type.body(handle);
        py.PyObject_GC_UnTrack(handle);
        self.reportUnasked();
        self.clear();
        Type.free(handle, true);
    }

    /// The collector calls it before it clears a cycle: what is reported must still be whole, because
    /// a hook may keep it.
    fn finalize(handle: *Object) callconv(.c) void {
        Type.body(handle).reportUnasked();
    }

    fn reportUnasked(self: *PyTask) void {
        if (!self.failed or self.retrieved) return;
        self.retrieved = true;
        self.report();
    }

    /// Nobody asked for the outcome: the exception goes to sys.unraisablehook, with the task's name.
    fn report(self: *PyTask) void {
        const aside: api.Aside = .take();
        defer aside.restore();
        api.raiseObject(self.value.?);
        py.PyErr_WriteUnraisable(self.name);
    }

    fn clear(self: *PyTask) void {
        api.drop(&self.coroutine);
        api.drop(&self.context);
        trashcan.drop(&self.value);
        api.drop(&self.traceback);
        api.drop(&self.name);
        api.drop(&self.runtime);
        api.drop(&self.op_owner);
        api.drop(&self.orphans);
        api.drop(&self.refused);
        api.drop(&self.companion);
    }

    fn tpClear(handle: *Object) callconv(.c) c_int {
        const self = Type.body(handle);
        // Only what a finished task still holds can be part of garbage.
        if (self.task.isDone()) {
            self.retrieved = self.retrieved or !self.failed;
            trashcan.drop(&self.value);
            api.drop(&self.traceback);
            self.failed = false;
        }
        return 0;
    }

    fn traverse(handle: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = Type.body(handle);
        for ([_]?*Object{
            Type.class,     self.coroutine, self.context, self.value,
            self.traceback, self.name,      self.runtime, self.companion,
        }) |held| {
            const one = held orelse continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        return 0;
    }

    /// In an asyncio loop that is not ours a future of that loop stands for the handle.
    fn awaitHere(handle: *Object) callconv(.c) ?*Object {
        if (current() != null) return api.ref(handle);
        if (object.foreign_await) |function| {
            if (function(handle)) |waiter| return waiter;
            if (py.PyErr_Occurred() != null) return null;
        }
        const found = api.call(callbacks.table.join_elsewhere, &.{api.ref(handle)}) orelse return null;
        if (found != py._Py_NoneStruct) return found;
        py.Py_DecRef(found);
        return api.ref(handle);
    }

    fn runtimeOf(handle: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.ref(Type.body(handle).runtime.?);
    }

    pub fn define() bool {
        const awaitable = object.Awaitable(step);
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method(
                    "cancel",
                    &cancel,
                    api.meth_noargs,
                    "($self, /)",
                    result_wait.cancel_doc,
                ),
                object.method(
                    "stack",
                    &inspect.stack,
                    api.meth_noargs,
                    "($self, /)",
                    "Where its coroutine stands, as text, outermost call first.",
                ),
                object.method("done", &done, api.meth_noargs, "($self, /)", "Whether the task has ended."),
                object.method(
                    "cancelled",
                    &cancelled,
                    api.meth_noargs,
                    "($self, /)",
                    "Whether it ended by cancellation.",
                ),
                object.method(
                    "result",
                    &result,
                    api.meth_fastcall | api.meth_keywords,
                    "($self, timeout=None)",
                    result_wait.result_doc,
                ),
                object.method(
                    "__class_getitem__",
                    &object.classGetItem,
                    api.meth_one | api.meth_class,
                    "($type, item, /)",
                    "JoinHandle[T], for annotations.",
                ),
                .{},
            };
            var properties = [_]api.GetSetDef{
                .{ .name = "shard", .get = &shardOf, .doc = "Shard it started on, or None." },
                .{ .name = "name", .get = &nameOf, .doc = "Name, or None." },
                .{ .name = "_runtime", .get = &runtimeOf },
                .{},
            };
        };
        var way = awaitable.slots();
        way[0] = object.slotOf(api.slot.am_await, &awaitHere);
        var slots = way ++ [_]api.TypeSlot{
            object.docSlot("A spawned task: await it in a spargio task, or ask its result() on an ordinary thread.\n" ++
                "Any thread may use it. An exception that nobody asks for goes to sys.unraisablehook."),
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.getset, &S.properties),
            object.slotOf(api.slot.dealloc, &dealloc),
            object.slotOf(api.slot.repr, &repr.ofTask),
            object.slotOf(api.slot.traverse, &traverse),
            object.slotOf(api.slot.clear, &tpClear),
            object.slotOf(api.slot.finalize, &finalize),
            .{},
        };
        return Type.define("JoinHandle", api.flag_gc, &slots);
    }
};
