//! An exchange (exchange.zig) as a Python object. A waiter is a future: joining returns one, which
//! may be settled already.

const std = @import("std");
const api = @import("../cpython/api.zig");
const exchange = @import("exchange.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");
const trashcan = @import("../cpython/trashcan.zig");
const object = @import("../cpython/object.zig");
const suspension = @import("../task/suspension.zig");
const Exchange = exchange.Exchange;
const Future = @import("future.zig").Future;
const Object = api.Object;
const py = &api.py;

pub const Type = object.TypeOf(Exchange);

/// exchange(has_values, most, units)
pub fn make(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("exchange", count, 3)) return null;
    const has_values = object.unsigned(arguments[0], "has_values", 1) orelse return null;
    const most = object.unsigned(arguments[1], "most", std.math.maxInt(i64)) orelse return null;
    const units = object.unsigned(arguments[2], "units", if (has_values == 1) 0 else most) orelse return null;
    const instance = Type.create() orelse return null;
    const self = Type.body(instance);
    self.has_values = has_values == 1;
    self.most = most;
    self.count = units;
    self.ring = &.{};
    return instance;
}

fn weightOf(self: *Exchange, argument: *Object) ?u64 {
    return object.unsigned(argument, "weight", self.most);
}

fn putUnits(instance: *Object, weight: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    return py.PyBool_FromLong(@intFromBool(self.putUnits(weightOf(self, weight) orelse return null)));
}

fn takeUnits(instance: *Object, weight: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    return py.PyBool_FromLong(@intFromBool(self.takeUnits(weightOf(self, weight) orelse return null)));
}

/// Of an await: it finds nothing if its task has to give the others a turn. The future that it joins with is
/// settled then, and the await of that gives the turn.
fn takeUnitsInTurn(instance: *Object, weight: *Object) callconv(.c) ?*Object {
    if (!suspension.mayEndAtOnce()) return py.PyBool_FromLong(0);
    return takeUnits(instance, weight);
}

fn joinForUnits(instance: *Object, weight: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    const units = weightOf(self, weight) orelse return null;
    const future = Future.create() orelse return null;
    self.joinForUnits(Future.Type.body(future), units);
    return future;
}

fn told(outcome: exchange.Put) ?*Object {
    return switch (outcome) {
        .done => py.PyBool_FromLong(1),
        .full => py.PyBool_FromLong(0),
        .closed => api.ref(callbacks.table.CLOSED),
    };
}

fn put(instance: *Object, value: *Object) callconv(.c) ?*Object {
    return told(Type.body(instance).put(value) catch return py.PyErr_NoMemory());
}

fn putInTurn(instance: *Object, value: *Object) callconv(.c) ?*Object {
    if (!suspension.mayEndAtOnce()) return py.PyBool_FromLong(0);
    return put(instance, value);
}

fn joinToPut(instance: *Object, value: *Object) callconv(.c) ?*Object {
    const future = Future.create() orelse return null;
    Type.body(instance).joinToPut(Future.Type.body(future), value) catch {
        py.Py_DecRef(future);
        return py.PyErr_NoMemory();
    };
    return future;
}

fn take(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return Type.body(instance).take();
}

fn takeInTurn(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    if (!suspension.mayEndAtOnce()) return api.ref(callbacks.table.NOTHING);
    return take(instance, null);
}

fn joinToTake(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const future = Future.create() orelse return null;
    Type.body(instance).joinToTake(Future.Type.body(future));
    return future;
}

fn putBack(instance: *Object, value: *Object) callconv(.c) ?*Object {
    _ = Type.body(instance).putBack(value) catch return py.PyErr_NoMemory();
    return api.none();
}

fn publish(instance: *Object, value: *Object) callconv(.c) ?*Object {
    return told(Type.body(instance).publish(value) catch return py.PyErr_NoMemory());
}

fn published(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    self.lock.lock();
    const count = self.published;
    self.lock.unlock();
    return py.PyLong_FromUnsignedLongLong(count);
}

