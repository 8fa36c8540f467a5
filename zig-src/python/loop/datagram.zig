//! A datagram transport of the asyncio loop: its state, its life, how it receives, and what Python calls.
//! Sending has a file of its own. What is not on the way of data is Python (spargio/asyncio/_datagram.py).
//!
//! A socket that waits has a poll of the ring. One that a datagram has just come to is read once more in the
//! next turn, before it is polled again: an answer to what was sent, or the next of many, often is there
//! already, and a poll costs more than a look. Looks that find nothing become rare (`looks_missed_max`).
//! recvfrom(2) goes into the loop's large buffer, so that no datagram is cut. Only the loop's thread uses it.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const object = @import("../cpython/object.zig");
const send = @import("datagram_send.zig");
const transport_base = @import("transport_base.zig");
const turn = @import("turn.zig");
const Entry = @import("queue.zig").Entry;
const Loop = @import("loop.zig").Loop;
const Name = @import("addresses.zig").Name;
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const loop_module = @import("loop.zig");
const loop_helpers = &@import("handle.zig").loop_helpers;
const raiseErrno = @import("../cpython/callbacks.zig").raiseErrno;
const Object = api.Object;
const py = &api.py;

const read_text = "Fatal read error on datagram transport";
/// After so many looks in a row that found nothing, only one datagram in `look_again` is followed by a look.
const looks_missed_max = 4;
const look_again = 8;

