//! The methods that schedule callbacks, timers and tasks on an asyncio loop: call_soon and its kin,
//! create_task and create_future. On the loop's thread, except call_soon_threadsafe.

const std = @import("std");
const api = @import("../cpython/api.zig");
const interpreter = &@import("../task/py_interpreter.zig").interpreter;
const giveWay = @import("../task/py_interpreter.zig").giveWay;
const loop_helpers = &@import("handle.zig").loop_helpers;
const method_names = @import("method_names.zig");
const Handle = @import("handle.zig").Handle;
const Loop = @import("loop.zig").Loop;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Timer = @import("timer_handle.zig").Timer;
const Object = api.Object;
const py = &api.py;

const year_ns: f64 = 365 * 24 * 3600 * 1e9;

/// The tuple of keywords that C Tasks and Futures call `call_soon` with. They drop what it returns.
pub var private_keywords: ?*Object = null;

// ---- scheduling ----

/// call_soon(callback, *args, context=None) -> Handle
pub fn callSoon(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
    const self = Loop.of(instance);
    if (self.isPlain()) {
        if (names == null and count >= 1) return callPlainly(self, args[0..@intCast(count)]);
        if (names != null and names == private_keywords and count <= 2)
            return callPrivately(self, args, @intCast(count));
    }
    if (!interpreter.locked and !self.isRunningHere() and self.spawned.load(.acquire))
        return fromElsewhere(self, args, count, names, "call_soon");
    const handle = handleOf(self, "call_soon", args, count, names) orelse return null;
    if (!interpreter.locked and self.hasInbox()) self.takeInbox(); // What came before stays before.
    if (!pushHandle(self, handle)) return null;
    return handle.objectOf();
}

/// By far the most: nothing to be checked, and the caller's context.
fn callPlainly(self: *Loop, args: []const *Object) ?*Object {
    const context = py.PyContext_CopyCurrent() orelse return null;
    const handle = Handle.makeQueued(self, args[0], args[1..], context) orelse return null;
    if (!interpreter.locked and self.hasInbox()) self.takeInbox(); // What came before stays before.
    if (!pushHandle(self, handle)) return null;
    return handle.objectOf();
}

/// For a Task or a Future: (callback, argument) and a context.
pub fn callPrivately(self: *Loop, args: [*]const *Object, count: usize) ?*Object {
    self.push(.{
        .callback = api.ref(args[0]),
        .argument = if (count == 2) api.ref(args[1]) else null,
        .context = api.ref(args[count]),
    }) catch return py.PyErr_NoMemory();
    return api.none();
}

/// call_soon_threadsafe(callback, *args, context=None) -> Handle. Any thread.
pub fn callSoonThreadsafe(
    instance: *Object,
    args: [*]const *Object,
    count: isize,
    names: ?*Object,
) callconv(.c) ?*Object {
    const self = Loop.of(instance);
    // Under an interpreter's lock each push is one step for all threads.
    if (!interpreter.locked and !self.isRunningHere())
        return fromElsewhere(self, args, count, names, "call_soon_threadsafe");
    const plain = names == null and count >= 1 and self.isPlain();
    const made = if (plain)
        callPlainly(self, args[0..@intCast(count)])
    else
        scheduled(self, handleOf(self, "call_soon_threadsafe", args, count, names) orelse return null);
    if (self.driving and self.queue.len >= batch and self.queue.len % give_way_every == 0 and !self.isRunningHere())
        giveWay(self.in_turn);
    return made;
}

/// A thread that schedules much lets the loop run so many: their handles are used again, and are still in the
/// CPU's caches. It asks whether the loop waits each time that so many more are there.
const batch = 1024;
const give_way_every = 64;

fn scheduled(self: *Loop, handle: *Handle) ?*Object {
    return if (pushHandle(self, handle)) handle.objectOf() else null;
}

pub fn fromElsewhere(
    self: *Loop,
    args: [*]const *Object,
    count: isize,
    names: ?*Object,
    comptime name: [:0]const u8,
) ?*Object {
    const handle = handleOf(self, name, args, count, names) orelse return null;
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
    if (first) wakeFromElsewhere(self);
    return instance;
}

pub fn wakeFromElsewhere(self: *Loop) void {
    if (self.spawned.load(.acquire)) Shard.wake(&self.task);
}

/// A new handle, after the checks of asyncio.
pub fn handleOf(
    self: *Loop,
    comptime name: [:0]const u8,
    args: [*]const *Object,
    count: isize,
    names: ?*Object,
) ?*Handle {
    if (count < 1) {
        _ = api.raise(py.PyExc_TypeError.*, name ++ "() missing 1 required positional argument: 'callback'");
        return null;
    }
    const n: usize = @intCast(count);
    const given = contextOf(name, args + n, names) orelse return null;
    if ((self.closed or self.debug) and !check(self, name, args[0])) return null;
    const context = if (given == py._Py_NoneStruct) py.PyContext_CopyCurrent() orelse return null else api.ref(given);
    return Handle.makeQueued(self, args[0], args[1..n], context);
}

/// Borrowed: the keyword `context`, or None.
pub fn contextOf(comptime name: [:0]const u8, values: [*]const *Object, names: ?*Object) ?*Object {
    const tuple = names orelse return py._Py_NoneStruct;
    const size = py.PyTuple_Size(tuple);
    if (size == 0) return py._Py_NoneStruct;
    if (size == 1 and py.PyUnicode_CompareWithASCIIString(py.PyTuple_GetItem(tuple, 0).?, "context") == 0)
        return values[0];
    return api.raise(py.PyExc_TypeError.*, name ++ "() takes only the keyword argument 'context'");
}

