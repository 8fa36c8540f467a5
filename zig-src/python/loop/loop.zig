//! The native half of an asyncio event loop. The loop is a task of shard 0 of a runtime that it has for
//! itself: a poll of the task is one turn of the loop, or several while nothing but callbacks is ready.
//! So completions, bells and timers of the shard wake it as they wake any task, and coroutines of
//! spargio run beside it. `run` drives the shard on the calling thread until the loop stops.
//! The loop's thread touches everything, but for `inbox` and what says otherwise.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../api.zig");
const clock = @import("../../clock.zig");
const errors = @import("../../errors.zig");
const object = @import("../object.zig");
const sync = @import("../../sync.zig");
const task_module = @import("../../task.zig");
pub const gpa = @import("../../memory.zig").gpa;
const raiseCode = @import("../helpers.zig").raiseCode;
const Entry = @import("queue.zig").Entry;
const Handle = @import("handle.zig").Handle;
const loop_helpers = &@import("handle.zig").loop_helpers;
const interpreter = &@import("../host.zig").host;
const PyRuntime = @import("../runtime.zig").PyRuntime;
const Queue = @import("queue.zig").Queue;
const Readiness = @import("readiness.zig").Readiness;
const Schedule = @import("schedule.zig").Schedule;
const Shard = @import("../../shard.zig").Shard;
const receive = @import("receive.zig");
const Stream = @import("stream.zig").Stream;
const Task = task_module.Task;
const Timer = @import("handle.zig").Timer;
const CoreTimer = @import("../../timers.zig").Timer;
const Object = api.Object;
const py = &api.py;

/// Turns in one poll, while nothing waits for the shard.
const turns_max = 64;
/// Handles that have run and are used again.
const free_max = 1024;
/// What asyncio takes a clock to be exact to, for its timers.
const year_ns: f64 = 365 * 24 * 3600 * 1e9;

/// The loop that this thread is in.
threadlocal var running: ?*Loop = null;

/// The tuple of keywords that C Tasks and Futures call `call_soon` with. They drop what it returns.
var private_keywords: ?*Object = null;

