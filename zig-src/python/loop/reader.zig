//! The halves of asyncio's streams that run for every piece of data: here, received data goes into
//! the reader's buffer, and `StreamReader.read` and the wait of `drain` need no coroutine. The
//! state is asyncio's own, in its attributes, so its other methods work unchanged. A reader, and
//! its protocol, get subclasses with these methods if they are exactly asyncio's
//! (spargio/asyncio/_streams.py). Only the loop's thread uses a reader.

const std = @import("std");
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const calls = @import("calls.zig");
const method_names = @import("method_names.zig");
const receive = @import("receive.zig");
const Stream = @import("stream.zig").Stream;
const Object = api.Object;
const py = &api.py;

var names: struct {
    buffer: *Object,
    cancelled: *Object,
    eof: *Object,
    exception: *Object,
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
pub fn feed(stream: *Stream, reference: *Object, memory: []const u8) bool {
    const receiver = &stream.receiver;
    const buffer = receiver.reader_buffer.?;
    const before: usize = @intCast(py.PyByteArray_Size(buffer));
    if (py.PyByteArray_Resize(buffer, @intCast(before + memory.len)) != 0) return false;
    @memcpy(py.PyByteArray_AsString(buffer)[before..][0..memory.len], memory);
    const whole = before + memory.len;
    if (receiver.read_waiter != null and whole <= 2 * receiver.reader_limit) {
        wakeRead(stream);
        return true;
    }
    wakeRead(stream);
    const reader = py.PyObject_CallObject(reference, null) orelse return false;
    defer py.Py_DecRef(reader);
    if (reader == py._Py_NoneStruct) return true; // Nobody reads any more.
    return wakeReader(reader) and (whole <= 2 * receiver.reader_limit or pauseFlow(stream, reader));
}

/// What waits in a `read` goes on.
fn wakeRead(stream: *Stream) void {
    const waiter = stream.receiver.read_waiter orelse return;
    stream.receiver.read_waiter = null;
    defer py.Py_DecRef(waiter);
    var result = method_names.callMethod(waiter, &names.set_result, &.{py._Py_NoneStruct});
    if (result == null) py.PyErr_Clear(); // It was cancelled.
    api.drop(&result);
}

/// _reader_changed(): the reader has an exception, or its end. `read` looks at its attributes from here on.
pub fn changed(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    stream.receiver.reader_changed = true;
    wakeRead(stream);
    return api.none();
}

/// _is_read(): whether a `read` waits.
pub fn isRead(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyBool_FromLong(@intFromBool(Stream.of(instance).receiver.read_waiter != null));
}

/// What waits in another method of the reader.
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

/// Of a reader or a protocol that was adopted: the transport that it has now. Null if that is gone.
fn streamOf(owner: *Object) ?*Object {
    const transport = attribute(owner, names.transport) orelse {
        py.PyErr_Clear();
        return null;
    };
    if (transport != py._Py_NoneStruct and py.PyObject_IsInstance(transport, Stream.Type.class) == 1) {
        if (Stream.of(transport).receiver.reader != null) return transport;
    }
    py.Py_DecRef(transport);
    return null;
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
    stream: ?*Object,
    /// The future that is waited for, and its iterator.
    future: ?*Object,
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
        const stream = Stream.of(self.stream.?);
        while (true) {
            if (self.waiting == null) {
                const here = self.begin(stream, reader) orelse {
                    giveUp(instance);
                    return null;
                };
                if (here) return self.take(stream, reader);
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
            api.drop(&self.future);
            if (py.PyByteArray_Size(stream.receiver.reader_buffer.?) > 0) return self.take(stream, reader);
        }
    }

    /// Whether there is something to take; else a future waits for it. Null with the exception set.
    fn begin(self: *Read, stream: *Stream, reader: *Object) ?bool {
        const receiver = &stream.receiver;
        if (receiver.reader_changed) {
            const exception = attribute(reader, names.exception) orelse return null;
            defer py.Py_DecRef(exception);
            if (exception != py._Py_NoneStruct) {
                api.raiseObject(exception);
                return null;
            }
        }
        if (py.PyByteArray_Size(receiver.reader_buffer.?) > 0) return true;
        if (receiver.reader_changed and (isTrue(reader, names.eof) orelse return null)) return true;
        const other = attribute(reader, names.waiter) orelse return null;
        defer py.Py_DecRef(other);
        if (other != py._Py_NoneStruct or receiver.read_waiter != null) {
            _ = api.raise(
                py.PyExc_RuntimeError.*,
                "read() called while another coroutine is already waiting for incoming data",
            );
            return null;
        }
        if (receiver.paused and (isTrue(reader, names.paused) orelse return null)) {
            if (!resumeFlow(reader)) return null;
        }
        const future = calls.createFuture(stream.loop.?, null) orelse return null;
        self.future = future;
        receiver.read_waiter = api.ref(future);
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
    fn take(self: *Read, stream: *Stream, reader: *Object) ?*Object {
        defer api.drop(&self.reader);
        const buffer = stream.receiver.reader_buffer.?;
        const size: usize = @intCast(py.PyByteArray_Size(buffer));
        const count = @min(size, self.most);
        var data = py.PyBytes_FromStringAndSize(py.PyByteArray_AsString(buffer), @intCast(count));
        if (data == null) return null;
        const status = if (count == size)
            py.PyByteArray_Resize(buffer, 0)
        else
            py.PySequence_DelSlice(buffer, 0, @intCast(count));
        const resumed = !stream.receiver.paused or size - count > stream.receiver.reader_limit or maybeResume(reader);
        if (status != 0 or !resumed) api.drop(&data);
        return data;
    }

    /// asyncio's: a transport that the reader paused goes on when the buffer is within its limit.
    fn maybeResume(reader: *Object) bool {
        const paused = isTrue(reader, names.paused) orelse return false;
        return !paused or resumeFlow(reader);
    }

    /// What it waited for is not to wake it. Idempotent.
    fn giveUp(instance: *Object) void {
        const self = of(instance);
        if (self.future) |future| {
            const receiver = &Stream.of(self.stream.?).receiver;
            if (receiver.read_waiter == future) api.drop(&receiver.read_waiter);
        }
        api.drop(&self.waiting);
        api.drop(&self.future);
        api.drop(&self.reader);
    }

    fn self_(instance: *Object) callconv(.c) ?*Object {
        return api.ref(instance);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        for ([_]?*Object{ Type.class, self.reader, self.stream, self.future, self.waiting }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        return 0;
    }

    fn tpClear(instance: *Object) callconv(.c) c_int {
        giveUp(instance);
        api.drop(&of(instance).stream);
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
        if (most > 0) if (streamOf(reader)) |stream| {
            const instance = Read.Type.create() orelse {
                py.Py_DecRef(stream);
                return null;
            };
            const self = Read.of(instance);
            self.stream = stream;
            self.reader = api.ref(reader);
            self.most = @intCast(most);
            return instance;
        };
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
    if (streamOf(protocol)) |instance| {
        defer py.Py_DecRef(instance);
        const stream = Stream.of(instance);
        if (!stream.sender.protocol_paused and stream.lost == 0) return api.ref(ready);
    }
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
        const is_method = comptime std.mem.eql(u8, name, "cancelled") or
            std.mem.eql(u8, name, "resume_reading") or std.mem.eql(u8, name, "set_result");
        const text = if (is_method) name else "_" ++ name;
        @field(names, name) = py.PyUnicode_InternFromString(text ++ "") orelse return false;
    }
    if (!Read.define() or !Ready.define()) return false;
    ready = Ready.Type.create() orelse return false;
    return true;
}
