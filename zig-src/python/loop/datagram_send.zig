//! How a datagram transport sends: at once if the socket takes it, else in the order in which they came when
//! there is room. Only the loop's thread uses it.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const loop_module = @import("loop.zig");
const method_names = @import("method_names.zig");
const stream_send = @import("send.zig");
const Datagram = @import("datagram.zig").Datagram;
const Name = @import("addresses.zig").Name;
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const raiseErrno = @import("../cpython/callbacks.zig").raiseErrno;
const gpa = loop_module.gpa;
const Object = api.Object;
const py = &api.py;

const high_default = 64 * 1024;
/// What each datagram counts beside its bytes, so that empty ones have a limit too: asyncio's.
const header_bytes = 8;
const write_text = "Fatal write error on datagram transport";
const flags = linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL;

const Item = struct {
    /// Bytes. Owned.
    data: *Object,
    /// Where it goes, if that is no plain number: Python's socket knows. Owned.
    address: ?*Object,
    name: Name,

    fn size(self: *const Item) usize {
        return @as(usize, @intCast(py.PyBytes_Size(self.data))) + header_bytes;
    }

    fn drop(self: *Item) void {
        py.Py_DecRef(self.data);
        api.drop(&self.address);
    }
};

const SendResult = enum { sent, blocked, failed };

pub const Sender = struct {
    /// The one address that all go to. Owned.
    address: ?*Object = null,
    items: std.ArrayList(Item) = .empty,
    /// The first that was not sent.
    next: usize = 0,
    /// Bytes that wait, with `header_bytes` for each datagram.
    size: usize = 0,
    high: usize = high_default,
    low: usize = high_default / 4,
    /// The poll for room.
    op: ?*Op = null,
    /// pause_writing() was called.
    protocol_paused: bool = false,

    pub fn isEmpty(self: *const Sender) bool {
        return self.next == self.items.items.len;
    }

    /// In a turn: there is room, or the first turn of a run has come.
    pub fn deliver(self: *Sender, transport: *Datagram) void {
        if (self.isEmpty() or transport.lost > 0 or self.op != null) return;
        while (!self.isEmpty()) {
            const item = &self.items.items[self.next];
            const data = py.PyBytes_AsString(item.data).?[0..@intCast(py.PyBytes_Size(item.data))];
            switch (transmit(transport, item.data, data, &item.name, item.address)) {
                .blocked => {
                    self.arm(transport);
                    break;
                },
                .sent => self.dropFirst(),
                .failed => {
                    self.dropFirst(); // Before the protocol is told: it may send.
                    if (!tellFailed(transport)) transport.fatal(write_text);
                    if (transport.lost > 0) return;
                },
            }
        }
        self.resumeProtocol(transport);
        if (self.isEmpty() and transport.closing and transport.lost == 0) transport.scheduleLost(null);
    }

    fn dropFirst(self: *Sender) void {
        var item = self.items.items[self.next];
        self.size -= item.size();
        self.next += 1;
        if (self.isEmpty() or self.next >= 1024) {
            std.mem.copyForwards(Item, self.items.items, self.items.items[self.next..]);
            self.items.items.len -= self.next;
            self.next = 0;
        }
        item.drop();
    }

    fn keep(self: *Sender, data: *Object, memory: []const u8, name: *const Name, address: ?*Object) bool {
        const class = py.PyObject_Type(data);
        py.Py_DecRef(class);
        const bytes = if (class == py.PyBytes_Type)
            api.ref(data)
        else
            py.PyBytes_FromStringAndSize(memory.ptr, @intCast(memory.len)) orelse return false;
        const other = if (name.len == 0 and address != null) api.ref(address.?) else null;
        self.items.append(gpa, .{ .data = bytes, .address = other, .name = name.* }) catch {
            py.Py_DecRef(bytes);
            if (other) |one| py.Py_DecRef(one);
            _ = py.PyErr_NoMemory();
            return false;
        };
        self.size += memory.len + header_bytes;
        return true;
    }

    fn arm(self: *Sender, transport: *Datagram) void {
        const shard = Shard.current() orelse return transport.list(); // Outside a run: in its first turn.
        if (self.op != null) return;
        const op = shard.ops.take(&transport.loopOf().task, shard) catch
            return transport.fatalErrno(.NOMEM, write_text);
        op.complete = polled;
        op.complete_ctx = transport;
        py.Py_IncRef(transport.me());
        self.op = op;
        var sqe: Sqe = undefined;
        sqe.prep_poll_add(transport.fd, linux.POLL.OUT);
        shard.launch(op, sqe);
    }

    fn polled(ctx: ?*anyopaque, _: i32, _: u32) callconv(.c) void {
        const transport: *Datagram = @ptrCast(@alignCast(ctx.?));
        Shard.current().?.acquireInterpreter();
        transport.sender.op = null;
        transport.list();
        py.Py_DecRef(transport.me());
    }

    /// Drops what waits. Idempotent.
    pub fn clear(self: *Sender) void {
        while (!self.isEmpty()) self.dropFirst();
        if (self.op) |op| if (Shard.current()) |shard| shard.cancelOp(op);
    }

    pub fn deinit(self: *Sender) void {
        while (!self.isEmpty()) self.dropFirst();
        self.items.deinit(gpa);
        api.drop(&self.address);
    }

    pub fn traverse(self: *const Sender, visit: api.Visit, arg: ?*anyopaque) c_int {
        return if (self.address) |one| visit(one, arg) else 0;
    }

    fn pauseProtocol(self: *Sender, transport: *Datagram) void {
        if (self.size <= self.high or self.protocol_paused) return;
        self.protocol_paused = true;
        callFlow(transport, "pause_writing");
    }

    fn resumeProtocol(self: *Sender, transport: *Datagram) void {
        if (!self.protocol_paused or self.size > self.low) return;
        self.protocol_paused = false;
        callFlow(transport, "resume_writing");
    }
};

