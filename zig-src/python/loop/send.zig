//! How a stream sends. The first write of a turn goes out at once, if the socket takes it; those
//! that follow in the same turn go together at its end, in one call. Data that the socket does not
//! take waits until it is writable. Only the loop's thread uses this.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const loop_module = @import("loop.zig");
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const method_names = @import("method_names.zig");
const Stream = @import("stream.zig").Stream;
const gpa = loop_module.gpa;
const Object = api.Object;
const py = &api.py;

/// Pieces of one sendmsg.
const pieces_max = 64;
const high_default = 64 * 1024;
const fatal_text = "Fatal write error on socket transport";
/// asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES.
pub const lost_before_warning = 5;

/// Bytes objects, the first of them from an offset on.
pub const Sender = struct {
    pieces: std.ArrayList(*Object) = .empty,
    offset: usize = 0,
    /// Bytes that wait.
    size: usize = 0,
    high: usize = high_default,
    low: usize = high_default / 4,
    /// The poll for room.
    op: ?*Op = null,
    writable: bool = false,
    /// pause_writing() was called.
    protocol_paused: bool = false,
    eof: bool = false,
    /// sendfile waits for the buffer to be empty, or has it.
    watches_empty: bool = false,
    /// The turn of the last direct send.
    turn: u64 = 0,

    fn keep(self: *Sender, bytes: *Object, offset: usize) error{OutOfMemory}!void {
        try self.pieces.append(gpa, api.ref(bytes));
        if (self.pieces.items.len == 1) self.offset = offset;
        self.size += @as(usize, @intCast(py.PyBytes_Size(bytes))) - offset;
    }

    /// In a turn: flushes what was written in it, or what there is room for now.
    pub fn deliver(self: *Sender, stream: *Stream) void {
        if (self.size == 0 or stream.lost > 0) return;
        if (self.op != null and !self.writable) return;
        self.writable = false;
        self.flush(stream);
    }

    /// One sendmsg.
    pub fn flush(self: *Sender, stream: *Stream) void {
        if (self.op != null) return;
        var iovecs: [pieces_max]std.posix.iovec_const = undefined;
        const count = @min(self.pieces.items.len, pieces_max);
        for (self.pieces.items[0..count], 0..) |piece, i| {
            const from = if (i == 0) self.offset else 0;
            iovecs[i] = .{
                .base = py.PyBytes_AsString(piece).? + from,
                .len = @as(usize, @intCast(py.PyBytes_Size(piece))) - from,
            };
        }
        const message: linux.msghdr_const = .{
            .name = null,
            .namelen = 0,
            .iov = &iovecs,
            .iovlen = count,
            .control = null,
            .controllen = 0,
            .flags = 0,
        };
        const rc = linux.sendmsg(stream.fd, &message, linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL);
        switch (linux.errno(rc)) {
            .SUCCESS => self.sent(rc),
            .AGAIN, .INTR => {},
            else => |errno| return stream.fatalErrno(errno, fatal_text),
        }
        if (self.size > 0) self.arm(stream);
        self.resumeProtocol(stream);
        if (self.size == 0) self.emptied(stream);
    }

    fn sent(self: *Sender, count: usize) void {
        self.size -= count;
        var left = count + self.offset;
        var done: usize = 0;
        while (done < self.pieces.items.len) : (done += 1) {
            const length: usize = @intCast(py.PyBytes_Size(self.pieces.items[done]));
            if (left < length) break;
            left -= length;
        }
        self.offset = left;
        self.dropFirst(done);
    }

    fn dropFirst(self: *Sender, count: usize) void {
        for (self.pieces.items[0..count]) |piece| py.Py_DecRef(piece);
        std.mem.copyForwards(*Object, self.pieces.items, self.pieces.items[count..]);
        self.pieces.items.len -= count;
    }

    /// All was sent.
    fn emptied(self: *Sender, stream: *Stream) void {
        if (self.watches_empty) {
            var result = method_names.callMethod(stream.me(), &method_names.emptied, &.{});
            if (result == null) py.PyErr_WriteUnraisable(stream.me());
            api.drop(&result);
        }
        if (stream.closing) {
            if (stream.lost == 0) stream.scheduleLost(null);
        } else if (self.eof) _ = linux.shutdown(stream.fd, linux.SHUT.WR);
    }

    /// Waits for room.
    fn arm(self: *Sender, stream: *Stream) void {
        const shard = Shard.current() orelse return stream.list(); // Outside a run: in its first turn.
        if (self.op != null) return;
        const op = shard.ops.take(&stream.loopOf().task, shard) catch return stream.fatalErrno(.NOMEM, fatal_text);
        op.complete = completed;
        op.complete_ctx = stream;
        py.Py_IncRef(stream.me());
        self.op = op;
        var sqe: Sqe = undefined;
        sqe.prep_poll_add(stream.fd, linux.POLL.OUT);
        shard.launch(op, sqe);
    }

    fn completed(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const stream: *Stream = @ptrCast(@alignCast(ctx.?));
        Shard.current().?.acquireInterpreter();
        stream.sender.op = null;
        if (result != errors.negative(.CANCELED)) stream.sender.writable = true;
        stream.list();
        py.Py_DecRef(stream.me());
    }

    /// Drops what waits. Idempotent.
    pub fn clear(self: *Sender, _: *Stream) void {
        const count = self.pieces.items.len;
        self.size = 0;
        self.offset = 0;
        self.dropFirst(count);
        if (self.op) |op| if (Shard.current()) |shard| shard.cancelOp(op);
    }

    pub fn deinit(self: *Sender) void {
        self.dropFirst(self.pieces.items.len);
        self.pieces.deinit(gpa);
    }

    // ---- flow control ----

    fn pauseProtocol(self: *Sender, stream: *Stream) void {
        if (self.size <= self.high or self.protocol_paused) return;
        self.protocol_paused = true;
        callFlow(stream, "pause_writing");
    }

    fn resumeProtocol(self: *Sender, stream: *Stream) void {
        if (!self.protocol_paused or self.size > self.low) return;
        self.protocol_paused = false;
        callFlow(stream, "resume_writing");
    }

    fn callFlow(stream: *Stream, comptime name: [:0]const u8) void {
        const protocol = stream.protocol orelse return;
        const method = py.PyObject_GetAttrString(protocol, name);
        defer if (method) |one| py.Py_DecRef(one);
        // In a callback that writes it is part of that; else it is one of its own.
        const within = !stream.loopOf().isRunningHere() or stream.loopOf().calling;
        var result = if (method) |one|
            if (within) py.PyObject_CallObject(one, null) else stream.callProtocol(one, null)
        else
            null;
        defer api.drop(&result);
        if (result != null) return;
        const exception = api.takeException();
        defer py.Py_DecRef(exception);
        if (stream.loopOf().endsRun(exception)) return;
        const text = api.string("protocol." ++ name ++ "() failed") orelse return;
        defer py.Py_DecRef(text);
        var told = method_names.callMethod(stream.me(), &method_names.flow_failed, &.{ exception, text });
        if (told == null) py.PyErr_WriteUnraisable(stream.me());
        api.drop(&told);
    }

    /// Outside a run there is no end of a turn.
    fn mayGather(self: *const Sender, stream: *Stream, more: usize) bool {
        const loop = stream.loopOf();
        return loop.in_turn and self.turn == loop.turns and self.size + more <= self.high;
    }
};

