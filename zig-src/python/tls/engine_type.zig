//! An engine (engine.zig) as a Python object: its steps for what is not often done, which Python does
//! itself, and the awaitables of tls_op.zig for what is.

const std = @import("std");
const api = @import("../cpython/api.zig");
const cipher = @import("cipher.zig");
const exchange_type = @import("../sync/exchange_type.zig");
const object = @import("../cpython/object.zig");
const openssl = @import("openssl.zig");
const goodbye = @import("goodbye.zig").goodbye;
const handshake = @import("handshake.zig");
const recvInto = @import("recv_into.zig").recvInto;
const recv = @import("recv.zig").recv;
const writeAll = @import("write_all.zig").writeAll;
const Engine = @import("engine.zig").Engine;
const Object = api.Object;
const py = &api.py;

pub const Type = object.TypeOf(Engine);

/// (truncated, library, reason) -> exception
var make_error: *Object = undefined;

/// tls_open(path, make_error): None, or why OpenSSL is not available.
pub fn open(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("tls_open", count, 2)) return null;
    const path = py.PyBytes_AsString(arguments[0]) orelse return null;
    make_error = api.ref(arguments[1]); // For the life of the process.
    const reason = openssl.open(@ptrCast(path), &Engine.bioRead, &Engine.bioWrite, &Engine.bioControl) orelse
        return api.none();
    return api.string(reason);
}

/// tls_watch(): the SSL object that this thread makes next is the one.
fn watch(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    openssl.watch();
    return api.none();
}

/// tls_engine(owner, lenient, receiving, sending, writing): a TlsEngine; None if it was not caught.
pub fn make(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("tls_engine", count, 5)) return null;
    const ssl = openssl.caught() orelse return api.none();
    const lenient = py.PyObject_IsTrue(arguments[1]);
    for (arguments[2..5]) |exchange| if (exchange != py._Py_NoneStruct and !exchange_type.Type.is(exchange))
        return api.raise(py.PyExc_TypeError.*, "tls_engine() takes exchanges, or None if no task awaits it");
    const instance = Type.create() orelse return null;
    const self = Type.body(instance); // Zero bytes: nothing has come, nothing is held.
    self.queue = .{};
    self.out = &.{};
    self.ahead = &.{};
    self.lenient = lenient == 1;
    if (!self.attachTo(ssl)) {
        py.Py_DecRef(instance);
        return py.PyErr_NoMemory();
    }
    self.owner_object = api.ref(arguments[0]);
    self.receiving = api.ref(arguments[2]);
    self.sending = api.ref(arguments[3]);
    self.writing = api.ref(arguments[4]);
    return instance;
}

/// set_aside(function): () -> an object whose `_flush_aside()` sends what is sealed in a task of its own, or None.
fn setAside(instance: *Object, function: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    api.drop(&self.aside);
    self.aside = api.ref(function);
    return api.none();
}

/// Raises what the engine failed of; the same one each time. Attached, not under the lock.
pub fn raiseFault(self: *Engine) ?*Object {
    if (@atomicLoad(?*Object, &self.failure, .acquire)) |known| {
        api.raiseObject(known);
        return null;
    }
    const truncated = py.PyBool_FromLong(@intFromBool(self.fault.kind == .truncated)) orelse return null;
    const library = py.PyLong_FromLongLong(@intCast(self.fault.code >> 23 & 0xff)) orelse return null;
    const words = openssl.fns.ERR_reason_error_string(self.fault.code);
    const reason = if (words) |text| api.string(std.mem.span(text)) orelse return null else api.none();
    const exception = api.call(make_error, &.{ truncated, library, reason }) orelse return null;
    api.raiseObject(exception);
    // The object keeps it; if two threads are here at once, one of theirs.
    if (@cmpxchgStrong(?*Object, &self.failure, null, exception, .acq_rel, .acquire) != null) py.Py_DecRef(exception);
    return null;
}

// ---- ciphertext ----

fn feed(instance: *Object, data: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    const bytes = py.PyBytes_AsString(data) orelse return null;
    const size: usize = @intCast(py.PyBytes_Size(data));
    self.enter();
    defer self.leave();
    _ = self.fed.fetchAdd(1, .acq_rel);
    if (size == 0) {
        self.at_eof = true;
        return api.none();
    }
    self.queue.append(bytes[0..size]) catch return py.PyErr_NoMemory();
    return api.none();
}

fn fed(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyLong_FromLongLong(Type.body(instance).fed.load(.acquire));
}

fn take(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    self.enter();
    const flight = self.takeOut();
    self.leave();
    defer Engine.freeOut(flight.memory);
    const bytes = py.PyBytes_FromStringAndSize(flight.memory.ptr, @intCast(flight.len));
    if (bytes != null) return bytes;
    self.enter();
    defer self.leave();
    self.putBack(flight.memory[0..flight.len]) catch {};
    return null;
}