pub const Datagram = struct {
    loop: ?*Object,
    protocol: ?*Object,
    /// What the protocol's methods run in.
    context: ?*Object,
    /// Bound: datagram_received.
    received: ?*Object,
    fd: i32,
    family: u16,
    /// The socket has a peer: nothing is said of addresses when it sends.
    connected: bool,
    started: bool,
    /// close() or abort() was called, or the socket broke.
    closing: bool,
    /// connection_lost() is scheduled; sends after it are counted, for a warning.
    lost: u32,
    /// In the loop's list of those to be served in the next turn.
    listed: bool,
    /// The poll for something to read.
    op: ?*Op,
    /// The read is due: the poll has ended, or it is a look.
    ready: bool,
    /// Of a look at a socket that nothing was told of.
    looks: bool,
    looks_missed: u8,
    sender: send.Sender,

    const Shared = transport_base.TransportType(Datagram);
    pub const Type = Shared.Type;
    pub const of = Shared.of;
    pub const me = Shared.me;
    pub const loopOf = Shared.loopOf;
    pub const fatal = Shared.fatal;
    pub const fatalErrno = Shared.fatalErrno;
    pub const scheduleLost = Shared.scheduleLost;

    fn new(class: *Object, _: ?*Object, _: ?*Object) callconv(.c) ?*Object {
        const instance = py.PyType_GenericAlloc(class, 0) orelse return null;
        const self = of(instance);
        self.fd = -1;
        self.sender = .{};
        return instance;
    }

    /// _open(loop, fd, family, connected, address): before anything else; the address is the one that all
    /// datagrams go to, or None.
    fn open(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
        if (!object.arity("_open", count, 5)) return null;
        const self = of(instance);
        const fd = object.unsigned(args[1], "fd", std.math.maxInt(i32)) orelse return null;
        const family = object.unsigned(args[2], "family", std.math.maxInt(u16)) orelse return null;
        if (py.PyObject_IsInstance(args[0], Loop.Type.class) != 1)
            return api.raise(py.PyExc_TypeError.*, "_open() takes a loop of spargio's");
        self.context = py.PyContext_CopyCurrent() orelse return null;
        self.loop = api.ref(args[0]);
        self.fd = @intCast(fd);
        self.family = @intCast(family);
        self.connected = args[3] == py._Py_TrueStruct;
        if (args[4] != py._Py_NoneStruct) self.sender.address = api.ref(args[4]);
        self.loopOf().transports.add(self.fd, &self.closing) catch return py.PyErr_NoMemory();
        return api.none();
    }

    /// The loop serves it in the next turn.
    pub fn list(self: *Datagram) void {
        const loop = self.loopOf();
        if (self.listed or loop.closed) return; // A closed loop has no turns.
        loop.datagrams.append(loop_module.gpa, self) catch @panic("spargio: no memory to keep what came");
        self.listed = true;
        py.Py_IncRef(self.me());
    }

    // ---- receiving ----

    fn wants(self: *const Datagram) bool {
        return self.started and !self.closing;
    }

    /// In a turn.
    pub fn deliver(self: *Datagram) void {
        self.listed = false;
        self.sender.deliver(self);
        if (self.ready and self.wants()) self.read();
        if (!self.ready) self.arm();
        py.Py_DecRef(self.me());
    }

    /// One datagram a turn: others are waiting too.
    fn read(self: *Datagram) void {
        const looks = self.looks;
        self.ready = false;
        self.looks = false;
        const memory = self.loopOf().largeBuffer() orelse return self.fatalErrno(.NOMEM, read_text);
        var name: Name = .{};
        name.len = name.bytes.len;
        const from: *linux.sockaddr = @ptrCast(&name.bytes);
        const rc = linux.recvfrom(self.fd, memory.ptr, memory.len, linux.MSG.DONTWAIT, from, &name.len);
        switch (linux.errno(rc)) {
            .SUCCESS => {},
            .AGAIN, .INTR => {
                if (looks) self.looks_missed +|= 1;
                return;
            },
            // It was closed under the transport: it would say so forever.
            .BADF, .NOTSOCK => |errno| return self.fatalErrno(errno, read_text),
            else => |errno| return self.receiveFailed(errno),
        }
        name.len = @min(name.len, name.bytes.len);
        if (looks) self.looks_missed = 0;
        self.lookAgain();
        self.hand(memory[0..rc], &name);
    }

    /// The next turn looks whether there is another one, if that has been of use.
    fn lookAgain(self: *Datagram) void {
        if (self.looks_missed >= looks_missed_max) {
            self.looks_missed += 1;
            if (self.looks_missed < looks_missed_max + look_again) return;
            self.looks_missed = looks_missed_max - 1;
        }
        self.ready = true;
        self.looks = true;
        self.list();
    }

    fn hand(self: *Datagram, memory: []const u8, name: *const Name) void {
        const data = py.PyBytes_FromStringAndSize(memory.ptr, @intCast(memory.len)) orelse return self.fatal(read_text);
        defer py.Py_DecRef(data);
        const address = self.loopOf().addressOf(name) orelse return self.fatal(read_text);
        defer py.Py_DecRef(address);
        const method = self.received orelse return;
        self.callProtocol(method, &.{ data, address });
    }

    /// The socket tells what became of something that it had sent.
    fn receiveFailed(self: *Datagram, errno: linux.E) void {
        _ = raiseErrno(@backingInt(errno), null, null);
        const exception = api.takeException();
        defer py.Py_DecRef(exception);
        const method = py.PyObject_GetAttrString(self.protocol.?, "error_received") orelse return self.fatal(read_text);
        defer py.Py_DecRef(method);
        self.callProtocol(method, &.{exception});
    }

    /// `method(*arguments)` in the transport's context, in a turn. What it raises goes to the loop's handler.
    pub fn callProtocol(self: *Datagram, method: *Object, arguments: []const *Object) void {
        const loop = self.loopOf();
        if (!loop.enterContext(api.ref(self.context.?))) return self.fatal(read_text);
        var room: [3]?*Object = undefined;
        for (arguments, 1..) |argument, i| room[i] = argument;
        const entry: Entry = .{ .callback = method, .argument = arguments[0] };
        const began_ns = if (loop.debug) clock.nowNs() else 0;
        loop.calling = true;
        const result = turn.vectorcall(method, room[1..].ptr, arguments.len | api.arguments_offset);
        loop.calling = false;
        if (result) |one| py.Py_DecRef(one) else _ = turn.failed(loop, null, entry);
        if (loop.debug and result != null) turn.tellSlowCall(loop, entry, began_ns);
    }

    fn arm(self: *Datagram) void {
        if (self.op != null or !self.wants()) return;
        const shard = Shard.current().?;
        const op = shard.ops.take(&self.loopOf().task, shard) catch return self.fatalErrno(.NOMEM, read_text);
        var sqe: Sqe = undefined;
        sqe.prep_poll_add(self.fd, linux.POLL.IN);
        op.complete = polled;
        op.complete_ctx = self;
        py.Py_IncRef(self.me()); // The operation's, given back at its end.
        self.op = op;
        shard.launch(op, sqe);
    }

    fn polled(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const self: *Datagram = @ptrCast(@alignCast(ctx.?));
        self.op = null;
        Shard.current().?.acquireInterpreter();
        switch (result) {
            errors.negative(.CANCELED), errors.negative(.INTR) => {}, // Armed again, if it is wanted.
            else => self.ready = true, // The read says what is wrong with it.
        }
        self.list();
        py.Py_DecRef(self.me());
    }

    // ---- the end ----

    pub fn forceClose(self: *Datagram, exception: ?*Object) void {
        if (self.lost > 0) return;
        self.sender.clear();
        self.closing = true;
        self.stop();
        self.scheduleLost(exception);
    }

    /// close(): what waits goes out first.
    fn close(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        if (self.closing or self.loop == null) return api.none();
        self.closing = true;
        self.stop();
        if (self.sender.isEmpty()) self.scheduleLost(null);
        return api.none();
    }

    fn stop(self: *Datagram) void {
        const shard = Shard.current() orelse return; // The loop does not run: the end of its task ends it.
        if (self.op) |op| shard.cancelOp(op);
    }

    /// _release(): before the socket is closed. What waits on it in the kernel is cancelled there now.
    fn release(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        self.stop();
        self.sender.clear();
        if (self.op != null or self.sender.op != null) if (self.loopOf().shard) |shard| shard.submit();
        self.loopOf().transports.remove(self.fd, &self.closing);
        self.fd = -1;
        api.drop(&self.protocol);
        api.drop(&self.received);
        return api.none();
    }

    // ---- what Python sees ----

    /// _start_reading(): scheduled behind connection_made().
    fn start(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = of(instance);
        self.started = true;
        if (!self.closing and self.loop != null) self.list();
        return api.none();
    }

    /// set_protocol(protocol)
    fn setProtocol(instance: *Object, protocol: *Object) callconv(.c) ?*Object {
        const self = of(instance);
        const method = py.PyObject_GetAttrString(protocol, "datagram_received") orelse return null;
        api.drop(&self.received);
        self.received = method;
        var before = self.protocol;
        self.protocol = api.ref(protocol);
        api.drop(&before);
        return api.none();
    }

    fn classOf(_: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.ref(loop_helpers.DatagramTransport);
    }

    fn traverse(instance: *Object, visit: api.Visit, arg: ?*anyopaque) callconv(.c) c_int {
        const self = of(instance);
        const class = py.PyObject_Type(instance);
        py.Py_DecRef(class);
        for ([_]?*Object{ class, self.loop, self.protocol, self.context, self.received }) |one| {
            if (one == null) continue;
            const status = visit(one, arg);
            if (status != 0) return status;
        }
        return self.sender.traverse(visit, arg);
    }

    fn tpClear(instance: *Object) callconv(.c) c_int {
        const self = of(instance);
        api.drop(&self.protocol);
        api.drop(&self.received);
        return 0;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = of(instance);
        const aside: api.Aside = .take();
        py.PyObject_GC_UnTrack(instance);
        assert(self.op == null and self.sender.op == null and !self.listed);
        if (self.loop != null) self.loopOf().transports.remove(self.fd, &self.closing);
        self.sender.deinit();
        api.drop(&self.protocol);
        api.drop(&self.received);
        api.drop(&self.context);
        api.drop(&self.loop);
        Shared.free(instance);
        aside.restore();
    }

    const keywords = api.meth_fastcall | api.meth_keywords;
    const method_table = [_]api.MethodDef{
        object.method("sendto", &send.sendto, keywords, "($self, data, addr=None)", "Send, or keep and send later."),
        object.method("close", &close, api.meth_noargs, "($self, /)", "Close when all that waits is sent."),
        object.method("abort", &Shared.abort, api.meth_noargs, "($self, /)", "Close now."),
        object.method("is_closing", &Shared.isClosing, api.meth_noargs, "($self, /)", "Is it closing or closed?"),
        object.method("get_write_buffer_size", &send.bufferSize, api.meth_noargs, "($self, /)", "Bytes that wait."),
        object.method("set_protocol", &setProtocol, api.meth_one, "($self, protocol, /)", "Another protocol."),
        object.method("get_protocol", &Shared.getProtocol, api.meth_noargs, "($self, /)", "The protocol."),
        object.method(
            "_open",
            &open,
            api.meth_fastcall,
            "($self, loop, fd, family, connected, address, /)",
            "The loop and the socket.",
        ),
        object.method("_release", &release, api.meth_noargs, "($self, /)", "Let go of the socket."),
        object.method("_start_reading", &start, api.meth_noargs, "($self, /)", "After connection_made()."),
        object.method("_set_limits", &send.setLimits, api.meth_fastcall, "($self, high, low, /)", "Marks, bytes."),
        object.method("_limits", &send.limits, api.meth_noargs, "($self, /)", "(low, high)"),
        object.method(
            "_own_methods",
            &ownMethods,
            api.meth_noargs | api.meth_class,
            "($type, /)",
            "Descriptors of its own for a class of transports.",
        ),
    };
    var methods = method_table ++ [_]api.MethodDef{.{}};

    fn ownMethods(class: *Object, _: ?*Object) callconv(.c) ?*Object {
        return if (object.ownMethods(class, Type.class, &.{"sendto"}, &methods)) api.none() else null;
    }

    pub fn define() bool {
        return object.define(Type, "DatagramCore", .{
            .methods = &method_table,
            .properties = &.{.{ .name = "__class__", .get = &classOf }},
            .new = &new,
            .traverse = &traverse,
            .clear = &tpClear,
            .dealloc = &dealloc,
        });
    }
};