/// In debug mode, or closed: asyncio's own checks, in Python.
pub fn check(self: *Loop, comptime name: [:0]const u8, callback: *Object) bool {
    if (self.closed) {
        _ = api.raise(py.PyExc_RuntimeError.*, "Event loop is closed");
        return false;
    }
    const word = api.string(name) orelse return false;
    var result = method_names.callMethod(self.me(), &method_names.check_call, &.{ word, callback });
    py.Py_DecRef(word);
    if (result == null) return false;
    api.drop(&result);
    return true;
}

/// Gives the queue a reference of its own. False, with the exception set: the caller's is gone.
pub fn pushHandle(self: *Loop, handle: *Handle) bool {
    py.Py_IncRef(handle.objectOf());
    self.push(.{ .handle = handle.objectOf() }) catch {
        py.Py_DecRef(handle.objectOf());
        py.Py_DecRef(handle.objectOf());
        _ = py.PyErr_NoMemory();
        return false;
    };
    return true;
}

/// call_later(delay, callback, *args, context=None) -> TimerHandle
pub fn callLater(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
    return callTimed(Loop.of(instance), "call_later", true, args, count, names);
}

/// call_at(when, callback, *args, context=None) -> TimerHandle
pub fn callAt(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
    return callTimed(Loop.of(instance), "call_at", false, args, count, names);
}

pub fn callTimed(
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
    if ((self.closed or self.debug) and !check(self, name, args[1])) return null;
    const now = self.seconds() orelse return null;
    const when = if (relative) now + given else given;
    if (std.math.isNan(when))
        return api.raise(py.PyExc_ValueError.*, (if (relative) "delay" else "when") ++ " must be a number, got nan");
    const context = if (keyword == py._Py_NoneStruct)
        py.PyContext_CopyCurrent() orelse return null
    else
        api.ref(keyword);
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

pub fn deadlineOf(when: f64) u64 {
    const ns = when * 1e9;
    if (ns <= 0) return 0;
    if (ns >= 100 * year_ns) return std.math.maxInt(u64) - 1;
    const whole: u64 = @trunc(ns);
    return whole + @intFromBool(@as(f64, @floatFromInt(whole)) < ns); // Rounded up, without libm.
}

// ---- tasks and futures: asyncio's own classes, without the way through Python. 3.11 and newer ----

/// create_task(coro, *, name=None, ...) -> Task
pub fn createTask(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
    const self = Loop.of(instance);
    if (count >= 1) if (wrapped(args[0])) |wrapper| {
        // Only an await makes a waiter of it, so a coroutine awaits it.
        defer py.Py_DecRef(wrapper);
        return createTaskSlowly(instance, args, @intCast(count), names, wrapper);
    };
    if (py.PyErr_Occurred() != null) return null;
    const named = isNameAlone(names);
    if (count != 1 or self.task_factory or !self.isPlain() or (names != null and !named))
        return createTaskSlowly(instance, args, @intCast(count), names, if (count > 0) args[0] else null);
    var room = [4]?*Object{ null, args[0], instance, if (named) args[1] else null };
    const words = if (named) method_names.loop_and_name else method_names.loop;
    return py.PyObject_Vectorcall.?(loop_helpers.Task, room[1..].ptr, 1 | api.arguments_offset, words);
}

/// A coroutine around one of our awaitables; null without an exception for anything else.
fn wrapped(given: *Object) ?*Object {
    const class = py.PyObject_Type(given);
    defer py.Py_DecRef(class);
    if (class == py.PyCoro_Type) return null;
    const found = api.call(loop_helpers.wrapped, &.{api.ref(given)}) orelse return null;
    if (found != py._Py_NoneStruct) return found;
    py.Py_DecRef(found);
    return null;
}

pub fn isNameAlone(names: ?*Object) bool {
    const tuple = names orelse return false;
    return py.PyTuple_Size(tuple) == 1 and
        py.PyUnicode_CompareWithASCIIString(py.PyTuple_GetItem(tuple, 0).?, "name") == 0;
}

/// With a factory, a context, debug mode: BaseEventLoop's.
/// `coroutine` stands for the first argument.
pub fn createTaskSlowly(
    instance: *Object,
    args: [*]const *Object,
    count: usize,
    names: ?*Object,
    coroutine: ?*Object,
) ?*Object {
    const keywords: usize = if (names) |tuple| @intCast(py.PyTuple_Size(tuple)) else 0;
    var room: [10]?*Object = undefined;
    if (count + keywords > room.len - 2)
        return api.raise(py.PyExc_TypeError.*, "create_task() takes a coroutine and a few keywords");
    room[1] = instance;
    for (args[0 .. count + keywords], 2..) |argument, i| room[i] = argument;
    if (count > 0) room[2] = coroutine;
    const flags = (count + 1) | api.arguments_offset;
    return py.PyObject_Vectorcall.?(loop_helpers.create_task, room[1..].ptr, flags, names);
}

/// create_future() -> Future
pub fn createFuture(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    var room = [2]?*Object{ null, instance };
    return py.PyObject_Vectorcall.?(loop_helpers.Future, room[1..].ptr, api.arguments_offset, method_names.loop);
}

/// _set_task_factory(is_set)
pub fn setTaskFactory(instance: *Object, is_set: *Object) callconv(.c) ?*Object {
    const truth = py.PyObject_IsTrue(is_set);
    if (truth < 0) return null;
    Loop.of(instance).task_factory = truth == 1;
    return api.none();
}
