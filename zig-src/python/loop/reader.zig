//! The halves of asyncio's streams that run for every piece of data: what the transport has received goes
//! into the reader's buffer here, and `StreamReader.read` and the wait of `drain` need no coroutine. The state is
//! asyncio's own, in its attributes, so its other methods go on as they are. A reader, and its protocol, get
//! subclasses with these methods if they are exactly asyncio's (spargio/asyncio/_streams.py).
//! Only the loop's thread touches one.

const std = @import("std");
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const loop_helpers = &@import("handle.zig").loop_helpers;
const method_names = @import("method_names.zig");
const receive = @import("receive.zig");
const Stream = @import("stream.zig").Stream;
const Object = api.Object;
const py = &api.py;

var names: struct {
    buffer: *Object,
    connection_lost: *Object,
    create_future: *Object,
    cancelled: *Object,
    eof: *Object,
    exception: *Object,
    loop: *Object,
    paused: *Object,
    resume_reading: *Object,
    set_result: *Object,
    transport: *Object,
    waiter: *Object,
} = undefined;

/// asyncio's own methods, for all but the common case: (reader, n), (protocol).
var slow_read: *Object = undefined;
var slow_drain: *Object = undefined;
var ready: *Object = undefined;

fn attribute(owner: *Object, name: *Object) ?*Object {
    return py.PyObject_GetAttr(owner, name);
}

/// Null with the exception set.
fn isTrue(owner: *Object, name: *Object) ?bool {
    const value = attribute(owner, name) orelse return null;
    defer py.Py_DecRef(value);
    if (value == py._Py_FalseStruct) return false;
    const truth = py.PyObject_IsTrue(value);
    return if (truth < 0) null else truth == 1;
}

// ---- what came ----

/// Into the buffer of the reader that a stream's protocol has. False with the exception set.
pub fn feed(stream: *Stream, reference: *Object, limit: usize, memory: []const u8) bool {
    const reader = py.PyObject_CallObject(reference, null) orelse return false;
    defer py.Py_DecRef(reader);
    if (reader == py._Py_NoneStruct) return true; // Nobody reads any more.
    const buffer = attribute(reader, names.buffer) orelse return false;
    defer py.Py_DecRef(buffer);
    const before: usize = @intCast(py.PyByteArray_Size(buffer));
    if (py.PyByteArray_Resize(buffer, @intCast(before + memory.len)) != 0) return false;
    @memcpy(py.PyByteArray_AsString(buffer)[before..][0..memory.len], memory);
    if (!wakeReader(reader)) return false;
    return before + memory.len <= 2 * limit or pauseFlow(stream, reader);
}

fn wakeReader(reader: *Object) bool {
    const waiter = attribute(reader, names.waiter) orelse return false;
    defer py.Py_DecRef(waiter);
    if (waiter == py._Py_NoneStruct) return true;
    if (py.PyObject_SetAttr(reader, names.waiter, py._Py_NoneStruct) != 0) return false;
    const cancelled = method_names.callMethod(waiter, &names.cancelled, &.{}) orelse return false;
    defer py.Py_DecRef(cancelled);
    if (cancelled == py._Py_TrueStruct) return true;
    var result = method_names.callMethod(waiter, &names.set_result, &.{py._Py_NoneStruct});
    defer api.drop(&result);
    return result != null;
}

/// The reader has more than twice its limit.
fn pauseFlow(stream: *Stream, reader: *Object) bool {
    if (isTrue(reader, names.paused) orelse return false) return true;
    const transport = attribute(reader, names.transport) orelse return false;
    defer py.Py_DecRef(transport);
    if (transport == py._Py_NoneStruct) return true;
    var result = receive.pause(stream.me(), null);
    api.drop(&result);
    return py.PyObject_SetAttr(reader, names.paused, py._Py_TrueStruct) == 0;
}

// ---- read ----

