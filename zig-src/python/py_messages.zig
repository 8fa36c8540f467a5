//! Messages between shards as Python sees them: functions that send, and one awaitable that takes
//! the next event, a sum, or the end of a flush.

const std = @import("std");
const api = @import("cpython/api.zig");
const errors = @import("../base/errors.zig");
const forgotten = @import("cpython/forgotten.zig");
const callbacks = @import("cpython/callbacks.zig");
const messages = @import("../scheduler/messages.zig");
const object = @import("cpython/object.zig");
const outside = @import("../queue/lane.zig").outside;
const Scheduler = @import("../scheduler/scheduler.zig").Scheduler;
const Interest = @import("../message/mailbox.zig").Interest;
const Message = messages.Message;
const PyRuntime = @import("task/py_runtime.zig").PyRuntime;
const PyTask = @import("task/py_task.zig").PyTask;
const Shard = @import("../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// Messages that one resumption of a coroutine may take without going to the end of the queue: a
/// flood of them starves nobody else.
const burst_max = 128;

/// A shard, for as long as anybody may ask: its memory may be another runtime's by then.
const Home = struct {
    /// 0: none.
    runtime: u64,
    shard: u16,

    /// Of a shard that runs Python tasks.
    fn of(shard: *Shard) Home {
        return .{ .runtime = PyRuntime.ofScheduler(shard.scheduler).handle, .shard = shard.id };
    }
};

const Listen = struct {
    interest: Interest,
    /// Where it was made, and is awaited; none for one that is good everywhere.
    home: Home,
    /// It has given its result, or raised.
    used: bool,
    /// Somebody awaited it, or it does its work all the same.
    asked: bool,
    suspended: bool,

    const Type = object.TypeOf(Listen);

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        self.asked = true;
        const me = PyTask.demand("await of a message") orelse return null;
        const shard = Shard.current().?;
        if (self.home.runtime != 0 and !std.meta.eql(self.home, Home.of(shard)))
            return api.raiseFormat(py.PyExc_RuntimeError.*, "a ticket belongs to the shard that it was made on, " ++
                "shard {d} of its runtime: this is another one", .{self.home.shard});
        if (self.used) return api.raise(py.PyExc_RuntimeError.*, "a ticket can be awaited once");
        if (me.cancelWanted()) { // What is there stays there, for the next one.
            self.used = self.interest != .flushed;
            if (self.suspended) shard.mailbox.forget(&me.task);
            return me.raiseCancel();
        }
        suspended.* = true;
        if (!shard.mailbox.mayTake(shard.counters.polls.get(), burst_max)) return me.suspendYield();
        if (self.take(shard)) |value| {
            suspended.* = false;
            self.used = true;
            return value;
        }
        suspended.* = py.PyErr_Occurred() == null;
        if (!suspended.*) return null;
        shard.mailbox.listen(&me.task, self.interest) catch {
            suspended.* = false;
            return py.PyErr_NoMemory();
        };
        self.suspended = true;
        return me.suspendNow();
    }

    /// Null without an exception: it is not there yet.
    fn take(self: *Listen, shard: *Shard) ?*Object {
        switch (self.interest) {
            .event, .hot_event => return eventOf(messages.receive(shard, self.interest) orelse return null),
            .counter => |n| return py.PyLong_FromUnsignedLongLong(
                shard.mailbox.takeCount(n, shard.mailbox.threshold) orelse return null,
            ),
            .flushed => |mark| return if (shard.mailbox.outbox.reached(mark)) api.none() else null,
        }
    }

    fn what(self: *const Listen) []const u8 {
        return switch (self.interest) {
            .event => "next_event",
            .hot_event => "next_hot_event",
            .counter => "next_hot_count",
            .flushed => "flush",
        };
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        var text: [64]u8 = undefined;
        const state = if (self.used) "ended" else if (self.suspended) "waiting" else "not awaited";
        return api.string(std.fmt.bufPrint(&text, "<Ticket {s}, {s}>", .{ self.what(), state }) catch unreachable);
    }

    /// close(): it is not to be awaited.
    fn giveUp(instance: *Object) void {
        Type.body(instance).asked = true;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.asked) forgotten.used(instance) else forgotten.warn(instance, self.what());
        Type.free(instance, false);
    }
};