fn position(argument: *Object) ?u64 {
    return object.unsigned(argument, "position", std.math.maxInt(i64));
}

fn read(instance: *Object, argument: *Object) callconv(.c) ?*Object {
    const found = Type.body(instance).read(position(argument) orelse return null);
    return pair(py.PyLong_FromUnsignedLongLong(found.position), found.value);
}

/// Takes over the references.
fn pair(one: ?*Object, other: *Object) ?*Object {
    var items = [_]?*Object{ one, other };
    if (one != null) if (py.PyTuple_New(2)) |tuple| {
        for (items, 0..) |item, i| _ = py.PyTuple_SetItem(tuple, @intCast(i), item.?);
        return tuple;
    };
    for (&items) |*item| api.drop(item);
    return null;
}

fn readInTurn(instance: *Object, argument: *Object) callconv(.c) ?*Object {
    if (suspension.mayEndAtOnce()) return read(instance, argument);
    return pair(api.ref(argument), api.ref(callbacks.table.NOTHING));
}

fn joinToRead(instance: *Object, argument: *Object) callconv(.c) ?*Object {
    const wanted = position(argument) orelse return null;
    const future = Future.create() orelse return null;
    Type.body(instance).joinToRead(Future.Type.body(future), wanted);
    return future;
}

fn join(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const future = Future.create() orelse return null;
    Type.body(instance).join(Future.Type.body(future));
    return future;
}

fn serve(instance: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("serve", count, 2)) return null;
    const most = object.unsigned(arguments[0], "count", std.math.maxInt(i64)) orelse return null;
    return py.PyLong_FromUnsignedLongLong(Type.body(instance).serve(most, arguments[1]));
}

fn meet(instance: *Object, argument: *Object) callconv(.c) ?*Object {
    const parties = object.unsigned(argument, "parties", std.math.maxInt(i64)) orelse return null;
    const future = Future.create() orelse return null;
    Type.body(instance).meet(Future.Type.body(future), parties);
    return future;
}

/// arrival(future): of one that was served by a meeting
fn arrival(_: *Object, future: *Object) callconv(.c) ?*Object {
    if (!Future.Type.is(future)) return api.raise(py.PyExc_TypeError.*, "arrival() takes a future");
    return py.PyLong_FromUnsignedLongLong(Future.Type.body(future).weight);
}

fn leaveAs(comptime side: exchange.Side) fn (*Object, *Object) callconv(.c) ?*Object {
    return struct {
        fn call(instance: *Object, future: *Object) callconv(.c) ?*Object {
            if (!Future.Type.is(future)) return api.raise(py.PyExc_TypeError.*, "leave takes a future");
            return py.PyBool_FromLong(@intFromBool(Type.body(instance).leave(Future.Type.body(future), side)));
        }
    }.call;
}

fn close(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    Type.body(instance).close();
    return api.none();
}

/// break_off() -> the values that nobody will have
fn breakOff(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const left = Type.body(instance).breakOff();
    const list = py.PyList_New(@intCast(left.count)) orelse {
        release(left);
        return null;
    };
    for (0..left.count) |i|
        _ = py.PyList_SetItem(list, @intCast(i), left.ring[(left.head + i) % left.ring.len]);
    gpa.free(left.ring);
    return list;
}

fn release(left: Exchange.Left) void {
    for (0..left.count) |i| {
        var value: ?*Object = left.ring[(left.head + i) % left.ring.len];
        trashcan.drop(&value);
    }
    gpa.free(left.ring);
}

/// state() -> (units or values there, how many wait to take, how many wait to put, whether closed)
fn state(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    self.lock.lock();
    const numbers = [_]u64{ self.count, self.takers.len, self.putters.len, @intFromBool(self.closed or self.broken) };
    self.lock.unlock();
    const tuple = py.PyTuple_New(numbers.len) orelse return null;
    for (numbers, 0..) |number, i| {
        const item = py.PyLong_FromUnsignedLongLong(number) orelse {
            py.Py_DecRef(tuple);
            return null;
        };
        _ = py.PyTuple_SetItem(tuple, @intCast(i), item);
    }
    return tuple;
}