/// What `read(n)` returns: a coroutine for all that ask.
const Read = struct {
    reader: ?*Object,
    /// Of the future that is waited for.
    waiting: ?*Object,
    most: usize,

    const Type = object.TypeOf(Read);
    const Coroutine = object.Coroutine(step, giveUp);

    fn of(instance: *Object) *Read {
        return Type.body(instance);
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = of(instance);
        const reader = self.reader orelse
            return api.raise(py.PyExc_RuntimeError.*, "cannot reuse already awaited coroutine");
        if (self.waiting == null) {
            const here = self.begin(reader) orelse {
                api.drop(&self.reader);
                return null;
            };
            if (here) return self.take(reader);
        }
        var out: ?*Object = null;
        switch (py.PyIter_Send(self.waiting.?, py._Py_NoneStruct, &out)) {
            .next => {
                suspended.* = true;
                return out;
            },
            .@"error" => {
                giveUp(instance);
                return null;
            },
            .@"return" => {},
        }
        api.drop(&out);
        api.drop(&self.waiting);
        if (py.PyObject_SetAttr(reader, names.waiter, py._Py_NoneStruct) != 0) return null;
        return self.take(reader);
    }

    /// Whether there is something to take; else a future waits for it. Null with the exception set.
    fn begin(self: *Read, reader: *Object) ?bool {
        const exception = attribute(reader, names.exception) orelse return null;
        defer py.Py_DecRef(exception);
        if (exception != py._Py_NoneStruct) {
            api.raiseObject(exception);
            return null;
        }
        const buffer = attribute(reader, names.buffer) orelse return null;
        defer py.Py_DecRef(buffer);
        if (py.PyByteArray_Size(buffer) > 0) return true;
        if (isTrue(reader, names.eof) orelse return null) return true;
        const other = attribute(reader, names.waiter) orelse return null;
        defer py.Py_DecRef(other);
        if (other != py._Py_NoneStruct) {
            _ = api.raise(
                py.PyExc_RuntimeError.*,
                "read() called while another coroutine is already waiting for incoming data",
            );
            return null;
        }
        if (isTrue(reader, names.paused) orelse return null) if (!resumeFlow(reader)) return null;
        const loop = attribute(reader, names.loop) orelse return null;
        defer py.Py_DecRef(loop);
        const future = method_names.callMethod(loop, &names.create_future, &.{}) orelse return null;
        defer py.Py_DecRef(future);
        if (py.PyObject_SetAttr(reader, names.waiter, future) != 0) return null;
        self.waiting = py.PyObject_GetIter(future) orelse return null;
        return false;
    }

    fn resumeFlow(reader: *Object) bool {
        if (py.PyObject_SetAttr(reader, names.paused, py._Py_FalseStruct) != 0) return false;
        const transport = attribute(reader, names.transport) orelse return false;
        defer py.Py_DecRef(transport);
        var result = method_names.callMethod(transport, &names.resume_reading, &.{});
        defer api.drop(&result);
        return result != null;
    }

    /// At most `most` bytes, from the front of the buffer.
    fn take(self: *Read, reader: *Object) ?*Object {
        defer api.drop(&self.reader);
        const buffer = attribute(reader, names.buffer) orelse return null;
        defer py.Py_DecRef(buffer);
        const size: usize = @intCast(py.PyByteArray_Size(buffer));
        const count = @min(size, self.most);
        var data = py.PyBytes_FromStringAndSize(py.PyByteArray_AsString(buffer), @intCast(count));
        if (data == null) return null;
        const status = if (count == size)
            py.PyByteArray_Resize(buffer, 0)
        else
            py.PySequence_DelSlice(buffer, 0, @intCast(count));
        const went_well = status == 0 and maybeResume(reader, size - count);
        if (!went_well) api.drop(&data);
        return data;
    }

    /// asyncio's: a transport that was paused goes on when the buffer is within its limit.
    fn maybeResume(reader: *Object, left: usize) bool {
        const paused = isTrue(reader, names.paused) orelse return false;
        if (!paused) return true;
        const limit = py.PyObject_GetAttrString(reader, "_limit") orelse return false;
        defer py.Py_DecRef(limit);
        const most = py.PyLong_AsLongLong(limit);
        if (most == -1 and py.PyErr_Occurred() != null) return false;
        return left > most or resumeFlow(reader);
    }

    /// What it waited for is not to wake it. Idempotent.
    fn giveUp(instance: *Object) void {
        const self = of(instance);
        if (self.waiting != null) {
            const aside: api.Aside = .take();
            api.drop(&self.waiting);
            if (py.PyObject_SetAttr(self.reader.?, names.waiter, py._Py_NoneStruct) != 0)
                py.PyErr_WriteUnraisable(instance);
            aside.restore();
        }
        api.drop(&self.reader);
    }

    fn self_(instance: *Object) callconv(.c) ?*Object {
        return api.ref(instance);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        for ([_]?*Object{ Type.class, self.reader, self.waiting }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        return 0;
    }

    fn tpClear(instance: *Object) callconv(.c) c_int {
        api.drop(&of(instance).waiting);
        api.drop(&of(instance).reader);
        return 0;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        py.PyObject_GC_UnTrack(instance);
        _ = tpClear(instance);
        Type.free(instance, true);
    }

    fn define() bool {
        const S = struct {
            var methods = Coroutine.methods ++ [_]api.MethodDef{.{}};
        };
        var slots = Coroutine.slots() ++ [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.traverse, &traverse),
            object.slotOf(api.slot.clear, &tpClear),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        // The awaiter is a Task: nothing else is to stand in its place.
        slots[0] = object.slotOf(api.slot.am_await, &self_);
        return Type.define("StreamRead", api.flag_gc, &slots);
    }
};

/// StreamReader.read(n=-1)
fn read(reader: *Object, args: [*]const *Object, count: isize, keywords: ?*Object) callconv(.c) ?*Object {
    if (count == 1 and keywords == null) {
        const most = py.PyLong_AsLongLong(args[0]);
        if (most > 0) {
            const instance = Read.Type.create() orelse return null;
            const self = Read.of(instance);
            self.reader = api.ref(reader);
            self.most = @intCast(most);
            return instance;
        }
        if (most == -1 and py.PyErr_Occurred() != null) py.PyErr_Clear(); // asyncio's says what is wrong.
    }
    return callSlowly(slow_read, reader, args, count, keywords);
}

fn callSlowly(function: *Object, me: *Object, args: [*]const *Object, count: isize, keywords: ?*Object) ?*Object {
    var room: [4]?*Object = undefined;
    const named: usize = if (keywords) |tuple| @intCast(py.PyTuple_Size(tuple)) else 0;
    const given = @as(usize, @intCast(count)) + named;
    if (given > 2) return api.raise(py.PyExc_TypeError.*, "read() takes one argument");
    room[1] = me;
    for (args[0..given], 2..) |argument, i| room[i] = argument;
    const flags = (@as(usize, @intCast(count)) + 1) | api.arguments_offset;
    return py.PyObject_Vectorcall.?(function, room[1..].ptr, flags, keywords);
}

/// StreamReader.exception()
fn exceptionOf(reader: *Object, _: ?*Object) callconv(.c) ?*Object {
    return attribute(reader, names.exception);
}

// ---- drain ----

/// What `drain` awaits if the transport takes more: it ends at once.
const Ready = struct {
    const Type = object.TypeOf(Ready);

    fn self_(instance: *Object) callconv(.c) ?*Object {
        return api.ref(instance);
    }

    fn iternext(_: *Object) callconv(.c) ?*Object {
        return null;
    }

    fn send(_: *Object, _: *Object, out: *?*Object) callconv(.c) api.Send {
        out.* = api.none();
        return .@"return";
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        Type.free(instance, false);
    }

    fn define() bool {
        var slots = [_]api.TypeSlot{
            object.slotOf(api.slot.am_await, &self_),
            object.slotOf(api.slot.am_send, &send),
            object.slotOf(api.slot.iter, &self_),
            object.slotOf(api.slot.iternext, &iternext),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("Drained", 0, &slots);
    }
};

/// FlowControlMixin._drain_helper()
fn drainHelper(protocol: *Object, _: ?*Object) callconv(.c) ?*Object {
    const paused = isTrue(protocol, names.paused) orelse return null;
    const lost = isTrue(protocol, names.connection_lost) orelse return null;
    if (!paused and !lost) return api.ref(ready);
    return api.call(slow_drain, &.{api.ref(protocol)});
}

// ---- the classes ----

var reader_methods = [_]api.MethodDef{
    object.method(
        "read",
        &read,
        api.meth_fastcall | api.meth_keywords,
        "($self, n=-1)",
        "Read up to n bytes; all until the end if n is negative.",
    ),
    object.method("exception", &exceptionOf, api.meth_noargs, "($self, /)", "Get the exception."),
    .{},
};
var protocol_methods = [_]api.MethodDef{
    object.method("_drain_helper", &drainHelper, api.meth_noargs, "($self, /)", "What drain() waits for."),
    .{},
};

/// _stream_methods(reader_class, protocol_class): gives the subclasses of asyncio's their native methods.
pub fn install(_: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_stream_methods", count, 2)) return null;
    slow_read = py.PyObject_GetAttrString(args[0], "read") orelse return null;
    slow_drain = py.PyObject_GetAttrString(args[1], "_drain_helper") orelse return null;
    if (!put(args[0], &reader_methods) or !put(args[1], &protocol_methods)) return null;
    return api.none();
}

fn put(class: *Object, table: []api.MethodDef) bool {
    for (table) |*def| {
        const name = def.name orelse return true;
        const descriptor = py.PyDescr_NewMethod(class, def) orelse return false;
        defer py.Py_DecRef(descriptor);
        if (py.PyObject_SetAttrString(class, name, descriptor) != 0) return false;
    }
    return true;
}

pub fn define() bool {
    inline for (@typeInfo(@TypeOf(names)).@"struct".field_names) |name| {
        const is_method = comptime std.mem.eql(u8, name, "create_future") or std.mem.eql(u8, name, "cancelled") or
            std.mem.eql(u8, name, "resume_reading") or std.mem.eql(u8, name, "set_result");
        const text = if (is_method) name else "_" ++ name;
        @field(names, name) = py.PyUnicode_InternFromString(text ++ "") orelse return false;
    }
    if (!Read.define() or !Ready.define()) return false;
    ready = Ready.Type.create() orelse return false;
    return true;
}
