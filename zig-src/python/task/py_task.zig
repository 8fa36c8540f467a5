//! A Python task: a coroutine on a shard. The object is its JoinHandle, and the core's Task lies
//! inside it, so a spawn is one allocation. The executor only resumes the coroutine; the awaited
//! object (an op, another task, a yield) decides in its own step what the resumption means, a
//! cancellation included. The shard's thread, attached to the interpreter, owns all fields, except
//! those of `task` that say otherwise.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const cancellation = @import("cancellation.zig");
const clock = @import("../../base/clock.zig");
const errors = @import("../../base/errors.zig");
const core_task = @import("../../task/task.zig");
const object = @import("../cpython/object.zig");
const callbacks = @import("../cpython/callbacks.zig");
const join_handle = @import("join_handle.zig");
const lookAtHandlers = @import("py_interpreter.zig").lookAtHandlers;
const suspension = @import("suspension.zig");
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

    /// References to `runtime`, `coroutine` and `name` are borrowed. `from`: the shard that spawns it, if one does.
    pub fn create(
        runtime: *Object,
        coroutine: *Object,
        name: ?*Object,
        kind: core_task.Kind,
        preferred: u16,
        from: ?*const Shard,
    ) ?*PyTask {
        const context = py.PyContext_CopyCurrent() orelse return null;
        const self = Type.body(Type.create() orelse {
            py.Py_DecRef(context);
            return null;
        });
        // The body is zero bytes, which the collector may look at from now on.
        self.task = .{ .vtable = &vtable, .kind = kind, .preferred = preferred };
        self.waiter = .{ .task = &self.task };
        self.bytes_written = -1;
        self.born_ns = if (from) |shard| shard.now_ns else clock.nowNs();
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
        if (verdict == .ended) self.releaseCoroutine();
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
        } else if (matches(exception, py.PyExc_RuntimeError.*) or matches(exception, py.PyExc_AttributeError.*)) {
            explain(exception);
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

    /// Asyncio's errors if it finds no loop: its words do not say that a task of spargio runs here.
    fn explain(exception: *Object) void {
        @branchHint(.cold);
        const none = api.call(callbacks.table.explain, &.{api.ref(exception)}) orelse return py.PyErr_Clear();
        py.Py_DecRef(none);
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

    /// What an exception says of a write that it cut short, or -1.
    fn writtenOf(exception: *Object) i64 {
        var written = py.PyObject_GetAttrString(exception, "bytes_written");
        defer api.drop(&written);
        const count = if (written) |number| py.PyLong_AsLongLong(number) else -1;
        py.PyErr_Clear(); // Mostly there is none.
        return count;
    }

    fn matches(exception: *Object, class: *Object) bool {
        return py.PyErr_GivenExceptionMatches(exception, class) != 0;
    }

    fn abandon(task: *Task) bool {
        const self = of(task);
        task.status = @backingInt(errors.Code.cancelled);
        self.closeCoroutine();
        self.releaseCoroutine();
        return true;
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
    fn releaseCoroutine(self: *PyTask) void {
        while (self.scopes) |scope| scope.detach();
        while (self.alarms) |alarm| alarm.detach();
        self.endWait();
        suspension.dropOwner(self);
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

    pub const cancelWanted = cancellation.cancelWanted;
    pub const cancelReached = cancellation.cancelReached;
    pub const heldNow = cancellation.heldNow;
    pub const raiseCancel = cancellation.raiseCancel;
    pub const endIsNews = cancellation.endIsNews;

    pub const suspendForOp = suspension.suspendForOp;
    pub const suspendForMany = suspension.suspendForMany;
    pub const endMany = suspension.endMany;
    pub const suspendNow = suspension.suspendNow;
    pub const suspendYield = suspension.suspendYield;
    pub const awaitLatch = suspension.awaitLatch;
    pub const wasCutOff = suspension.wasCutOff;
    pub const untilDone = suspension.untilDone;
    pub const endWait = suspension.endWait;

    // ---- what its handle uses ----

    pub const outcome = join_handle.outcome;

    pub fn coreTask(self: *PyTask) *Task {
        return &self.task;
    }
};