fn dealloc(instance: *Object) callconv(.c) void {
    py.PyObject_GC_UnTrack(instance);
    release(Type.body(instance).clear());
    Type.free(instance, true);
}

fn clear(instance: *Object) callconv(.c) c_int {
    release(Type.body(instance).clear());
    return 0;
}

/// Without the lock: the collector runs while no thread is inside of a step.
fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
    const self = Type.body(instance);
    var status = visit(Type.class, arg);
    if (self.has_values) for (0..@intCast(self.count)) |i| {
        if (status != 0) return status;
        status = visit(self.ring[(self.head + i) % self.ring.len], arg);
    };
    for ([_]?*Future{ self.takers.head, self.putters.head }) |head| {
        var next = head;
        while (next) |future| : (next = future.link.next) {
            if (status != 0) return status;
            status = visit(Future.Type.objectOf(future), arg);
        }
    }
    return status;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "exchange",
        &make,
        api.meth_fastcall,
        "(has_values, most, units, /)",
        "An Exchange.",
    ),
};

pub fn define() bool {
    return object.define(Type, "Exchange", .{
        .methods = &.{
            object.method("put_units", &putUnits, api.meth_one, "($self, weight, /)", "False if full."),
            object.method("take_units", &takeUnits, api.meth_one, "($self, weight, /)", "False if not there."),
            object.method("take_units_in_turn", &takeUnitsInTurn, api.meth_one, "($self, weight, /)", "Of an await."),
            object.method("join_for_units", &joinForUnits, api.meth_one, "($self, weight, /)", "A future."),
            object.method("put", &put, api.meth_one, "($self, value, /)", "False if full, or CLOSED."),
            object.method("put_in_turn", &putInTurn, api.meth_one, "($self, value, /)", "Of an await."),
            object.method("join_to_put", &joinToPut, api.meth_one, "($self, value, /)", "A future."),
            object.method("take", &take, api.meth_noargs, "($self, /)", "A value, NOTHING or CLOSED."),
            object.method("take_in_turn", &takeInTurn, api.meth_noargs, "($self, /)", "Of an await."),
            object.method("join_to_take", &joinToTake, api.meth_noargs, "($self, /)", "A future."),
            object.method("put_back", &putBack, api.meth_one, "($self, value, /)", "To the front."),
            object.method("publish", &publish, api.meth_one, "($self, value, /)", "True, or CLOSED."),
            object.method("published", &published, api.meth_noargs, "($self, /)", "How many ever."),
            object.method("read", &read, api.meth_one, "($self, position, /)", "(position, value)."),
            object.method("read_in_turn", &readInTurn, api.meth_one, "($self, position, /)", "Of an await."),
            object.method("join_to_read", &joinToRead, api.meth_one, "($self, position, /)", "A future."),
            object.method("join", &join, api.meth_noargs, "($self, /)", "A future."),
            object.method("serve", &serve, api.meth_fastcall, "($self, count, value, /)", "How many."),
            object.method("meet", &meet, api.meth_one, "($self, parties, /)", "A future."),
            object.method("arrival", &arrival, api.meth_one, "($self, future, /)", "In that meeting."),
            object.method(
                "leave",
                &leaveAs(.takers),
                api.meth_one,
                "($self, future, /)",
                "False if it was served.",
            ),
            object.method("leave_put", &leaveAs(.putters), api.meth_one, "($self, future, /)", "The same."),
            object.method("close", &close, api.meth_noargs, "($self, /)", "No more is put."),
            object.method("break_off", &breakOff, api.meth_noargs, "($self, /)", "No more is taken: what is left."),
            object.method("state", &state, api.meth_noargs, "($self, /)", "(there, takers, putters, closed)"),
        },
        .dealloc = &dealloc,
        .traverse = &traverse,
        .clear = &clear,
    });
}