pub const Loop = struct {
    task: Task,
    /// A PyRuntime; null before the first run and after the end.
    runtime: ?*Object,
    shard: ?*Shard,
    queue: Queue,
    schedule: Schedule,
    readiness: Readiness,
    /// Wakes the shard for the first of `schedule`.
    alarm: CoreTimer,
    /// The context that is entered; it stays so for the next callback, which often has the same.
    entered: ?*Object,
    /// SystemExit or KeyboardInterrupt of a callback.
    fatal: ?*Object,
    free: [free_max]*Object,
    free_count: u32,
    debug: bool,
    closed: bool,
    /// Tasks are not plain ones.
    task_factory: bool,
    stopping: bool,
    /// Ends the driving of the shard.
    done: bool,
    in_turn: bool,
    /// `time` is not the monotonic clock: a subclass or a test has put its own there.
    own_time: bool,
    callbacks_run: u64,
    /// Turns so far.
    turns: u64,
    /// Streams with something to deliver, in this turn or the next one.
    streams: std.ArrayList(*Stream),
    /// Those that were written to more than once in this turn.
    dirty: std.ArrayList(*Stream),
    /// Made for the first large flow.
    large: []u8,

    /// Guards `inbox`. // any thread
    lock: sync.Lock,
    /// What other threads scheduled. // any thread
    inbox: Queue,
    /// The task is known to the shard. // any thread
    spawned: std.atomic.Value(bool),

    const vtable: task_module.VTable = .{ .hosted = true, .poll = poll, .abandon = abandon, .release = release };
    pub const Type = object.TypeOf(Loop);

    pub fn of(instance: *Object) *Loop {
        return Type.body(instance);
    }

    fn me(self: *Loop) *Object {
        return Type.objectOf(self);
    }

    fn new(class: *Object, _: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        const instance = py.PyType_GenericAlloc(class, 0) orelse return null;
        const self = of(instance);
        self.task = .{ .vtable = &vtable, .kind = .pinned, .preferred = 0 };
        self.queue = .{};
        self.inbox = .{};
        self.schedule = .{};
        self.readiness = .{};
        self.streams = .empty;
        self.dirty = .empty;
        self.large = &.{};
        self.alarm = .{ .fire = alarmFired };
        self.lock = .{};
        self.spawned = .init(false);
        return instance;
    }

    /// The loop whose callback this thread is in.
    pub fn inTurn() ?*Loop {
        const loop = running orelse return null;
        const shard = Shard.current() orelse return null;
        return if (shard.current_task == &loop.task) loop else null;
    }

    // ---- scheduling ----

    /// call_soon(callback, *args, context=None) -> Handle
    fn callSoon(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (names != null and names == private_keywords and count <= 2 and self.isPlain())
            return self.callPrivately(args, @intCast(count));
        if (!interpreter.locked and running != self and self.spawned.load(.acquire))
            return self.fromElsewhere(args, count, names, "call_soon");
        const handle = self.handleOf("call_soon", args, count, names) orelse return null;
        if (!interpreter.locked and self.hasInbox()) self.takeInbox(); // What came before stays before.
        if (!self.pushHandle(handle)) return null;
        return handle.objectOf();
    }

    fn isPlain(self: *const Loop) bool {
        return !self.debug and !self.closed and (interpreter.locked or running == self or self.shard == null);
    }

    /// For a Task or a Future: (callback, argument) and a context.
    fn callPrivately(self: *Loop, args: [*]const *Object, count: usize) ?*Object {
        self.push(.{
            .callback = api.ref(args[0]),
            .argument = if (count == 2) api.ref(args[1]) else null,
            .context = api.ref(args[count]),
        }) catch return py.PyErr_NoMemory();
        return api.none();
    }

    /// call_soon_threadsafe(callback, *args, context=None) -> Handle. Any thread.
    fn callSoonThreadsafe(
        instance: *Object,
        args: [*]const *Object,
        count: isize,
        names: ?*Object,
    ) callconv(.c) ?*Object {
        const self = of(instance);
        // Under an interpreter's lock each push is one step for all threads.
        if (!interpreter.locked and running != self)
            return self.fromElsewhere(args, count, names, "call_soon_threadsafe");
        const handle = self.handleOf("call_soon_threadsafe", args, count, names) orelse return null;
        if (!self.pushHandle(handle)) return null;
        return handle.objectOf();
    }

    fn fromElsewhere(
        self: *Loop,
        args: [*]const *Object,
        count: isize,
        names: ?*Object,
        comptime name: [:0]const u8,
    ) ?*Object {
        const handle = self.handleOf(name, args, count, names) orelse return null;
        const instance = handle.objectOf();
        self.lock.lock();
        const first = self.inbox.len == 0;
        const pushed = self.inbox.push(.{ .handle = instance });
        self.lock.unlock();
        pushed catch {
            py.Py_DecRef(instance);
            return py.PyErr_NoMemory();
        };
        py.Py_IncRef(instance); // Before it may run: one for the inbox, one for the caller.
        if (first) self.wakeFromElsewhere();
        return instance;
    }

    fn wakeFromElsewhere(self: *Loop) void {
        if (self.spawned.load(.acquire)) Shard.wake(&self.task);
    }

    /// A new handle, after the checks of asyncio.
    fn handleOf(self: *Loop, comptime name: [:0]const u8, args: [*]const *Object, count: isize, names: ?*Object) ?*Handle {
        if (count < 1) {
            _ = api.raise(py.PyExc_TypeError.*, name ++ "() missing 1 required positional argument: 'callback'");
            return null;
        }
        const n: usize = @intCast(count);
        const given = contextOf(name, args + n, names) orelse return null;
        if ((self.closed or self.debug) and !self.check(name, args[0])) return null;
        const context = if (given == py._Py_NoneStruct) py.PyContext_CopyCurrent() orelse return null else api.ref(given);
        defer py.Py_DecRef(context);
        return Handle.make(self, args[0], args[1..n], context);
    }

    /// Borrowed: the keyword `context`, or None.
    fn contextOf(comptime name: [:0]const u8, values: [*]const *Object, names: ?*Object) ?*Object {
        const tuple = names orelse return py._Py_NoneStruct;
        const size = py.PyTuple_Size(tuple);
        if (size == 0) return py._Py_NoneStruct;
        if (size == 1 and py.PyUnicode_CompareWithASCIIString(py.PyTuple_GetItem(tuple, 0).?, "context") == 0)
            return values[0];
        return api.raise(py.PyExc_TypeError.*, name ++ "() takes only the keyword argument 'context'");
    }

    /// In debug mode, or closed: asyncio's own checks, in Python.
    fn check(self: *Loop, comptime name: [:0]const u8, callback: *Object) bool {
        if (self.closed) {
            _ = api.raise(py.PyExc_RuntimeError.*, "Event loop is closed");
            return false;
        }
        const word = api.string(name) orelse return false;
        var result = callMethod(self.me(), &names_of.check_call, &.{ word, callback });
        py.Py_DecRef(word);
        if (result == null) return false;
        api.drop(&result);
        return true;
    }

    /// Gives the queue a reference of its own. False, with the exception set: the caller's is gone.
    fn pushHandle(self: *Loop, handle: *Handle) bool {
        py.Py_IncRef(handle.objectOf());
        self.push(.{ .handle = handle.objectOf() }) catch {
            py.Py_DecRef(handle.objectOf());
            py.Py_DecRef(handle.objectOf());
            _ = py.PyErr_NoMemory();
            return false;
        };
        return true;
    }

    pub fn push(self: *Loop, entry: Entry) error{OutOfMemory}!void {
        try self.queue.push(entry);
        if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
    }

    /// call_later(delay, callback, *args, context=None) -> TimerHandle
    fn callLater(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        return of(instance).callTimed("call_later", true, args, count, names);
    }

    /// call_at(when, callback, *args, context=None) -> TimerHandle
    fn callAt(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        return of(instance).callTimed("call_at", false, args, count, names);
    }

    fn callTimed(
        self: *Loop,
        comptime name: [:0]const u8,
        comptime relative: bool,
        args: [*]const *Object,
        count: isize,
        names: ?*Object,
    ) ?*Object {
        if (count < 2) return api.raise(py.PyExc_TypeError.*, name ++ "() takes at least 2 arguments");
        const n: usize = @intCast(count);
        if (args[0] == py._Py_NoneStruct)
            return api.raise(py.PyExc_TypeError.*, (if (relative) "delay" else "when") ++ " must not be None");
        const given = py.PyFloat_AsDouble(args[0]);
        if (given == -1 and py.PyErr_Occurred() != null) return null;
        const keyword = contextOf(name, args + n, names) orelse return null;
        if ((self.closed or self.debug) and !self.check(name, args[1])) return null;
        const now = self.seconds() orelse return null;
        const when = if (relative) now + given else given;
        if (std.math.isNan(when))
            return api.raise(py.PyExc_ValueError.*, (if (relative) "delay" else "when") ++ " must be a number, got nan");
        const context = if (keyword == py._Py_NoneStruct) py.PyContext_CopyCurrent() orelse return null else api.ref(keyword);
        defer py.Py_DecRef(context);
        const timer = Timer.make(self, when, args[1], args[2..n], context) orelse return null;
        const made = Timer.Type.objectOf(timer);
        self.schedule.add(api.ref(made), deadlineOf(when)) catch {
            py.Py_DecRef(made);
            py.Py_DecRef(made);
            return py.PyErr_NoMemory();
        };
        if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
        return made;
    }

    fn deadlineOf(when: f64) u64 {
        const ns = @ceil(when * 1e9);
        if (ns <= 0) return 0;
        return if (ns >= 100 * year_ns) std.math.maxInt(u64) - 1 else @trunc(ns);
    }

    pub fn timerCancelled(self: *Loop) void {
        self.schedule.countCancelled();
    }

    /// The loop's clock, in seconds; null with the exception set.
    fn seconds(self: *Loop) ?f64 {
        if (!self.own_time) return @as(f64, @floatFromInt(clock.nowNs())) / 1e9;
        var result = callMethod(self.me(), &names_of.time, &.{});
        const number = py.PyFloat_AsDouble(result orelse return null);
        api.drop(&result);
        return if (number == -1 and py.PyErr_Occurred() != null) null else number;
    }

    fn time(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        _ = instance;
        return py.PyFloat_FromDouble(@as(f64, @floatFromInt(clock.nowNs())) / 1e9);
    }

    // ---- tasks and futures: asyncio's own classes, without the way through Python. 3.11 and newer ----

    /// create_task(coro, *, name=None, ...) -> Task
    fn createTask(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const named = isNameAlone(names);
        if (count != 1 or self.task_factory or !self.isPlain() or (names != null and !named))
            return createTaskSlowly(instance, args, @intCast(count), names);
        var room = [4]?*Object{ null, args[0], instance, if (named) args[1] else null };
        const words = if (named) names_of.loop_and_name else names_of.loop;
        return py.PyObject_Vectorcall.?(loop_helpers.Task, room[1..].ptr, 1 | api.arguments_offset, words);
    }

    fn isNameAlone(names: ?*Object) bool {
        const tuple = names orelse return false;
        return py.PyTuple_Size(tuple) == 1 and
            py.PyUnicode_CompareWithASCIIString(py.PyTuple_GetItem(tuple, 0).?, "name") == 0;
    }

    /// With a factory, a context, debug mode: BaseEventLoop's.
    fn createTaskSlowly(instance: *Object, args: [*]const *Object, count: usize, names: ?*Object) ?*Object {
        const keywords: usize = if (names) |tuple| @intCast(py.PyTuple_Size(tuple)) else 0;
        var room: [10]?*Object = undefined;
        if (count + keywords > room.len - 2)
            return api.raise(py.PyExc_TypeError.*, "create_task() takes a coroutine and a few keywords");
        room[1] = instance;
        for (args[0 .. count + keywords], 2..) |argument, i| room[i] = argument;
        const flags = (count + 1) | api.arguments_offset;
        return py.PyObject_Vectorcall.?(loop_helpers.create_task, room[1..].ptr, flags, names);
    }

    /// create_future() -> Future
    fn createFuture(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        var room = [2]?*Object{ null, instance };
        return py.PyObject_Vectorcall.?(loop_helpers.Future, room[1..].ptr, api.arguments_offset, names_of.loop);
    }

    /// _set_task_factory(is_set)
    fn setTaskFactory(instance: *Object, is_set: *Object) callconv(.c) ?*Object {
        const truth = py.PyObject_IsTrue(is_set);
        if (truth < 0) return null;
        of(instance).task_factory = truth == 1;
        return api.none();
    }

    // ---- a turn ----

    fn poll(task: *Task) task_module.Poll {
        const self: *Loop = @fieldParentPtr("task", task);
        const shard = Shard.current().?;
        if (task.cancel_requested.load(.acquire)) {
            self.forget();
            return .ended;
        }
        self.in_turn = true;
        defer self.in_turn = false;
        if (self.alarm.isSet()) shard.timers.cancel(&self.alarm);
        var turns: usize = 0;
        while (true) {
            self.turn();
            turns += 1;
            if (self.stopping or self.fatal != null) {
                self.done = true;
                break;
            }
            if (self.queue.len == 0 and !self.hasInbox() and self.streams.items.len == 0) break;
            if (turns == turns_max or shard.ring.hasUnsubmitted() or shard.ring.ready() or shard.ring.hasTaskWork() or
                shard.hasReady()) break;
        }
        self.exitContext();
        if (self.crewForked()) return .pending;
        self.readiness.arm(self, shard);
        if (self.done or self.queue.len > 0 or self.hasInbox() or self.streams.items.len > 0) return .yield;
        return self.rest(shard);
    }

    /// Nothing is ready: the first timer wakes the loop, or whoever schedules something.
    fn rest(self: *Loop, shard: *Shard) task_module.Poll {
        const next = self.schedule.next();
        if (next == std.math.maxInt(u64)) return .pending;
        if (self.own_time) {
            // A clock of the user's moves as it likes: it is asked again after the time that it says is left.
            const now = self.seconds() orelse return self.failedClock();
            const left: f64 = @max(0, @as(f64, @floatFromInt(next)) - now * 1e9);
            shard.timers.set(&self.alarm, clock.deadlineNs(@trunc(@min(left, year_ns)))) catch return .yield;
            return .pending;
        }
        shard.timers.set(&self.alarm, next) catch return .yield; // Without memory it asks again.
        return .pending;
    }

    fn failedClock(self: *Loop) task_module.Poll {
        self.fatal = api.takeException();
        self.done = true;
        return .yield;
    }

    fn alarmFired(timer: *CoreTimer) void {
        const self: *Loop = @fieldParentPtr("alarm", timer);
        Shard.wake(&self.task);
    }

    fn crewForked(self: *const Loop) bool {
        return self.shard.?.crew.forked();
    }

    fn hasInbox(self: *Loop) bool {
        return @atomicLoad(usize, &self.inbox.len, .acquire) > 0;
    }

    fn turn(self: *Loop) void {
        if (self.hasInbox()) self.takeInbox();
        self.turns += 1;
        self.takeDue();
        var left = self.queue.len;
        self.deliver();
        while (left > 0) : (left -= 1) {
            var entry = self.queue.pop();
            self.callbacks_run += 1;
            const went_well = if (entry.handle) |handle| self.runAndDrop(handle) else self.runPrivate(&entry);
            if (!went_well) break;
            if (self.crewForked()) break;
        }
        while (self.dirty.pop()) |stream| stream.flush();
    }

    /// To the streams that were listed until now. One that lists itself again is served in the next turn.
    fn deliver(self: *Loop) void {
        const count = self.streams.items.len;
        if (count == 0) return;
        for (0..count) |i| self.streams.items[i].deliver();
        std.mem.copyForwards(*Stream, self.streams.items, self.streams.items[count..]);
        self.streams.items.len -= count;
    }

    pub fn wake(self: *Loop) void {
        if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
    }

    /// Null without memory.
    pub fn largeBuffer(self: *Loop) ?[]u8 {
        if (self.large.len == 0) self.large = gpa.alloc(u8, receive.large_bytes) catch return null;
        return self.large;
    }

    /// SystemExit and KeyboardInterrupt end the run; the exception is borrowed.
    pub fn endsRun(self: *Loop, exception: *Object) bool {
        if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_SystemExit.*) == 0 and
            py.PyErr_GivenExceptionMatches(exception, py.PyExc_KeyboardInterrupt.*) == 0) return false;
        if (self.fatal) |before| py.Py_DecRef(before);
        self.fatal = api.ref(exception);
        return true;
    }

    fn takeInbox(self: *Loop) void {
        self.lock.lock();
        defer self.lock.unlock();
        while (self.inbox.len > 0) {
            const entry = self.inbox.at(0).*;
            self.queue.push(entry) catch return;
            _ = self.inbox.pop();
        }
    }

    fn takeDue(self: *Loop) void {
        if (self.schedule.heap.items.len == 0) return;
        const now_ns: u64 = if (self.own_time) deadlineOf(self.seconds() orelse {
            self.fatal = api.takeException();
            return;
        }) else clock.nowNs();
        while (self.schedule.popDue(now_ns)) |timer| {
            self.queue.push(.{ .handle = timer }) catch {
                self.schedule.add(timer, deadlineOf(Timer.of(timer).when)) catch py.Py_DecRef(timer);
                return;
            };
        }
    }

    fn runAndDrop(self: *Loop, instance: *Object) bool {
        const went_well = self.runHandle(instance);
        py.Py_DecRef(instance);
        return went_well;
    }

    /// False where the loop has to end: the exception is in `fatal`.
    pub fn runHandle(self: *Loop, instance: *Object) bool {
        const handle = Handle.of(instance);
        if (handle.cancelled or handle.callback == null) return true;
        // The context moves into `entered`, unless the handle runs again.
        const context = handle.context.?;
        if (handle.lasting) py.Py_IncRef(context) else handle.context = null;
        if (!self.enterContext(context)) return self.failed(instance, .{});
        handle.state = .running;
        const began_ns = if (self.debug) clock.nowNs() else 0;
        const flags = handle.count | api.arguments_offset;
        var result = py.PyObject_VectorcallDict(handle.callback.?, handle.arguments(), flags, null);
        var went_well = true;
        if (result == null) went_well = self.failed(instance, .{}) else api.drop(&result);
        if (self.debug and went_well) went_well = self.tellSlow(instance, began_ns);
        handle.state = if (handle.lasting) .pending else .done;
        if (!handle.lasting or handle.cancelled) {
            handle.empty();
            api.drop(&handle.context);
        }
        return went_well;
    }

    fn runPrivate(self: *Loop, entry: *Entry) bool {
        const context = entry.context.?;
        entry.context = null;
        defer entry.drop();
        if (!self.enterContext(context)) return self.failed(null, entry.*);
        var room = [2]?*Object{ null, entry.argument };
        const count: usize = @intFromBool(entry.argument != null);
        var result = py.PyObject_VectorcallDict(entry.callback.?, room[1..].ptr, count | api.arguments_offset, null);
        if (result == null) return self.failed(null, entry.*);
        api.drop(&result);
        return true;
    }

    /// Takes over the reference.
    pub fn enterContext(self: *Loop, context: *Object) bool {
        if (self.entered == context) {
            py.Py_DecRef(context);
            return true;
        }
        self.exitContext();
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
    fn failed(self: *Loop, instance: ?*Object, entry: Entry) bool {
        const exception = api.takeException();
        defer py.Py_DecRef(exception);
        if (self.endsRun(exception)) return false;
        self.exitContext();
        var shown: ?*Object = if (instance) |one| api.ref(one) else self.shownHandle(entry);
        defer api.drop(&shown);
        const handle = shown orelse return self.fatalOf();
        var result = callMethod(self.me(), &names_of.callback_failed, &.{ handle, exception });
        if (result == null) return self.fatalOf();
        api.drop(&result);
        return true;
    }

    /// What asyncio would have had, for the one who reads the report.
    fn shownHandle(self: *Loop, entry: Entry) ?*Object {
        const args: []const *Object = if (entry.argument) |*one| one[0..1] else &.{};
        const context = py.PyContext_CopyCurrent() orelse return null;
        defer py.Py_DecRef(context);
        return (Handle.make(self, entry.callback.?, args, context) orelse return null).objectOf();
    }

    fn fatalOf(self: *Loop) bool {
        self.fatal = api.takeException();
        return false;
    }

    fn tellSlow(self: *Loop, instance: *Object, began_ns: u64) bool {
        const spent = py.PyFloat_FromDouble(@as(f64, @floatFromInt(clock.nowNs() - began_ns)) / 1e9) orelse
            return self.fatalOf();
        defer py.Py_DecRef(spent);
        var result = callMethod(self.me(), &names_of.callback_ran, &.{ instance, spent });
        if (result == null) return self.fatalOf();
        api.drop(&result);
        return true;
    }

    // ---- the run ----

    /// _attach(runtime): what the loop runs on; before the first run.
    fn attach(instance: *Object, runtime: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (!PyRuntime.Type.is(runtime)) return api.raise(py.PyExc_TypeError.*, "_attach() takes a Runtime");
        if (self.runtime != null) return api.raise(py.PyExc_RuntimeError.*, "the loop has a runtime");
        self.runtime = api.ref(runtime);
        self.shard = &PyRuntime.of(runtime).runtime.crew.shards[0];
        return api.none();
    }

    /// _run(): drives the shard until the loop stops; raises what ended it.
    fn run(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const shard = self.shard orelse return api.raise(py.PyExc_RuntimeError.*, "_run() before _attach()");
        if (running) |outer| if (outer.crewForked()) {
            running = null;
        };
        if (running != null or Shard.current() != null) return api.raise(
            py.PyExc_RuntimeError.*,
            "an asyncio loop cannot run in a spargio task: await the coroutine there, or run the loop on a thread of its own",
        );
        if (!self.wakeOrSpawn(shard)) return null;
        self.done = false;
        self.takeInbox(); // Scheduled before the run: before what the kernel has by now.
        shard.interruptible = true;
        running = self;
        PyRuntime.of(self.runtime.?).loop = self;
        shard.host_data = py.PyEval_SaveThread();
        shard.runUntil(&self.done);
        shard.enterHost();
        shard.in_host = false;
        running = null;
        self.stopping = false;
        if (self.fatal) |exception| {
            self.fatal = null;
            api.raiseObject(exception);
            py.Py_DecRef(exception);
            return null;
        }
        if (!self.done) return api.raise(py.PyExc_RuntimeError.*, "the loop's process has forked: this loop is the parent's");
        return api.none();
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
    pub fn interruptedBy(self: *Loop, exception: *Object) void {
        if (self.fatal) |before| py.Py_DecRef(before);
        self.fatal = exception;
        self.done = true;
    }

    /// stop(): the loop ends after this turn.
    fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        self.stopping = true;
        if (!self.in_turn and self.spawned.load(.acquire)) Shard.wake(&self.task);
        return api.none();
    }

    /// _close(): lets go of all that was scheduled; the runtime is the caller's to end.
    fn close(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        self.closed = true;
        self.forget();
        self.endRuntime();
        return api.none();
    }

    /// The shard runs a last time, here, until all that it had has ended.
    fn endRuntime(self: *Loop) void {
        const runtime = self.runtime orelse return;
        PyRuntime.of(runtime).loop = null;
        PyRuntime.of(runtime).end();
        self.shard = null;
        api.drop(&self.runtime);
    }

    fn forget(self: *Loop) void {
        self.queue.clear();
        for (self.streams.items) |stream| {
            stream.listed = false;
            py.Py_DecRef(stream.me());
        }
        self.streams.items.len = 0;
        while (self.dirty.pop()) |stream| {
            stream.dirty = false;
            py.Py_DecRef(stream.me());
        }
        self.schedule.clear();
        self.readiness.clear();
        while (true) {
            self.lock.lock();
            var entry: ?Entry = if (self.inbox.len > 0) self.inbox.pop() else null;
            self.lock.unlock();
            if (entry) |*one| one.drop() else break;
        }
    }

    fn abandon(task: *Task) void {
        task.status = @backingInt(errors.Code.cancelled);
    }

    fn release(task: *Task) void {
        const self: *Loop = @fieldParentPtr("task", task);
        self.spawned.store(false, .release);
    }

    // ---- descriptors ----

    /// _add_watch(fd, is_writer, callback, *args): the callback runs whenever the descriptor is ready.
    fn addWatch(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
        const self = of(instance);
        if (count < 3) return api.raise(py.PyExc_TypeError.*, "_add_watch() takes at least 3 arguments");
        const fd = object.unsigned(args[0], "fd", std.math.maxInt(i32)) orelse return null;
        const writer = object.unsigned(args[1], "is_writer", 1) orelse return null;
        const context = py.PyContext_CopyCurrent() orelse return null;
        defer py.Py_DecRef(context);
        const handle = Handle.make(self, args[2], args[3..@intCast(count)], context) orelse return null;
        handle.lasting = true;
        self.readiness.add(self, @intCast(fd), writer == 1, handle.objectOf()) catch {
            py.Py_DecRef(handle.objectOf());
            return py.PyErr_NoMemory();
        };
        if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
        return api.ref(handle.objectOf());
    }

    /// _remove_watch(fd, is_writer): whether there was one.
    fn removeWatch(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("_remove_watch", count, 2)) return null;
        const self = of(instance);
        const fd = object.unsigned(args[0], "fd", std.math.maxInt(i32)) orelse return null;
        const writer = object.unsigned(args[1], "is_writer", 1) orelse return null;
        return py.PyBool_FromLong(@intFromBool(self.readiness.remove(self, @intCast(fd), writer == 1)));
    }

    /// _watched(fd): 1 for a reader, plus 2 for a writer.
    fn watched(instance: *Object, number: *Object) callconv(.c) ?*Object {
        const fd = object.unsigned(number, "fd", std.math.maxInt(i32)) orelse return null;
        return py.PyLong_FromLongLong(of(instance).readiness.directions(@intCast(fd)));
    }

    // ---- settings ----

    fn setDebug(instance: *Object, enabled: *Object) callconv(.c) ?*Object {
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
    fn learn(_: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
        if (names) |tuple| if (py.PyTuple_Size(tuple) == 1 and private_keywords == null) {
            private_keywords = api.ref(tuple);
        };
        _ = args;
        _ = count;
        return api.none();
    }

    fn callbacksRun(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return py.PyLong_FromUnsignedLongLong(of(instance).callbacks_run);
    }

    // ---- handles that are used again ----

    pub fn takeFree(self: *Loop) ?*Object {
        if (self.free_count == 0) return null;
        self.free_count -= 1;
        const instance = py.PyObject_Init(self.free[self.free_count], Handle.Type.class);
        py.PyObject_GC_Track(instance);
        return instance;
    }

    /// A handle at its end: true where the loop keeps its memory. Without a lock of the interpreter
    /// handles go away on any thread.
    pub fn keepFree(self: *Loop, instance: *Object) bool {
        if (!interpreter.locked or self.closed or self.free_count == free_max) return false;
        @memset(@as([*]u8, @ptrCast(Handle.of(instance)))[0..@sizeOf(Handle)], 0);
        self.free[self.free_count] = instance;
        self.free_count += 1;
        py.Py_DecRef(Handle.Type.class);
        return true;
    }

    fn freeAll(self: *Loop) void {
        for (self.free[0..self.free_count]) |instance| py.PyObject_GC_Del(instance);
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
        for (0..self.queue.len) |i| {
            const entry = self.queue.at(i);
            for ([_]?*Object{ entry.handle, entry.callback, entry.context, entry.argument }) |one| {
                if (one == null) continue;
                const status = visit(one, arg);
                if (status != 0) return status;
            }
        }
        for (self.schedule.heap.items) |entry| {
            const status = visit(entry.timer, arg);
            if (status != 0) return status;
        }
        return self.readiness.traverse(visit, arg);
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
        self.endRuntime();
        api.drop(&self.fatal);
        self.queue.deinit();
        self.inbox.deinit();
        self.schedule.deinit();
        self.readiness.deinit();
        self.streams.deinit(gpa);
        self.dirty.deinit(gpa);
        gpa.free(self.large);
        self.freeAll();
        const class = py.PyObject_Type(instance);
        py.PyObject_GC_Del(instance);
        py.Py_DecRef(class); // What PyObject_Type gave,
        py.Py_DecRef(class); // and the instance's own: CPython leaves that to a base that is a heap type.
        aside.restore();
    }

    pub fn define() bool {
        const keywords = api.meth_fastcall | api.meth_keywords;
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method("call_soon", &callSoon, keywords, "call_soon(callback, *args, context=None)"),
                object.method(
                    "call_soon_threadsafe",
                    &callSoonThreadsafe,
                    keywords,
                    "call_soon_threadsafe(callback, *args, context=None): from any thread.",
                ),
                object.method("call_later", &callLater, keywords, "call_later(delay, callback, *args, context=None)"),
                object.method("call_at", &callAt, keywords, "call_at(when, callback, *args, context=None)"),
                object.method("create_task", &createTask, keywords, "create_task(coro, *, name=None, context=None)"),
                object.method("create_future", &createFuture, api.meth_noargs, "create_future()"),
                object.method("_set_task_factory", &setTaskFactory, api.meth_one, "_set_task_factory(is_set)"),
                object.method("time", &time, api.meth_noargs, "Seconds of the monotonic clock."),
                object.method("stop", &stop, api.meth_noargs, "End run_forever() after this turn."),
                object.method("_attach", &attach, api.meth_one, "_attach(runtime)"),
                object.method("_run", &run, api.meth_noargs, "_run(): until stop()."),
                object.method("_close", &close, api.meth_noargs, "_close()"),
                object.method("_learn", &learn, keywords, "_learn(*args, context)"),
                object.method("_set_debug", &setDebug, api.meth_one, "_set_debug(enabled)"),
                object.method("_add_watch", &addWatch, api.meth_fastcall, "_add_watch(fd, is_writer, callback, *args)"),
                object.method("_remove_watch", &removeWatch, api.meth_fastcall, "_remove_watch(fd, is_writer)"),
                object.method("_watched", &watched, api.meth_one, "_watched(fd): 1 reader, 2 writer"),
                object.method("_callbacks_run", &callbacksRun, api.meth_noargs, "Callbacks run so far."),
                .{},
            };
        };
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.new, &new),
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.setattro, &setAttribute),
            object.slotOf(api.slot.traverse, &traverse),
            object.slotOf(api.slot.clear, &tpClear),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        if (!names_of.make()) return false;
        return Type.defineBase("LoopCore", &slots);
    }
};