/// False with the exception set, or null: nothing is to be sent.
fn mayWrite(stream: *Stream, comptime name: []const u8) ?bool {
    if (stream.sender.eof) {
        _ = api.raise(py.PyExc_RuntimeError.*, "Cannot call " ++ name ++ "() after write_eof()");
        return false;
    }
    if (stream.sender.watches_empty) {
        _ = api.raise(py.PyExc_RuntimeError.*, "unable to " ++ name ++ "; sendfile is in progress");
        return false;
    }
    if (stream.lost == 0 and stream.loop != null) return true;
    if (stream.lost >= lost_before_warning) {
        var result = method_names.callMethod(stream.me(), &method_names.write_lost, &.{});
        if (result == null) return false;
        api.drop(&result);
    }
    stream.lost += 1;
    return null;
}

/// write(data)
pub fn write(instance: *Object, data: *Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    var view: api.Buffer = .{};
    if (!getView(data, &view)) return null;
    defer py.PyBuffer_Release(&view);
    if (view.len == 0 and !stream.sender.eof) return api.none();
    const may = mayWrite(stream, "write") orelse return api.none();
    if (!may) return null;
    const memory = view.buf.?[0..@intCast(view.len)];
    const self = &stream.sender;
    if (self.size > 0 or self.mayGather(stream, memory.len)) {
        if (!keepCopy(stream, data, memory, 0)) return null;
        if (self.op == null) {
            if (self.mayGather(stream, 0)) stream.listDirty() else self.flush(stream);
        }
        if (stream.lost == 0) self.pauseProtocol(stream);
        return api.none();
    }
    self.turn = stream.loopOf().turns;
    const rc = linux.sendto(stream.fd, memory.ptr, memory.len, linux.MSG.DONTWAIT | linux.MSG.NOSIGNAL, null, 0);
    const count: usize = switch (linux.errno(rc)) {
        .SUCCESS => rc,
        .AGAIN, .INTR => 0,
        else => |errno| {
            stream.fatalErrno(errno, fatal_text);
            return api.none();
        },
    };
    if (count == memory.len) return api.none();
    if (!keepCopy(stream, data, memory, count)) return null;
    self.arm(stream);
    self.pauseProtocol(stream);
    return api.none();
}