fn putBack(instance: *Object, data: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    const bytes = py.PyBytes_AsString(data) orelse return null;
    self.enter();
    defer self.leave();
    self.putBack(bytes[0..@intCast(py.PyBytes_Size(data))]) catch return py.PyErr_NoMemory();
    return api.none();
}

fn hasOutput(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyBool_FromLong(@intFromBool(@atomicLoad(usize, &Type.body(instance).out_len, .acquire) > 0));
}

/// output(): how many bytes are to be sent.
fn output(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyLong_FromLongLong(@intCast(@atomicLoad(usize, &Type.body(instance).out_len, .acquire)));
}

/// input(): how many bytes of ciphertext were not read.
fn input(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const queue = &Type.body(instance).queue;
    return py.PyLong_FromLongLong(@intCast(queue.end - queue.start));
}

/// receive(buffer): as feed and read in one, with no copy of what came: the plaintext of its whole records,
/// or None. An end or an error comes with the next read.
fn receive(instance: *Object, buffer: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    var view: api.Buffer = .{};
    if (!object.getBuffer(buffer, &view, api.buffer_simple)) return null;
    defer py.PyBuffer_Release(&view);
    _ = self.fed.fetchAdd(1, .acq_rel);
    self.enter();
    const lent = self.queue.lend(view.buf.?[0..@intCast(view.len)]);
    self.leave();
    lent catch return py.PyErr_NoMemory();
    var value: ?*Object = null;
    const outcome = cipher.readBytes(instance, std.math.maxInt(i32), &value);
    self.enter();
    const settled = self.queue.settle();
    self.leave();
    settled catch {
        self.fault = .{ .kind = .failed };
        api.drop(&value);
        return py.PyErr_NoMemory();
    };
    switch (outcome) {
        .raised => py.PyErr_Clear(),
        .value => if (py.PyBytes_Size(value.?) > 0) return value,
        .want => {},
    }
    api.drop(&value);
    return api.none();
}

fn unused(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    self.enter();
    defer self.leave();
    const queue = &self.queue;
    const left = queue.end - queue.start;
    const bytes = py.PyBytes_FromStringAndSize(null, @intCast(left)) orelse return null;
    _ = queue.read(py.PyBytes_AsString(bytes).?[0..left], true);
    queue.shrink();
    return bytes;
}

// ---- plaintext ----

/// read(size): bytes, or None: feed more.
fn read(instance: *Object, size: *Object) callconv(.c) ?*Object {
    const most = object.unsigned(size, "max_bytes", std.math.maxInt(isize)) orelse return null;
    var value: ?*Object = null;
    return switch (cipher.readBytes(instance, most, &value)) {
        .value => value,
        .raised => null,
        .want => api.none(),
    };
}

/// read_into(buffer): a number, or None: feed more.
fn readInto(instance: *Object, buffer: *Object) callconv(.c) ?*Object {
    var view: api.Buffer = .{};
    if (!object.getBuffer(buffer, &view, api.buffer_writable)) return null;
    defer py.PyBuffer_Release(&view);
    var value: ?*Object = null;
    return switch (cipher.readInto(Type.body(instance), view.buf.?[0..@intCast(view.len)], &value)) {
        .value => value,
        .raised => null,
        .want => api.none(),
    };
}

/// write(buffer): how much was sealed; less if something has to be fed first.
fn write(instance: *Object, buffer: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    var view: api.Buffer = .{};
    if (!object.getBuffer(buffer, &view, api.buffer_simple)) return null;
    defer py.PyBuffer_Release(&view);
    if (view.len == 0) return py.PyLong_FromLongLong(0);
    const count = cipher.sealFrom(self, view.buf.?[0..@intCast(view.len)]);
    if (count == 0 and self.fault.kind != .none) return raiseFault(self);
    return py.PyLong_FromLongLong(@intCast(count));
}

fn closeNotify(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    self.enter();
    defer self.leave();
    self.closeNotify();
    return api.none();
}

fn unread(instance: *Object, data: *Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    const bytes = py.PyBytes_AsString(data) orelse return null;
    const size: usize = @intCast(py.PyBytes_Size(data));
    if (size == 0) return api.none();
    self.enter();
    defer self.leave();
    self.keepBefore(bytes[0..size]) catch return py.PyErr_NoMemory();
    return api.none();
}

fn takeUnread(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = Type.body(instance);
    self.enter();
    defer self.leave();
    const left = self.ahead[self.ahead_at..];
    const bytes = py.PyBytes_FromStringAndSize(left.ptr, @intCast(left.len)) orelse return null;
    self.dropAhead();
    return bytes;
}