fn eventOf(message: Message) ?*Object {
    const from = if (message.from == outside) api.none() else py.PyLong_FromLongLong(message.from) orelse return null;
    const tag = py.PyLong_FromLongLong(message.tag) orelse return null;
    const value = py.PyLong_FromLongLong(message.value) orelse return null;
    return api.call(callbacks.table.Event, &.{ from, tag, value });
}

/// For a task of `shard`; of any, if that is null.
fn listenTo(shard: ?*Shard, interest: Interest) ?*Object {
    const instance = Listen.Type.create() orelse return null;
    forgotten.made(instance);
    Listen.Type.body(instance).interest = interest;
    if (shard) |one| Listen.Type.body(instance).home = .of(one);
    return instance;
}

/// next_event(runtime, shard, hot): for tasks of that shard.
fn nextEvent(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("next_event", count, 3)) return null;
    const hot = object.unsigned(arguments[2], "hot", 1) orelse return null;
    if (!isHere(arguments[0], arguments[1])) return null;
    return listenTo(Shard.current(), if (hot == 1) .hot_event else .event);
}

/// here(runtime, shard): None, or RuntimeError if this thread runs another shard or none.
pub fn here(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("here", count, 2)) return null;
    return if (isHere(arguments[0], arguments[1])) api.none() else null;
}

fn isHere(runtime: *Object, number: *Object) bool {
    const target = targetOf(runtime, number) orelse return false;
    if (Shard.current() == target.shard) return true;
    const id = target.shard.id;
    const format = "this is the context of shard {d}, not of ";
    _ = if (Shard.currentOf(target.scheduler)) |own|
        api.raiseFormat(py.PyExc_RuntimeError.*, format ++ "shard {d}", .{ id, own.id })
    else
        api.raiseFormat(py.PyExc_RuntimeError.*, format ++ "this thread", .{id});
    return false;
}

/// The number of a counter of this task's runtime, or null with an exception.
fn counterOf(tag_object: *Object, comptime what: []const u8) ?u8 {
    const tag = object.unsigned(tag_object, "tag", std.math.maxInt(u16)) orelse return null;
    _ = PyTask.demand(what) orelse return null;
    switch (Shard.current().?.scheduler.tags.of(@intCast(tag))) {
        .counter => |n| return n,
        else => {},
    }
    _ = api.raiseFormat(py.PyExc_ValueError.*, "tag must be one of coalesced_hot_msg_tags, got {d}", .{tag});
    return null;
}

/// next_hot_count(tag)
fn nextHotCount(_: ?*Object, tag: *Object) callconv(.c) ?*Object {
    const counter = counterOf(tag, "next_hot_count()") orelse return null;
    return listenTo(Shard.current(), .{ .counter = counter });
}

/// take_hot_count(tag) -> the sum now, maybe 0
fn takeHotCount(_: ?*Object, tag: *Object) callconv(.c) ?*Object {
    const counter = counterOf(tag, "try_take_hot_count()") orelse return null;
    return py.PyLong_FromUnsignedLongLong(Shard.current().?.mailbox.takeCount(counter, 0).?);
}

/// flush() -> a ticket for all direct messages that this shard has sent. Elsewhere none travel.
pub fn flush(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const task = PyTask.current() orelse return listenTo(null, .{ .flushed = 0 });
    return listenTo(task.home(), .{ .flushed = messages.flushed(task.home()) });
}

/// sent() -> the same for one who has sent something: that is done, whether or not the ticket is awaited.
pub fn sent(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    const ticket = flush(null, null) orelse return null;
    Listen.Type.body(ticket).asked = true;
    return ticket;
}

const Target = struct { scheduler: *Scheduler, shard: *Shard };

fn targetOf(runtime: *Object, number: *Object) ?Target {
    if (!PyRuntime.Type.is(runtime)) {
        _ = api.raise(py.PyExc_TypeError.*, "a send takes a runtime");
        return null;
    }
    const scheduler = &PyRuntime.of(runtime).runtime.scheduler;
    const id = object.unsigned(number, "shard", scheduler.shards.len - 1) orelse return null;
    const err: errors.Error = if (scheduler.forked())
        error.Forked
    else if (scheduler.stop.load(.acquire) != 0)
        error.Closed
    else
        return .{ .scheduler = scheduler, .shard = &scheduler.shards[@intCast(id)] };
    _ = callbacks.raiseCode(errors.fromError(err));
    return null;
}