/// A bytes object is kept as it is, anything else is copied: its owner may change it.
fn keepCopy(stream: *Stream, data: *Object, memory: []const u8, offset: usize) bool {
    const class = py.PyObject_Type(data);
    py.Py_DecRef(class);
    const self = &stream.sender;
    if (class == py.PyBytes_Type) {
        self.keep(data, offset) catch return noMemory();
        return true;
    }
    const left = memory[offset..];
    const bytes = py.PyBytes_FromStringAndSize(left.ptr, @intCast(left.len)) orelse return false;
    defer py.Py_DecRef(bytes);
    self.keep(bytes, 0) catch return noMemory();
    return true;
}

fn noMemory() bool {
    _ = py.PyErr_NoMemory();
    return false;
}

pub fn getView(data: *Object, view: *api.Buffer) bool {
    if (py.PyObject_GetBuffer(data, view, api.buffer_simple) == 0) return true;
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (py.PyErr_GivenExceptionMatches(exception, py.PyExc_TypeError.*) == 0) {
        api.raiseObject(exception);
        return false;
    }
    const class = py.PyObject_Type(data);
    defer py.Py_DecRef(class);
    const name = py.PyObject_GetAttrString(class, "__name__") orelse return false;
    defer py.Py_DecRef(name);
    const shown = py.PyObject_Repr(name) orelse return false;
    defer py.Py_DecRef(shown);
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(shown, &size) orelse return false;
    _ = api.raiseFormat(py.PyExc_TypeError.*, "data argument must be a bytes-like object, not {s}", .{
        api.clipped(text[0..@intCast(size)]),
    });
    return false;
}

/// writelines(list_of_data): one call for all of them.
pub fn writelines(instance: *Object, lines: *Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    const may = mayWrite(stream, "writelines") orelse return api.none();
    if (!may) return null;
    const items = py.PySequence_List(lines) orelse return null;
    defer py.Py_DecRef(items);
    const self = &stream.sender;
    const count = py.PyList_Size(items);
    var i: isize = 0;
    while (i < count) : (i += 1) {
        const data = py.PyList_GetItem(items, i).?;
        var view: api.Buffer = .{};
        if (!getView(data, &view)) return null;
        defer py.PyBuffer_Release(&view);
        if (view.len == 0) continue;
        if (!keepCopy(stream, data, view.buf.?[0..@intCast(view.len)], 0)) return null;
    }
    if (self.size == 0) return api.none();
    if (self.op == null) {
        if (self.mayGather(stream, 0)) stream.listDirty() else {
            self.turn = stream.loopOf().turns;
            self.flush(stream);
        }
    }
    if (stream.lost == 0) self.pauseProtocol(stream);
    return api.none();
}

/// write_eof(): the sending half is closed when all was sent.
pub fn writeEof(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    if (stream.closing or stream.sender.eof) return api.none();
    stream.sender.eof = true;
    if (stream.sender.size == 0) _ = linux.shutdown(stream.fd, linux.SHUT.WR);
    return api.none();
}

pub fn bufferSize(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    return py.PyLong_FromLongLong(@intCast(Stream.of(instance).sender.size));
}

/// _set_limits(high, low): at once.
pub fn setLimits(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_set_limits", count, 2)) return null;
    const high = object.unsigned(args[0], "high", std.math.maxInt(i64)) orelse return null;
    const low = object.unsigned(args[1], "low", std.math.maxInt(i64)) orelse return null;
    const stream = Stream.of(instance);
    stream.sender.high = @intCast(high);
    stream.sender.low = @intCast(low);
    if (stream.lost == 0 and stream.loop != null) stream.sender.pauseProtocol(stream);
    return api.none();
}

pub fn limits(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const sender = &Stream.of(instance).sender;
    return pairOf(sender.low, sender.high);
}

/// (low, high)
pub fn pairOf(low: usize, high: usize) ?*Object {
    const tuple = py.PyTuple_New(2) orelse return null;
    for ([_]usize{ low, high }, 0..) |mark, i| {
        const number = py.PyLong_FromLongLong(@intCast(mark)) orelse {
            py.Py_DecRef(tuple);
            return null;
        };
        _ = py.PyTuple_SetItem(tuple, @intCast(i), number);
    }
    return tuple;
}

/// _watch_empty(enabled): `_emptied` is called when nothing waits any more, and writes are refused.
pub fn watchEmpty(instance: *Object, enabled: *Object) callconv(.c) ?*Object {
    const truth = py.PyObject_IsTrue(enabled);
    if (truth < 0) return null;
    Stream.of(instance).sender.watches_empty = truth == 1;
    return api.none();
}