// ---- the rest ----

fn failed(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyBool_FromLong(@intFromBool(Type.body(instance).fault.kind != .none));
}

/// lock(), unlock(): around uses of the SSL object by Python, which may give up the interpreter inside.
fn lock(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    Type.body(instance).enter();
    return api.none();
}

fn unlock(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    Type.body(instance).leave();
    return api.none();
}

/// close(): operations end with ClosedError from now on.
fn close(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    Type.body(instance).closing.store(true, .release);
    return api.none();
}

fn drop(self: *Engine) void {
    inline for (.{ "receiving", "sending", "writing", "aside", "failure", "owner_object" }) |name|
        api.drop(&@field(self, name));
}

fn dealloc(instance: *Object) callconv(.c) void {
    py.PyObject_GC_UnTrack(instance);
    const self = Type.body(instance);
    self.deinit();
    drop(self);
    Type.free(instance, true);
}

fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
    const self = Type.body(instance);
    var status = visit(Type.class, arg);
    inline for (.{ "receiving", "sending", "writing", "aside", "failure", "owner_object" }) |name| {
        if (@field(self, name)) |held| if (status == 0) {
            status = visit(held, arg);
        };
    }
    return status;
}

/// What could lead back here: exceptions, functions. The SSL object stays as long as the engine.
fn clear(instance: *Object) callconv(.c) c_int {
    api.drop(&Type.body(instance).failure);
    api.drop(&Type.body(instance).aside);
    return 0;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("tls_open", &open, api.meth_fastcall, "(path, make_error, /)", "None, or why not."),
    object.method("tls_watch", &watch, api.meth_noargs, "()", "The next SSL object is wanted."),
    object.method(
        "tls_engine",
        &make,
        api.meth_fastcall,
        "(owner, lenient, receiving, sending, writing, /)",
        "A TlsEngine, or None.",
    ),
};

pub fn define() bool {
    return object.define(Type, "TlsEngine", .{
        .methods = &.{
            object.method("feed", &feed, api.meth_one, "($self, data, /)", "What came; b'' for the end."),
            object.method("fed", &fed, api.meth_noargs, "($self, /)", "How often something came."),
            object.method("take", &take, api.meth_noargs, "($self, /)", "What is to be sent."),
            object.method("put_back", &putBack, api.meth_one, "($self, data, /)", "It was not sent."),
            object.method("has_output", &hasOutput, api.meth_noargs, "($self, /)", "Whether there is some."),
            object.method("output", &output, api.meth_noargs, "($self, /)", "Bytes to be sent."),
            object.method("input", &input, api.meth_noargs, "($self, /)", "Bytes that were not read."),
            object.method("receive", &receive, api.meth_one, "($self, buffer, /)", "Feed and read in one."),
            object.method("unused", &unused, api.meth_noargs, "($self, /)", "Ciphertext that was not read."),
            object.method("read", &read, api.meth_one, "($self, max_bytes, /)", "Bytes, or None: feed more."),
            object.method("read_into", &readInto, api.meth_one, "($self, buffer, /)", "Or None: feed more."),
            object.method("write", &write, api.meth_one, "($self, data, /)", "How much was sealed."),
            object.method("close_notify", &closeNotify, api.meth_noargs, "($self, /)", "No more is written."),
            object.method("unread", &unread, api.meth_one, "($self, data, /)", "The next read gets it."),
            object.method("take_unread", &takeUnread, api.meth_noargs, "($self, /)", "What it would get."),
            object.method("failed", &failed, api.meth_noargs, "($self, /)", "Whether it cannot go on."),
            object.method("lock", &lock, api.meth_noargs, "($self, /)", "Before the SSL object is used."),
            object.method("unlock", &unlock, api.meth_noargs, "($self, /)", "Afterwards."),
            object.method("close", &close, api.meth_noargs, "($self, /)", "Operations end."),
            object.method("set_aside", &setAside, api.meth_one, "($self, function, /)", "Sends aside."),
            object.method("shake", &handshake.shakeNow, api.meth_noargs, "($self, /)", "False: feed more."),
            object.method("goodbye", &goodbye, api.meth_one, "($self, descriptor, /)", "close_notify, at once."),
            object.method("handshake", &handshake.handshake, api.meth_one, "($self, descriptor, /)", "An awaitable."),
            object.method("recv", &recv, api.meth_fastcall, "($self, descriptor, max_bytes, /)", "An awaitable."),
            object.method("recv_into", &recvInto, api.meth_fastcall, "($self, descriptor, buffer, /)", "Another."),
            object.method("write_all", &writeAll, api.meth_fastcall, "($self, descriptor, data, /)", "Another."),
        },
        .dealloc = &dealloc,
        .traverse = &traverse,
        .clear = &clear,
    });
}
