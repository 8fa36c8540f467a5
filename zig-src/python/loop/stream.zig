//! A stream transport of the asyncio loop, over a connected socket: its state, its life, and the
//! methods that Python calls. Receiving and sending have files of their own. The rest, which no
//! data passes through, is Python (spargio/asyncio/_stream.py). Only the loop's thread uses it.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const reader = @import("reader.zig");
const receive = @import("receive.zig");
const send = @import("send.zig");
const transport_base = @import("transport_base.zig");
const Loop = @import("loop.zig").Loop;
const loop_module = @import("loop.zig");
const loop_helpers = &@import("handle.zig").loop_helpers;
const clock = @import("../../base/clock.zig");
const turn = @import("turn.zig");
const Object = api.Object;
const py = &api.py;

pub const Stream = struct {
    loop: ?*Object,
    protocol: ?*Object,
    /// What the protocol's methods run in.
    context: ?*Object,
    fd: i32,
    receiver: receive.Receiver,
    sender: send.Sender,
    /// close() or abort() was called, or the connection broke.
    closing: bool,
    /// connection_lost() is scheduled; writes after it are counted, for a warning.
    lost: u32,
    /// In the loop's list of streams with something to deliver.
    listed: bool,
    /// In its list of those that were written to in this turn.
    dirty: bool,

    const Shared = transport_base.TransportType(Stream);
    pub const Type = Shared.Type;
    pub const of = Shared.of;
    pub const me = Shared.me;
    pub const loopOf = Shared.loopOf;
    pub const fatal = Shared.fatal;
    pub const fatalWith = Shared.fatalWith;
    pub const fatalErrno = Shared.fatalErrno;
    pub const scheduleLost = Shared.scheduleLost;

    fn new(class: *Object, _: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        const instance = py.PyType_GenericAlloc(class, 0) orelse return null;
        const self = of(instance);
        self.fd = -1;
        self.receiver = .{};
        self.sender = .{};
        return instance;
    }

    /// _open(loop, fd): before anything else.
    fn open(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("_open", count, 2)) return null;
        const self = of(instance);
        const fd = object.unsigned(args[1], "fd", std.math.maxInt(i32)) orelse return null;
        if (py.PyObject_IsInstance(args[0], Loop.Type.class) != 1)
            return api.raise(py.PyExc_TypeError.*, "_open() takes a spargio loop");
        self.context = py.PyContext_CopyCurrent() orelse return null;
        self.loop = api.ref(args[0]);
        self.fd = @intCast(fd);
        self.loopOf().transports.add(self.fd, &self.closing) catch return py.PyErr_NoMemory();
        return api.none();
    }

    /// The loop has something for the protocol: in the next turn, or later in this one.
    pub fn list(self: *Stream) void {
        const loop = self.loopOf();
        if (self.listed or loop.closed) return; // A closed loop has no turns.
        loop.streams.append(loop_module.gpa, self) catch @panic("spargio: no memory to keep what came");
        self.listed = true;
        py.Py_IncRef(self.me());
    }

    /// What was written goes out at the end of this turn.
    pub fn listDirty(self: *Stream) void {
        if (self.dirty) return;
        const loop = self.loopOf();
        loop.dirty.append(loop_module.gpa, self) catch return self.sender.flush(self);
        self.dirty = true;
        py.Py_IncRef(self.me());
    }

    /// At the end of a turn.
    pub fn flush(self: *Stream) void {
        self.dirty = false;
        self.sender.deliver(self);
        py.Py_DecRef(self.me());
    }

    /// In a turn: hands over what has come.
    pub fn deliver(self: *Stream) void {
        self.listed = false;
        self.sender.deliver(self);
        self.receiver.deliver(self);
        py.Py_DecRef(self.me());
    }

    // ---- calls of the protocol ----

    /// `method(argument)` in the transport's context; null with an exception set.
    pub fn callProtocol(self: *Stream, method: *Object, argument: ?*Object) ?*Object {
        if (!self.loopOf().enterContext(api.ref(self.context.?))) return null;
        var room = [2]?*Object{ null, argument };
        const count: usize = @intFromBool(argument != null);
        const loop = self.loopOf();
        const began_ns = if (loop.debug) clock.nowNs() else 0;
        loop.calling = true;
        const result = py.PyObject_VectorcallDict(method, room[1..].ptr, count | api.arguments_offset, null);
        loop.calling = false;
        if (loop.debug and result != null)
            turn.tellSlowCall(loop, .{ .callback = method, .argument = argument }, began_ns);
        return result;
    }

    // ---- the end ----

    pub fn forceClose(self: *Stream, exception: ?*Object) void {
        if (self.lost > 0) return;
        self.sender.clear(self);
        self.closing = true;
        self.receiver.stop(self);
        self.scheduleLost(exception);
    }

    /// close(): what was written goes out first.
    fn close(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (!self.closing) self.closeNow();
        return api.none();
    }

    pub fn closeNow(self: *Stream) void {
        if (self.closing) return;
        self.closing = true;
        self.receiver.stop(self);
        if (self.sender.size == 0) self.scheduleLost(null);
    }

    /// _force_close(exception or None): what asyncio's TLS calls.
    fn forceCloseWith(instance: *Object, exception: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.loop != null) self.forceClose(if (exception == py._Py_NoneStruct) null else exception);
        return api.none();
    }

    /// _release(): before the socket is closed. What waits on it in the kernel is cancelled there now.
    fn release(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        const loop = self.loopOf();
        self.receiver.stop(self);
        self.sender.clear(self);
        if (self.receiver.op != null or self.sender.op != null) if (loop.shard) |shard| shard.submit();
        loop.transports.remove(self.fd, &self.closing);
        self.fd = -1;
        api.drop(&self.protocol);
        self.receiver.forgetProtocol();
        return api.none();
    }

    /// _own_descriptor(): again, after the loop has sent a file by `sock_sendfile`.
    fn ownDescriptor(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.fd < 0) return api.none();
        self.loopOf().transports.add(self.fd, &self.closing) catch return py.PyErr_NoMemory();
        return api.none();
    }

    // ---- what Python sees ----

    /// set_protocol(protocol)
    fn setProtocol(instance: *Object, protocol: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (!self.receiver.setProtocol(protocol)) return null;
        const before = self.protocol;
        self.protocol = api.ref(protocol);
        if (before) |one| py.Py_DecRef(one);
        return api.none();
    }

    fn lostOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyLong_FromLongLong(of(instance).lost);
    }

    fn pausedOf(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyBool_FromLong(@intFromBool(of(instance).sender.protocol_paused));
    }

    fn classOf(_: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.ref(loop_helpers.Transport);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        const class = py.PyObject_Type(instance);
        py.Py_DecRef(class);
        for ([_]?*Object{
            class,                       self.loop,                 self.protocol,         self.context,
            self.receiver.received,      self.receiver.get_buffer,  self.receiver.updated, self.receiver.reader,
            self.receiver.reader_buffer, self.receiver.read_waiter,
        }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        return 0;
    }

    fn tpClear(instance: *Object) callconv(.c) c_int {
        const self = of(instance);
        api.drop(&self.protocol);
        self.receiver.forgetProtocol();
        return 0;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = of(instance);
        const aside: api.Aside = .take();
        py.PyObject_GC_UnTrack(instance);
        assert(self.receiver.op == null and self.sender.op == null and !self.listed);
        if (self.loop != null) self.loopOf().transports.remove(self.fd, &self.closing);
        self.receiver.deinit(self);
        self.sender.deinit();
        api.drop(&self.protocol);
        api.drop(&self.context);
        api.drop(&self.loop);
        Shared.free(instance);
        aside.restore();
    }

    const method_table = [_]api.MethodDef{
        object.method(
            "write",
            &send.write,
            api.meth_one,
            "($self, data, /)",
            "Send, or keep and send when there is room.",
        ),
        object.method(
            "writelines",
            &send.writelines,
            api.meth_one,
            "($self, list_of_data, /)",
            "Send several pieces with one call.",
        ),
        object.method(
            "write_eof",
            &send.writeEof,
            api.meth_noargs,
            "($self, /)",
            "Close the sending half when all was sent.",
        ),
        object.method(
            "get_write_buffer_size",
            &send.bufferSize,
            api.meth_noargs,
            "($self, /)",
            "Bytes that wait to be sent.",
        ),
        object.method(
            "_set_limits",
            &send.setLimits,
            api.meth_fastcall,
            "($self, high, low, /)",
            "The marks of flow control, bytes.",
        ),
        object.method("_limits", &send.limits, api.meth_noargs, "($self, /)", "(low, high)"),
        object.method(
            "_watch_empty",
            &send.watchEmpty,
            api.meth_one,
            "($self, enabled, /)",
            "Call _emptied() when all was sent.",
        ),
        object.method(
            "pause_reading",
            &receive.pause,
            api.meth_noargs,
            "($self, /)",
            "Deliver nothing until resume_reading().",
        ),
        object.method("resume_reading", &receive.resume_, api.meth_noargs, "($self, /)", "Deliver again."),
        object.method(
            "is_reading",
            &receive.isReading,
            api.meth_noargs,
            "($self, /)",
            "Whether data is delivered.",
        ),
        object.method("_start_reading", &receive.start, api.meth_noargs, "($self, /)", "After connection_made()."),
        object.method("close", &close, api.meth_noargs, "($self, /)", "Close when all that was written is sent."),
        object.method("abort", &Shared.abort, api.meth_noargs, "($self, /)", "Close now."),
        object.method("is_closing", &Shared.isClosing, api.meth_noargs, "($self, /)", "Is it closing or closed?"),
        object.method(
            "set_protocol",
            &setProtocol,
            api.meth_one,
            "($self, protocol, /)",
            "Another protocol from here on.",
        ),
        object.method("get_protocol", &Shared.getProtocol, api.meth_noargs, "($self, /)", "The protocol."),
        object.method("_open", &open, api.meth_fastcall, "($self, loop, fd, /)", "The loop and the descriptor."),
        object.method(
            "_force_close",
            &forceCloseWith,
            api.meth_one,
            "($self, exception, /)",
            "Close because of this exception.",
        ),
        object.method(
            "_own_methods",
            &ownMethods,
            api.meth_noargs | api.meth_class,
            "($type, /)",
            "Descriptors of its own for a class of transports.",
        ),
        object.method(
            "_feed",
            &receive.feedReader,
            api.meth_fastcall,
            "($self, reference, buffer, limit, /)",
            "What comes goes to the reader of asyncio's behind the weak reference.",
        ),
        object.method("_reader_changed", &reader.changed, api.meth_noargs, "($self, /)", "It has ended, or failed."),
        object.method("_is_read", &reader.isRead, api.meth_noargs, "($self, /)", "Whether a read() waits."),
        object.method(
            "_stream_methods",
            &reader.install,
            api.meth_fastcall | api.meth_static,
            "(reader, protocol, /)",
            "Native methods for the subclasses of asyncio's.",
        ),
        object.method("_release", &release, api.meth_noargs, "($self, /)", "Before the socket is closed."),
        object.method(
            "_own_descriptor",
            &ownDescriptor,
            api.meth_noargs,
            "($self, /)",
            "From here on sock_* of the loop refuse the descriptor.",
        ),
    };

    const hot = [_][]const u8{
        "write", "writelines", "is_closing", "close", "pause_reading", "resume_reading", "get_write_buffer_size",
    };

    /// _own_methods(class)
    fn ownMethods(class: *Object, _: ?*Object) callconv(.c) ?*Object {
        return if (object.ownMethods(class, Type.class, &hot, &methods)) api.none() else null;
    }

    var methods = method_table ++ [_]api.MethodDef{.{}};

    pub fn define() bool {
        return object.define(Type, "StreamCore", .{
            .methods = &method_table,
            .properties = &.{
                .{ .name = "__class__", .get = &classOf },
                .{ .name = "_conn_lost", .get = &lostOf },
                .{ .name = "_protocol_paused", .get = &pausedOf },
            },
            .new = &new,
            .traverse = &traverse,
            .clear = &tpClear,
            .dealloc = &dealloc,
        });
    }
};