/// In a callback that sends it is part of that; else it is one of its own.
fn callFlow(transport: *Datagram, comptime name: [:0]const u8) void {
    const loop = transport.loopOf();
    const method = py.PyObject_GetAttrString(transport.protocol orelse return, name) orelse
        return flowFailed(transport, name);
    defer py.Py_DecRef(method);
    if (loop.isRunningHere() and !loop.calling and !loop.enterContext(api.ref(transport.context.?)))
        return flowFailed(transport, name);
    var result = py.PyObject_CallObject(method, null);
    if (result == null) flowFailed(transport, name);
    api.drop(&result);
}

fn flowFailed(transport: *Datagram, comptime name: []const u8) void {
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (transport.loopOf().endsRun(exception)) return;
    const text = api.string("protocol." ++ name ++ "() failed") orelse return;
    defer py.Py_DecRef(text);
    var told = method_names.callMethod(transport.me(), &method_names.flow_failed, &.{ exception, text });
    if (told == null) py.PyErr_WriteUnraisable(transport.me());
    api.drop(&told);
}

/// One datagram. `failed` leaves the exception set.
fn transmit(transport: *Datagram, data: *Object, memory: []const u8, name: *const Name, address: ?*Object) SendResult {
    const named = name.len > 0;
    if (!named and !transport.connected) return transmitSlowly(transport, data, address);
    const target: ?*const linux.sockaddr = if (named and !transport.connected) @ptrCast(&name.bytes) else null;
    const length = if (target == null) 0 else name.len;
    while (true) {
        const rc = linux.sendto(transport.fd, memory.ptr, memory.len, flags, target, length);
        switch (linux.errno(rc)) {
            .SUCCESS => return .sent,
            .AGAIN => return .blocked,
            .INTR => {},
            else => |errno| {
                _ = raiseErrno(@backingInt(errno), null, null);
                return .failed;
            },
        }
    }
}

/// An address that Python's socket has to look at: a name, one that is wrong, or none.
fn transmitSlowly(transport: *Datagram, data: *Object, address: ?*Object) SendResult {
    const target = address orelse py._Py_NoneStruct;
    const answer = method_names.callMethod(transport.me(), &method_names.send_by_socket, &.{ data, target }) orelse
        return .failed;
    defer py.Py_DecRef(answer);
    return if (answer == py._Py_TrueStruct) .sent else .blocked;
}

/// Hands an OSError that is set to the protocol; false, with an exception set, if it is another, or if the
/// protocol raises.
fn tellFailed(transport: *Datagram) bool {
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_OSError.*) == 0) {
        api.raiseObject(exception);
        return false;
    }
    const protocol = transport.protocol orelse return true;
    const method = py.PyObject_GetAttrString(protocol, "error_received") orelse return false;
    defer py.Py_DecRef(method);
    const loop = transport.loopOf();
    if (loop.isRunningHere() and !loop.calling) {
        transport.callProtocol(method, &.{exception});
        return true;
    }
    var result = api.call(method, &.{api.ref(exception)});
    defer api.drop(&result);
    return result != null;
}

