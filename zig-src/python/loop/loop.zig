//! The native half of an asyncio event loop. The loop is a task on shard 0 of a runtime of its own:
//! a poll of the task is one turn of the loop, or several while nothing but callbacks is ready. So
//! completions, bells and timers of the shard wake it as they wake any task, and coroutines of
//! spargio run beside it. `run` drives the shard on the calling thread until the loop stops. Only
//! the loop's thread uses the fields, except `inbox` and those marked otherwise.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const errors = @import("../../base/errors.zig");
const object = @import("../cpython/object.zig");
const recorders = @import("../../scheduler/recorders.zig");
const sync = @import("../../base/sync.zig");
const task_module = @import("../../task/task.zig");
pub const gpa = @import("../../base/memory.zig").gpa;
const raiseCode = @import("../cpython/callbacks.zig").raiseCode;
const binding = @import("binding.zig");
const calls = @import("calls.zig");
const loop_methods = @import("loop_methods.zig");
const method_names = @import("method_names.zig");
const turn = @import("turn.zig");
const Entry = @import("queue.zig").Entry;
const Handle = @import("handle.zig").Handle;
const interpreter = &@import("../task/py_interpreter.zig").interpreter;
const LoopLink = @import("../task/py_runtime.zig").LoopLink;
const PyRuntime = @import("../task/py_runtime.zig").PyRuntime;
const Queue = @import("queue.zig").Queue;
const Readiness = @import("readiness.zig").Readiness;
const Schedule = @import("schedule.zig").Schedule;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Datagram = @import("datagram.zig").Datagram;
const Known = @import("addresses.zig").Known;
const Stream = @import("stream.zig").Stream;
const Task = task_module.Task;
const Transports = @import("transports.zig").Transports;
const Waiter = @import("waiter.zig").Waiter;
const Waits = @import("waits.zig").Waits;
const Timer = @import("timer_handle.zig").Timer;
const CoreTimer = @import("../../task/timers.zig").Timer;
const Object = api.Object;
const py = &api.py;

/// Handles that have run and are used again.
const free_max = 1024;

/// The loop that this thread is in.
threadlocal var running: ?*Loop = null;