/// Names of methods that the loop calls on itself, made once.
pub const names_of = struct {
    pub var check_call: *Object = undefined;
    pub var callback_failed: *Object = undefined;
    pub var callback_ran: *Object = undefined;
    pub var time: *Object = undefined;
    pub var fatal: *Object = undefined;
    pub var flow_failed: *Object = undefined;
    pub var emptied: *Object = undefined;
    pub var write_lost: *Object = undefined;
    /// Tuples of keywords.
    pub var loop: *Object = undefined;
    pub var loop_and_name: *Object = undefined;

    fn make() bool {
        check_call = py.PyUnicode_InternFromString("_check_call") orelse return false;
        callback_failed = py.PyUnicode_InternFromString("_callback_failed") orelse return false;
        callback_ran = py.PyUnicode_InternFromString("_callback_ran") orelse return false;
        time = py.PyUnicode_InternFromString("time") orelse return false;
        fatal = py.PyUnicode_InternFromString("_fatal") orelse return false;
        flow_failed = py.PyUnicode_InternFromString("_flow_failed") orelse return false;
        emptied = py.PyUnicode_InternFromString("_emptied") orelse return false;
        write_lost = py.PyUnicode_InternFromString("_write_lost") orelse return false;
        loop = keywordTuple(&.{"loop"}) orelse return false;
        loop_and_name = keywordTuple(&.{ "loop", "name" }) orelse return false;
        return true;
    }
};

fn keywordTuple(comptime words: []const [:0]const u8) ?*Object {
    const tuple = py.PyTuple_New(words.len) orelse return null;
    inline for (words, 0..) |word, i| {
        _ = py.PyTuple_SetItem(tuple, i, py.PyUnicode_InternFromString(word.ptr) orelse return null);
    }
    return tuple;
}

/// `instance.name(*arguments)`; borrows all.
pub fn callMethod(instance: *Object, name: *const *Object, arguments: []const *Object) ?*Object {
    var room: [5]?*Object = undefined;
    room[1] = instance;
    for (arguments, 2..) |argument, i| room[i] = argument;
    return py.PyObject_VectorcallMethod(name.*, room[1..].ptr, (arguments.len + 1) | api.arguments_offset, null);
}