/// sendto(data, addr=None)
pub fn sendto(instance: *Object, args: [*]const *Object, count: isize, names: ?*Object) callconv(.c) ?*Object {
    const transport = Datagram.of(instance);
    const given = argumentsOf(args, @intCast(count), names) orelse return null;
    var view: api.Buffer = .{};
    if (!stream_send.getView(given.data, &view)) return null;
    defer py.PyBuffer_Release(&view);
    const address = targetOf(transport, given.address) orelse return null;
    if (transport.lost > 0 or transport.loop == null) return afterEnd(transport);
    const memory = if (view.len > 0) view.buf.?[0..@intCast(view.len)] else "";
    const self = &transport.sender;
    const target: ?*Object = if (address == py._Py_NoneStruct) null else address;
    var parsed: Name = .{};
    const name: *const Name = nameOf(transport, target, &parsed);
    if (self.isEmpty()) switch (transmit(transport, given.data, memory, name, target)) {
        .sent => return api.none(),
        .failed => return failedNow(transport),
        .blocked => self.arm(transport),
    };
    if (transport.lost > 0) return api.none(); // No memory for the poll.
    if (!self.keep(given.data, memory, name, target)) return null;
    self.pauseProtocol(transport);
    return api.none();
}

const Given = struct { data: *Object, address: *Object };

fn argumentsOf(args: [*]const *Object, count: usize, names: ?*Object) ?Given {
    const keywords: usize = if (names) |tuple| @intCast(py.PyTuple_Size(tuple)) else 0;
    var data: ?*Object = if (count > 0) args[0] else null;
    var address: ?*Object = if (count > 1) args[1] else null;
    var wrong = count > 2;
    for (0..keywords) |i| {
        const word = py.PyTuple_GetItem(names.?, @intCast(i)).?;
        const place = if (py.PyUnicode_CompareWithASCIIString(word, "data") == 0)
            &data
        else if (py.PyUnicode_CompareWithASCIIString(word, "addr") == 0)
            &address
        else
            null;
        if (place == null or place.?.* != null) wrong = true else place.?.* = args[count + i];
    }
    if (wrong or data == null)
        return raiseNull(Given, py.PyExc_TypeError.*, "sendto() takes the arguments data and addr");
    return .{ .data = data.?, .address = address orelse py._Py_NoneStruct };
}

fn raiseNull(comptime T: type, class: *Object, text: [*:0]const u8) ?T {
    _ = api.raise(class, text);
    return null;
}

/// Borrowed, or None. A transport with a remote address sends nowhere else.
fn targetOf(transport: *Datagram, given: *Object) ?*Object {
    const fixed = transport.sender.address orelse return given;
    if (given == py._Py_NoneStruct or given == fixed) return fixed;
    const equal = py.PyObject_RichCompareBool(given, fixed, compare_equal);
    if (equal == 1) return fixed;
    if (equal < 0) return null;
    const shown = py.PyObject_Str(fixed) orelse return null;
    defer py.Py_DecRef(shown);
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(shown, &size) orelse return null;
    return api.raiseFormat(py.PyExc_ValueError.*, "Invalid address: must be None or {s}", .{
        api.clipped(text[0..@intCast(size)]),
    });
}

/// Py_EQ.
const compare_equal: c_int = 2;

/// An empty name: the socket's peer, or Python's socket has to look at the address.
fn nameOf(transport: *Datagram, address: ?*Object, parsed: *Name) *const Name {
    if (transport.connected) return parsed;
    const target = address orelse return parsed;
    if (transport.loopOf().known) |known| if (known.find(target)) |name| {
        if (name.family() == transport.family) return name;
    };
    if (!parsed.parse(transport.family, target)) parsed.len = 0;
    return parsed;
}

fn failedNow(transport: *Datagram) ?*Object {
    const exception = py.PyErr_Occurred().?;
    if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_OSError.*) != 0)
        return if (tellFailed(transport)) api.none() else null;
    transport.fatal(write_text);
    return api.none();
}

/// The transport is closed. Some programs go on for long: they are told once.
fn afterEnd(transport: *Datagram) ?*Object {
    if (transport.lost >= stream_send.lost_before_warning) {
        var result = method_names.callMethod(transport.me(), &method_names.write_lost, &.{});
        if (result == null) return null;
        api.drop(&result);
    }
    transport.lost += 1;
    return api.none();
}

pub fn bufferSize(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyLong_FromLongLong(@intCast(Datagram.of(instance).sender.size));
}

/// _set_limits(high, low): at once.
pub fn setLimits(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_set_limits", count, 2)) return null;
    const high = object.unsigned(args[0], "high", std.math.maxInt(i64)) orelse return null;
    const low = object.unsigned(args[1], "low", std.math.maxInt(i64)) orelse return null;
    const transport = Datagram.of(instance);
    transport.sender.high = @intCast(high);
    transport.sender.low = @intCast(low);
    if (transport.lost == 0 and transport.loop != null) transport.sender.pauseProtocol(transport);
    return api.none();
}

pub fn limits(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const sender = &Datagram.of(instance).sender;
    return stream_send.pairOf(sender.low, sender.high);
}