fn messageOf(tag: *Object, value: *Object) ?Message {
    return .{
        .from = 0,
        .tag = @intCast(object.unsigned(tag, "tag", std.math.maxInt(u16)) orelse return null),
        .value = @intCast(object.unsigned(value, "value", std.math.maxInt(u32)) orelse return null),
    };
}

fn sendOne(target: Target, given: Message, direct: bool) bool {
    var message = given;
    if (direct) if (Shard.currentOf(target.scheduler)) |own| return messages.sendDirect(own, target.shard, message);
    return messages.send(target.scheduler, target.shard, (&message)[0..1]) == 1;
}

/// send(runtime, shard, tag, value, direct) -> whether there was room
pub fn send(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("send", count, 5)) return null;
    const target = targetOf(arguments[0], arguments[1]) orelse return null;
    const message = messageOf(arguments[2], arguments[3]) orelse return null;
    const direct = object.unsigned(arguments[4], "direct", 1) orelse return null;
    return py.PyBool_FromLong(@intFromBool(sendOne(target, message, direct == 1)));
}

/// send_many(runtime, shard, [(tag, value), ...], direct) -> how many there was room for
fn sendMany(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("send_many", count, 4)) return null;
    const target = targetOf(arguments[0], arguments[1]) orelse return null;
    const direct = object.unsigned(arguments[3], "direct", 1) orelse return null;
    if (py.PyObject_IsInstance(arguments[2], py.PyTuple_Type) != 1)
        return api.raise(py.PyExc_TypeError.*, "messages must be a tuple of pairs (tag, value)");
    const total: usize = @intCast(py.PyTuple_Size(arguments[2]));
    var done: usize = 0;
    while (done < total) {
        var batch: [64]Message = undefined;
        const size = @min(batch.len, total - done);
        for (batch[0..size], done..) |*message, i| {
            message.* = pairAt(arguments[2], i) orelse return null;
        }
        const taken = if (direct == 1) sendEach(target, batch[0..size]) else messages.send(
            target.scheduler,
            target.shard,
            batch[0..size],
        );
        done += taken;
        if (taken < size) break;
    }
    return py.PyLong_FromLongLong(@intCast(done));
}

fn sendEach(target: Target, batch: []const Message) usize {
    for (batch, 0..) |message, i| if (!sendOne(target, message, true)) return i;
    return batch.len;
}

fn pairAt(tuple: *Object, index: usize) ?Message {
    const pair = py.PyTuple_GetItem(tuple, @intCast(index)) orelse return null;
    if (py.PyObject_IsInstance(pair, py.PyTuple_Type) != 1 or py.PyTuple_Size(pair) != 2) {
        _ = api.raise(py.PyExc_TypeError.*, "a message is a pair (tag, value)");
        return null;
    }
    return messageOf(py.PyTuple_GetItem(pair, 0).?, py.PyTuple_GetItem(pair, 1).?);
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "send",
        &send,
        api.meth_fastcall,
        "(runtime, shard, tag, value, direct, /)",
        "Whether there was room.",
    ),
    object.method(
        "send_many",
        &sendMany,
        api.meth_fastcall,
        "(runtime, shard, pairs, direct, /)",
        "How many there was room for.",
    ),
    object.method("flush", &flush, api.meth_noargs, "()", "A ticket for all that this shard has sent."),
    object.method(
        "sent",
        &sent,
        api.meth_noargs,
        "()",
        "The same after a send: nothing is lost if nobody awaits it.",
    ),
    object.method(
        "here",
        &here,
        api.meth_fastcall,
        "(runtime, shard, /)",
        "RuntimeError if this thread runs another shard or none.",
    ),
    object.method(
        "next_event",
        &nextEvent,
        api.meth_fastcall,
        "(runtime, shard, hot, /)",
        "An awaitable of the next message.",
    ),
    object.method("next_hot_count", &nextHotCount, api.meth_one, "(tag, /)", "An awaitable of the sum."),
    object.method("take_hot_count", &takeHotCount, api.meth_one, "(tag, /)", "The sum now."),
};

pub fn define() bool {
    return object.define(Listen.Type, "Listen", .{
        .step = Listen.step,
        .give_up = Listen.giveUp,
        .repr = &Listen.show,
        .dealloc = &Listen.dealloc,
    });
}