pub const Loop = struct {
    task: Task,
    /// A PyRuntime; null before the first run and after the end.
    runtime: ?*Object,
    shard: ?*Shard,
    link: LoopLink,
    queue: Queue,
    schedule: Schedule,
    readiness: Readiness,
    waits: Waits,
    transports: Transports,
    /// Wakes the shard for the first of `schedule`.
    alarm: CoreTimer,
    /// The context that is entered; it stays so for the next callback, which often has the same.
    entered: ?*Object,
    /// A callback runs: `entered` is its own.
    calling: bool,
    /// SystemExit or KeyboardInterrupt of a callback.
    fatal: ?*Object,
    free: [free_max]*Object,
    free_count: u32,
    debug: bool,
    closed: bool,
    /// Tasks are not plain ones.
    task_factory: bool,
    stopping: bool,
    /// In a run.
    driving: bool,
    /// The shard runs, or ends: the collector, maybe on another thread, must not look at its tasks.
    shard_runs: bool,
    /// No more turns in this run: what is under way comes back.
    ending: bool,
    /// Ends the driving of the shard.
    done: bool,
    in_turn: bool,
    /// `time` is not the monotonic clock: a subclass or a test has put its own there.
    own_time: bool,
    callbacks_run: u64,
    /// How long the shard's polls of the loop take; null before the first run, or without room for it.
    lag: ?*recorders.Recorder,
    /// Turns so far.
    turns: u64,
    /// Streams with something to deliver, in this turn or the next one.
    streams: std.ArrayList(*Stream),
    /// The same of datagram transports.
    datagrams: std.ArrayList(*Datagram),
    /// Those that were written to more than once in this turn.
    dirty: std.ArrayList(*Stream),
    /// Made for the first large flow.
    large: []u8,
    /// Made for the first datagram.
    known: ?*Known,

    /// Guards `inbox`. // any thread
    lock: sync.Lock,
    /// What other threads scheduled. // any thread
    inbox: Queue,
    /// The thread of the ring.
    thread: u64,
    /// The task is known to the shard. // any thread
    spawned: std.atomic.Value(bool),

    const vtable: task_module.VTable = .{
        .interpreted = true,
        .poll = turn.poll,
        .abandon = abandon,
        .release = release,
    };
    pub const Type = object.TypeOf(Loop);

    pub fn of(instance: *Object) *Loop {
        return Type.body(instance);
    }

    pub fn me(self: *Loop) *Object {
        return Type.objectOf(self);
    }

    fn new(class: *Object, _: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        const instance = py.PyType_GenericAlloc(class, 0) orelse return null;
        const self = of(instance);
        self.task = .{ .vtable = &vtable, .kind = .pinned, .preferred = 0 };
        self.link = .{ .interrupted = interruptedBy };
        self.queue = .{};
        self.inbox = .{};
        self.schedule = .{};
        self.readiness = .{};
        self.waits = .{};
        self.transports = .{};
        self.streams = .empty;
        self.datagrams = .empty;
        self.dirty = .empty;
        self.large = &.{};
        self.known = null;
        self.alarm = .{ .fire = turn.alarmFired };
        self.lock = .{};
        self.spawned = .init(false);
        return instance;
    }

    pub fn isRunningHere(self: *const Loop) bool {
        return running == self;
    }

    /// The loop whose callback this thread is in.
    pub fn inTurn() ?*Loop {
        const loop = running orelse return null;
        const shard = Shard.current() orelse return null;
        return if (shard.current_task == &loop.task) loop else null;
    }

    pub fn isPlain(self: *const Loop) bool {
        return !self.debug and !self.closed and (interpreter.locked or running == self or self.shard == null);
    }

    pub fn push(self: *Loop, entry: Entry) error{OutOfMemory}!void {
        try self.queue.push(entry);
        if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
    }

    pub fn timerCancelled(self: *Loop) void {
        // The heap is the loop's thread's: one that was cancelled elsewhere goes when it is due.
        if (interpreter.locked or self.isRunningHere()) self.schedule.countCancelled();
    }

    /// The loop's clock, in seconds; null with the exception set.
    pub fn seconds(self: *Loop) ?f64 {
        if (!self.own_time) return @as(f64, @floatFromInt(clock.nowNs())) / 1e9;
        var result = method_names.callMethod(self.me(), &method_names.time, &.{});
        const number = py.PyFloat_AsDouble(result orelse return null);
        api.drop(&result);
        return if (number == -1 and py.PyErr_Occurred() != null) null else number;
    }

    pub fn time(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        _ = instance;
        return py.PyFloat_FromDouble(@as(f64, @floatFromInt(clock.nowNs())) / 1e9);
    }

    pub const enterContext = turn.enterContext;
    pub const exitContext = turn.exitContext;
    pub const endsRun = turn.endsRun;
    pub const runHandle = turn.runHandle;
    pub const wake = turn.wake;
    pub const largeBuffer = turn.largeBuffer;
    pub const addressOf = turn.addressOf;
    pub const takeInbox = turn.takeInbox;
    pub const isForked = turn.isForked;
    pub const hasInbox = turn.hasInbox;

    // ---- the run ----

    /// _attach(runtime): what the loop runs on; before the first run.
    pub fn attach(instance: *Object, runtime: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (!PyRuntime.Type.is(runtime)) return api.raise(py.PyExc_TypeError.*, "_attach() takes a Runtime");
        if (self.runtime != null) return api.raise(py.PyExc_RuntimeError.*, "the loop has a runtime");
        self.lag = recorders.open(turn.lag_name) catch null;
        self.runtime = api.ref(runtime);
        self.thread = binding.thisThread();
        const shard = &PyRuntime.of(runtime).runtime.scheduler.shards[0];
        if (PyRuntime.of(runtime).watchdog) |one| one.addLoop(shard.id);
        self.shard = shard;
        return api.none();
    }

    fn mayRunHere() bool {
        if (running) |outer| if (outer.isForked()) {
            running = null;
        };
        if (running == null and Shard.current() == null) return true;
        _ = api.raise(
            py.PyExc_RuntimeError.*,
            "an asyncio loop cannot run in a spargio task: await the coroutine there, or run the loop " ++
                "on a thread of its own",
        );
        return false;
    }

    /// _check_place(): RuntimeError on a shard's thread.
    pub fn checkPlace(_: *Object, _: ?*Object) callconv(.c) ?*Object {
        return if (mayRunHere()) api.none() else null;
    }

    /// _run(): drives the shard until the loop stops; raises what ended it.
    pub fn run(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const shard = self.shard orelse return api.raise(py.PyExc_RuntimeError.*, "_run() before _attach()");
        if (!mayRunHere()) return null;
        if (!binding.bindHere(self) or !self.wakeOrSpawn(shard)) return null;
        self.done = false;
        self.ending = false;
        self.takeInbox(); // Scheduled before the run: before what the kernel has by now.
        shard.interruptible = true;
        running = self;
        PyRuntime.of(self.runtime.?).loop = &self.link;
        self.shard_runs = true;
        shard.interpreter.data = py.PyEval_SaveThread();
        self.driving = true;
        shard.runUntil(&self.done);
        binding.watchEnd(shard);
        shard.acquireInterpreter();
        shard.interpreter.held = false;
        running = null;
        self.driving = false;
        self.shard_runs = false;
        self.trackQueued();
        self.stopping = false;
        if (self.fatal != null) return self.raiseFatal();
        if (!self.done) return api.raise(
            py.PyExc_RuntimeError.*,
            "the loop's process has forked: this loop is the parent's",
        );
        return api.none();
    }

    /// Raises what ends the run, or None.
    pub fn raiseFatal(self: *Loop) ?*Object {
        const exception = self.fatal orelse return api.none();
        self.fatal = null;
        api.raiseObject(exception);
        py.Py_DecRef(exception);
        return null;
    }

    /// _leave_context(): of a callback that has returned; between callbacks one stays entered.
    pub fn leaveContext(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.isRunningHere() and !self.calling) self.exitContext();
        return api.none();
    }

    /// The collector learns of the handles that wait for the next run.
    fn trackQueued(self: *Loop) void {
        for (0..self.queue.len) |i| if (self.queue.at(i).handle) |handle| {
            if (py.PyObject_GC_IsTracked(handle) == 0) py.PyObject_GC_Track(handle);
        };
    }

    fn wakeOrSpawn(self: *Loop, shard: *Shard) bool {
        if (self.spawned.load(.acquire)) {
            Shard.wake(&self.task);
            return true;
        }
        // No reference of the scheduler's: the loop ends its runtime before it goes away.
        PyRuntime.of(self.runtime.?).runtime.submit(&self.task, shard) catch |err| {
            _ = raiseCode(errors.fromError(err));
            return false;
        };
        self.task.home = shard; // Before a thread may wake it.
        self.spawned.store(true, .release);
        return true;
    }

    /// A signal handler raised between two passes.
    fn interruptedBy(link: *LoopLink, exception: *Object) void {
        const self: *Loop = @alignCast(@fieldParentPtr("link", link));
        if (self.fatal) |before| py.Py_DecRef(before);
        self.fatal = exception;
        Shard.wake(&self.task);
    }

    /// stop(): the loop ends after this turn.
    pub fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        self.stopping = true;
        if (!self.in_turn and self.spawned.load(.acquire)) Shard.wake(&self.task);
        return api.none();
    }

    /// _close(): lets go of all that was scheduled; the runtime is the caller's to end.
    pub fn close(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        self.closed = true;
        self.forget();
        const ended = self.endRuntime();
        self.forget(); // What the last operations scheduled at their ends.
        return if (ended) api.none() else null;
    }

    /// The shard runs a last time, here, until all that it had has ended. False with the exception set.
    fn endRuntime(self: *Loop) bool {
        const runtime = self.runtime orelse return true;
        self.shard_runs = true;
        defer self.shard_runs = false;
        var lost = false;
        if (!binding.bindForEnd(self, &lost)) {
            if (lost) self.runtime = null; // What the kernel may still write to stays.
            return false;
        }
        PyRuntime.of(runtime).loop = null;
        PyRuntime.of(runtime).end();
        self.shard = null;
        api.drop(&self.runtime);
        return true;
    }

    pub fn forget(self: *Loop) void {
        self.queue.clear();
        while (self.streams.pop()) |stream| {
            stream.listed = false;
            py.Py_DecRef(stream.me());
        }
        while (self.datagrams.pop()) |transport| {
            transport.listed = false;
            py.Py_DecRef(transport.me());
        }
        while (self.dirty.pop()) |stream| {
            stream.dirty = false;
            py.Py_DecRef(stream.me());
        }
        self.schedule.clear();
        self.readiness.clear();
        self.waits.clear();
        while (true) {
            self.lock.lock();
            var entry: ?Entry = if (self.inbox.len > 0) self.inbox.pop() else null;
            self.lock.unlock();
            if (entry) |*one| one.drop() else break;
        }
    }

    fn abandon(task: *Task) bool {
        task.status = @backingInt(errors.Code.cancelled);
        return true;
    }

    fn release(task: *Task) void {
        const self: *Loop = @fieldParentPtr("task", task);
        self.spawned.store(false, .release);
    }

    // ---- settings ----

    pub fn setDebug(instance: *Object, enabled: *Object) callconv(.c) ?*Object {
        const truth = py.PyObject_IsTrue(enabled);
        if (truth < 0) return null;
        of(instance).debug = truth == 1;
        return api.none();
    }

    /// An attribute of the loop; `time` moves its timers, so the native clock gives way.
    fn setAttribute(instance: *Object, name: *Object, value: ?*Object) callconv(.c) c_int {
        if (py.PyUnicode_CompareWithASCIIString(name, "time") == 0) of(instance).own_time = value != null;
        return py.PyObject_GenericSetAttr(instance, name, value);
    }

    /// _learn(): the next `call_soon` comes from a C Future, and shows what it calls with.
    pub fn learn(_: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        if (names) |tuple| if (py.PyTuple_Size(tuple) == 1 and calls.private_keywords == null) {
            calls.private_keywords = api.ref(tuple);
        };
        _ = args;
        _ = count;
        return api.none();
    }

    pub fn getDebug(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).debug));
    }

    pub fn callbacksRun(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyLong_FromUnsignedLongLong(of(instance).callbacks_run);
    }

    // ---- handles that are used again ----

    pub fn takeFree(self: *Loop) ?*Object {
        if (self.free_count == 0) return null;
        self.free_count -= 1;
        const instance = self.free[self.free_count];
        py.Py_IncRef(instance); // From none: what CPython's own lists of free objects do.
        return instance;
    }

    /// A handle at its end: true if the loop keeps its memory. Without a lock of the interpreter
    /// handles go away on any thread.
    pub fn keepFree(self: *Loop, instance: *Object) bool {
        if (!interpreter.locked or self.closed or self.free_count == free_max) return false;
        const handle = Handle.of(instance);
        assert(handle.callback == null and handle.count == 0 and handle.context == null and handle.weakrefs == null);
        handle.state = .pending;
        handle.cancelled = false;
        handle.lasting = false;
        self.free[self.free_count] = instance;
        self.free_count += 1;
        return true;
    }

    fn freeAll(self: *Loop) void {
        for (self.free[0..self.free_count]) |instance| Handle.Type.free(instance, true);
        self.free_count = 0;
    }

    // ---- the type ----

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        const class = py.PyObject_Type(instance);
        py.Py_DecRef(class);
        for ([_]?*Object{ class, self.runtime, self.entered, self.fatal }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        // Nobody is in the inbox: without an interpreter's lock the collector stops all threads, outside of it.
        for ([_]*Queue{ &self.queue, &self.inbox }) |queue| for (0..queue.len) |i| {
            const entry = queue.at(i);
            for ([_]?*Object{ entry.handle, entry.callback, entry.context, entry.argument }) |one| {
                if (one == null) continue;
                const status = visit(one, arg);
                if (status != 0) return status;
            }
        };
        for (self.schedule.heap.items) |entry| {
            const status = visit(entry.timer, arg);
            if (status != 0) return status;
        }
        if (!self.shard_runs) {
            const status = self.traverseIdle(visit, arg);
            if (status != 0) return status;
        }
        const status = self.waits.traverse(visit, arg);
        return if (status != 0) status else self.readiness.traverse(visit, arg);
    }

    /// What only the next run would let go of. (In a run a transport is listed a moment longer than held.)
    fn traverseIdle(self: *Loop, visit: api.Visit, arg: ?*anyopaque) c_int {
        inline for (.{ self.streams.items, self.datagrams.items, self.dirty.items }) |listed| for (listed) |one| {
            const status = visit(one.me(), arg);
            if (status != 0) return status;
        };
        return if (self.shard) |shard| Waiter.traverseAll(shard, visit, arg) else 0;
    }

    fn tpClear(instance: *Object) callconv(.c) c_int {
        const self = of(instance);
        self.forget();
        api.drop(&self.fatal);
        return 0;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = of(instance);
        const aside: api.Aside = .take();
        py.PyObject_GC_UnTrack(instance);
        self.closed = true;
        self.forget();
        if (!self.endRuntime()) {
            py.PyErr_WriteUnraisable(null);
            self.runtime = null; // Without memory for a ring, say: what the kernel has stays there.
        }
        self.forget();
        api.drop(&self.fatal);
        self.queue.deinit();
        self.inbox.deinit();
        self.schedule.deinit();
        self.readiness.deinit();
        self.waits.deinit();
        self.transports.deinit();
        self.streams.deinit(gpa);
        self.datagrams.deinit(gpa);
        self.dirty.deinit(gpa);
        gpa.free(self.large);
        if (self.known) |known| {
            known.clear();
            gpa.destroy(known);
        }
        self.freeAll();
        const class = py.PyObject_Type(instance);
        py.PyObject_GC_Del(instance);
        py.Py_DecRef(class); // What PyObject_Type gave,
        py.Py_DecRef(class); // and the instance's own: CPython leaves that to a base that is a heap type.
        aside.restore();
    }

    pub fn define() bool {
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.new, &new),
            object.slotOf(api.slot.methods, &loop_methods.all),
            object.slotOf(api.slot.setattro, &setAttribute),
            object.slotOf(api.slot.traverse, &traverse),
            object.slotOf(api.slot.clear, &tpClear),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        if (!method_names.make()) return false;
        return Type.defineBase("LoopCore", &slots);
    }
};
