//! How a stream receives. Many connections with small messages share the shard's provided buffers:
//! one multishot receive each, and no memory while they wait. A flow that fills several of them in
//! a row is read by recv(2) into the loop's large buffer when it is ready, which copies less; short
//! reads switch back. The data is delivered in the loop's turn, never from the completion.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const buffers = @import("../../ring/provided_buffers.zig");
const Loop = @import("loop.zig").Loop;
const loop_module = @import("loop.zig");
const loop_helpers = &@import("handle.zig").loop_helpers;
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const object = @import("../cpython/object.zig");
const reader = @import("reader.zig");
const Stream = @import("stream.zig").Stream;
const gpa = loop_module.gpa;
const Object = api.Object;
const py = &api.py;

/// The loop's buffer for large flows.
pub const large_bytes = 256 * 1024;
/// So many full buffers in a row are a large flow; so many short reads are none.
const full_before_large = 4;
const short_before_small = 8;

const read_text = "Fatal read error on socket transport";
const feed_text = "Fatal error: protocol.data_received() call failed.";

const Chunk = union(enum) {
    provided: struct { id: u16, size: u32 },
    /// Owned: of a stream that was paused when it had come.
    bytes: *Object,
};

const Mode = enum(u8) { small, large };

pub const Receiver = struct {
    /// The multishot receive, or the poll.
    op: ?*Op = null,
    mode: Mode = .small,
    started: bool = false,
    paused: bool = false,
    /// The end was delivered; with keep_open the transport may still write.
    ended: bool = false,
    /// The provided buffers were used up: the socket is polled once.
    poll_once: bool = false,
    /// The descriptor is ready, in large mode.
    ready: bool = false,
    /// The last read filled the large buffer.
    filled: bool = false,
    /// Full buffers or short reads in a row.
    streak: u8 = 0,
    /// How the operation ended, if that is still to be told: 0 is the end of the stream.
    last: ?i32 = null,
    chunks: std.ArrayList(Chunk) = .empty,
    /// The first that was not handed over.
    next: usize = 0,
    /// Bound methods of the protocol: data_received, or the two of a BufferedProtocol.
    received: ?*Object = null,
    get_buffer: ?*Object = null,
    updated: ?*Object = null,
    /// A weak reference to an asyncio reader, which gets the data without the protocol.
    reader: ?*Object = null,
    reader_limit: usize = 0,
    /// Its bytearray.
    reader_buffer: ?*Object = null,
    /// It has an exception, or its end.
    reader_changed: bool = false,
    /// The future of a `read` that waits.
    read_waiter: ?*Object = null,

    pub fn setProtocol(self: *Receiver, protocol: *Object) bool {
        const buffered = py.PyObject_IsInstance(protocol, loop_helpers.BufferedProtocol);
        if (buffered < 0) return false;
        self.forgetProtocol();
        if (buffered == 1) {
            self.get_buffer = py.PyObject_GetAttrString(protocol, "get_buffer") orelse return false;
            self.updated = py.PyObject_GetAttrString(protocol, "buffer_updated") orelse return false;
        } else {
            // A protocol without it is told when something comes, as in asyncio.
            self.received = py.PyObject_GetAttrString(protocol, "data_received");
            if (self.received == null) py.PyErr_Clear();
        }
        return true;
    }

    pub fn forgetProtocol(self: *Receiver) void {
        api.drop(&self.received);
        api.drop(&self.get_buffer);
        api.drop(&self.updated);
        api.drop(&self.reader); // The buffer stays, for a `read` under way.
    }

    fn wants(self: *const Receiver, stream: *const Stream) bool {
        return self.started and !self.paused and !self.ended and !stream.closing;
    }

    /// At the end of a poll of the loop, on its shard.
    pub fn arm(self: *Receiver, stream: *Stream) void {
        if (self.op != null or self.last != null or !self.wants(stream) or self.holds()) return;
        const shard = Shard.current().?;
        const op = shard.ops.take(&stream.loopOf().task, shard) catch
            return stream.fatalErrno(.NOMEM, read_text);
        var sqe: Sqe = undefined;
        const multishot = self.mode == .small and !self.poll_once and shard.scheduler.info.can().recv_multishot;
        if (multishot and shard.providedBuffers() != null) {
            sqe.prep_recv_multishot(stream.fd, &.{}, 0);
            sqe.flags |= linux.IOSQE_BUFFER_SELECT;
            sqe.buf_index = buffers.group;
            op.selects_buffer = true;
            op.on_multishot = arrived;
        } else {
            sqe.prep_poll_add(stream.fd, linux.POLL.IN);
        }
        op.complete = completed;
        op.complete_ctx = stream;
        py.Py_IncRef(stream.me()); // The operation's, given back at its end.
        self.op = op;
        shard.launch(op, sqe);
    }

    /// A multishot receive has more; maybe outside the interpreter.
    fn arrived(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
        const stream: *Stream = @ptrCast(@alignCast(ctx.?));
        stream.receiver.keep(stream, result, cqe_flags);
        Shard.wake(&stream.loopOf().task);
    }

    fn keep(self: *Receiver, stream: *Stream, result: i32, cqe_flags: u32) void {
        const id = buffers.idOf(cqe_flags) orelse return;
        const shard = Shard.current().?;
        const unwanted = result <= 0 or stream.lost > 0 or stream.loopOf().closed;
        if (unwanted) return shard.buffers.ready.giveBack(id);
        // Most connections have one at a time: memory for one only.
        if (self.chunks.capacity == 0) self.chunks.ensureTotalCapacityPrecise(gpa, 1) catch outOfMemory();
        self.chunks.append(gpa, .{ .provided = .{ .id = id, .size = @intCast(result) } }) catch outOfMemory();
        if (self.paused) self.settle();
        shard.acquireInterpreter();
        stream.list();
    }

    fn outOfMemory() noreturn {
        @panic("spargio: no memory to keep what came");
    }

    /// The operation has ended, once.
    fn completed(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
        const stream: *Stream = @ptrCast(@alignCast(ctx.?));
        const self = &stream.receiver;
        const was_multishot = self.op.?.on_multishot != null;
        self.op = null;
        Shard.current().?.acquireInterpreter();
        if (was_multishot) {
            self.keep(stream, result, cqe_flags);
            switch (result) {
                // Cut, or the buffers are used up: armed again, or read by hand once.
                1...std.math.maxInt(i32) => {},
                errors.negative(.NOBUFS) => self.poll_once = true,
                errors.negative(.CANCELED), errors.negative(.INTR) => {},
                else => self.last = result,
            }
        } else if (result != errors.negative(.CANCELED)) self.ready = true;
        stream.list();
        py.Py_DecRef(stream.me());
    }

    // ---- delivery, in a turn ----

    pub fn deliver(self: *Receiver, stream: *Stream) void {
        const had = self.holds();
        while (self.holds() and self.wants(stream)) {
            const chunk = self.chunks.items[self.next];
            self.next += 1; // Before the call, which may pause or close.
            const size = self.hand(stream, chunk);
            if (self.mode == .small and chunk == .provided) self.countFull(stream, size);
        }
        if (stream.closing) self.drop(stream);
        if (!self.holds()) {
            self.chunks.clearRetainingCapacity();
            self.next = 0;
            if (self.ready and self.wants(stream)) self.read(stream);
            // The end comes in a turn of its own, as from a socket that is read turn by turn.
            if (self.last) |result| if (self.wants(stream)) {
                if (had) stream.list() else self.finish(stream, result);
            };
        }
        if (stream.closing) return;
        self.arm(stream);
    }

    fn holds(self: *const Receiver) bool {
        return self.next < self.chunks.items.len;
    }

    fn hand(self: *Receiver, stream: *Stream, chunk: Chunk) usize {
        switch (chunk) {
            .bytes => |bytes| {
                defer py.Py_DecRef(bytes);
                const size: usize = @intCast(py.PyBytes_Size(bytes));
                if (self.received) |method|
                    self.give(stream, method, bytes)
                else
                    self.giveInto(stream, py.PyBytes_AsString(bytes).?[0..size]);
                return size;
            },
            .provided => |piece| {
                const shard = Shard.current().?;
                const memory = shard.buffers.ready.all(piece.id)[0..piece.size];
                if (self.reader) |reference| {
                    const fed = reader.feed(stream, reference, memory);
                    shard.buffers.ready.giveBack(piece.id);
                    if (!fed) stream.fatal(feed_text);
                    return piece.size;
                }
                if (self.received == null) {
                    self.giveInto(stream, memory);
                    shard.buffers.ready.giveBack(piece.id);
                    return piece.size;
                }
                const bytes = py.PyBytes_FromStringAndSize(memory.ptr, @intCast(memory.len));
                shard.buffers.ready.giveBack(piece.id);
                const data = bytes orelse {
                    stream.fatal(read_text);
                    return piece.size;
                };
                defer py.Py_DecRef(data);
                self.give(stream, self.received.?, data);
                return piece.size;
            },
        }
    }

    fn give(_: *Receiver, stream: *Stream, method: *Object, data: *Object) void {
        var result = stream.callProtocol(method, data);
        if (result == null) return stream.fatal("Fatal error: protocol.data_received() call failed.");
        api.drop(&result);
    }

    /// To a BufferedProtocol, in as many pieces as its buffers ask for.
    fn giveInto(self: *Receiver, stream: *Stream, memory: []const u8) void {
        var left = memory;
        while (left.len > 0 and stream.lost == 0) {
            var view: api.Buffer = .{};
            if (!self.getBuffer(stream, left.len, &view)) return;
            const count = @min(left.len, @as(usize, @intCast(view.len)));
            @memcpy(view.buf.?[0..count], left[0..count]);
            py.PyBuffer_Release(&view);
            left = left[count..];
            if (!self.tellUpdated(stream, count)) return;
            // It may have become an ordinary protocol meanwhile.
            if (self.received) |method| return self.giveRest(stream, method, left);
        }
    }

    fn giveRest(self: *Receiver, stream: *Stream, method: *Object, left: []const u8) void {
        if (left.len == 0) return;
        const data = py.PyBytes_FromStringAndSize(left.ptr, @intCast(left.len)) orelse
            return stream.fatal(read_text);
        defer py.Py_DecRef(data);
        self.give(stream, method, data);
    }

    fn getBuffer(self: *Receiver, stream: *Stream, hint: usize, view: *api.Buffer) bool {
        const method = self.get_buffer orelse {
            _ = api.raise(py.PyExc_RuntimeError.*, "the protocol has neither data_received() nor get_buffer()");
            stream.fatal("Fatal error: protocol.data_received() call failed.");
            return false;
        };
        const number = py.PyLong_FromLongLong(@intCast(hint));
        defer if (number) |one| py.Py_DecRef(one);
        var given = if (number) |one| stream.callProtocol(method, one) else null;
        defer api.drop(&given);
        const failed = given == null or py.PyObject_GetBuffer(given.?, view, api.buffer_writable) != 0;
        if (!failed and view.len > 0) return true;
        if (!failed) {
            py.PyBuffer_Release(view);
            _ = api.raise(py.PyExc_RuntimeError.*, "get_buffer() returned an empty buffer");
        }
        stream.fatal("Fatal error: protocol.get_buffer() call failed.");
        return false;
    }

    fn tellUpdated(self: *Receiver, stream: *Stream, count: usize) bool {
        const method = self.updated orelse return false;
        const number = py.PyLong_FromLongLong(@intCast(count));
        defer if (number) |one| py.Py_DecRef(one);
        var result = if (number) |one| stream.callProtocol(method, one) else null;
        if (result == null) {
            stream.fatal("Fatal error: protocol.buffer_updated() call failed.");
            return false;
        }
        api.drop(&result);
        return true;
    }

    /// The stream is at its end, or it broke.
    fn finish(self: *Receiver, stream: *Stream, result: i32) void {
        self.last = null;
        if (result < 0) {
            const errno: linux.E = errors.ofResult(result);
            return stream.fatalErrno(errno, read_text);
        }
        self.ended = true;
        const method = py.PyObject_GetAttrString(stream.protocol.?, "eof_received");
        defer if (method) |one| py.Py_DecRef(one);
        var answer = if (method) |one| stream.callProtocol(one, null) else null;
        if (answer == null) return stream.fatal("Fatal error: protocol.eof_received() call failed.");
        const keeps_open = py.PyObject_IsTrue(answer.?);
        api.drop(&answer);
        if (keeps_open <= 0) stream.closeNow();
    }

    // ---- large flows ----

    fn countFull(self: *Receiver, stream: *Stream, size: usize) void {
        self.streak = if (size == buffers.size) self.streak + 1 else 0;
        if (self.streak < full_before_large) return;
        self.streak = 0;
        self.mode = .large;
        if (self.op) |op| Shard.current().?.cancelOp(op);
        _ = stream;
    }

    /// recv(2), once per turn: others are waiting too.
    fn read(self: *Receiver, stream: *Stream) void {
        self.ready = false;
        self.poll_once = false;
        if (self.received == null) return self.readInto(stream);
        if (self.filled and self.reader == null) return self.readLarge(stream);
        const memory = stream.loopOf().largeBuffer() orelse
            return stream.fatalErrno(.NOMEM, read_text);
        const count = self.receiveNow(stream, memory) orelse return;
        if (self.reader) |reference| {
            if (!reader.feed(stream, reference, memory[0..count])) stream.fatal(feed_text);
            return;
        }
        const data = py.PyBytes_FromStringAndSize(memory.ptr, @intCast(count)) orelse
            return stream.fatal(read_text);
        defer py.Py_DecRef(data);
        self.give(stream, self.received.?, data);
    }

    /// The kernel writes into the object that the protocol gets: a copy less. Not for less than a whole
    /// buffer: to give back what is too much of an object costs more than the copy.
    fn readLarge(self: *Receiver, stream: *Stream) void {
        var data = py.PyBytes_FromStringAndSize(null, large_bytes);
        defer api.drop(&data);
        const room = py.PyBytes_AsString(data orelse return stream.fatal(read_text)).?;
        const count = self.receiveNow(stream, room[0..large_bytes]) orelse return;
        if (count < large_bytes and py._PyBytes_Resize(&data, @intCast(count)) != 0) return stream.fatal(read_text);
        self.give(stream, self.received.?, data.?);
    }

    fn readInto(self: *Receiver, stream: *Stream) void {
        var view: api.Buffer = .{};
        if (!self.getBuffer(stream, large_bytes, &view)) return;
        const count = self.receiveNow(stream, view.buf.?[0..@intCast(view.len)]);
        py.PyBuffer_Release(&view);
        if (count) |n| _ = self.tellUpdated(stream, n);
    }

    /// Null if nothing is to be given: not ready after all, the end, or an error.
    fn receiveNow(self: *Receiver, stream: *Stream, memory: []u8) ?usize {
        const rc = linux.recvfrom(stream.fd, memory.ptr, memory.len, linux.MSG.DONTWAIT, null, null);
        switch (linux.errno(rc)) {
            .SUCCESS => {},
            .AGAIN, .INTR => return null,
            else => |errno| {
                stream.fatalErrno(errno, read_text);
                return null;
            },
        }
        if (rc == 0) {
            self.finish(stream, 0);
            return null;
        }
        self.filled = rc == memory.len;
        if (self.filled) { // There is more, most likely: in the next turn.
            self.ready = true;
            stream.list();
        }
        self.countShort(rc);
        return rc;
    }

    fn countShort(self: *Receiver, size: usize) void {
        self.streak = if (size <= buffers.size) self.streak + 1 else 0;
        if (self.streak < short_before_small) return;
        self.streak = 0;
        self.filled = false;
        self.mode = .small;
    }

    // ---- pause, stop ----

    /// Buffers of the shard are few: what a paused stream has moves into memory of its own.
    pub fn settle(self: *Receiver) void {
        const shard = Shard.current() orelse return;
        shard.acquireInterpreter();
        for (self.chunks.items[self.next..]) |*chunk| switch (chunk.*) {
            .bytes => {},
            .provided => |piece| {
                const memory = shard.buffers.ready.all(piece.id)[0..piece.size];
                const bytes = py.PyBytes_FromStringAndSize(memory.ptr, @intCast(memory.len)) orelse {
                    py.PyErr_Clear(); // It stays in the buffer.
                    continue;
                };
                shard.buffers.ready.giveBack(piece.id);
                chunk.* = .{ .bytes = bytes };
            },
        };
    }

    /// The buffers are of the loop's shard: with the shard they went too, and another one has its own.
    fn drop(self: *Receiver, stream: *const Stream) void {
        const own = if (stream.loop) |loop| Loop.of(loop).shard else null;
        while (self.holds()) {
            const chunk = self.chunks.items[self.next];
            self.next += 1;
            switch (chunk) {
                .bytes => |bytes| py.Py_DecRef(bytes),
                .provided => |piece| if (own) |shard| {
                    if (Shard.current() == shard) shard.buffers.ready.giveBack(piece.id);
                },
            }
        }
    }

    /// Nothing more is delivered. Idempotent.
    pub fn stop(self: *Receiver, stream: *Stream) void {
        _ = stream;
        const shard = Shard.current() orelse return; // The loop does not run: the end of its task ends it.
        if (self.op) |op| shard.cancelOp(op);
    }

    pub fn deinit(self: *Receiver, stream: *const Stream) void {
        self.drop(stream);
        self.chunks.deinit(gpa);
        self.forgetProtocol();
        api.drop(&self.reader_buffer);
        api.drop(&self.read_waiter);
    }
};

/// _feed(reference, buffer, limit)
pub fn feedReader(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_feed", count, 3)) return null;
    const limit = object.unsigned(args[2], "limit", std.math.maxInt(i64) / 4) orelse return null;
    const self = &Stream.of(instance).receiver;
    api.drop(&self.reader);
    self.reader = api.ref(args[0]);
    api.drop(&self.reader_buffer);
    self.reader_buffer = api.ref(args[1]);
    self.reader_changed = false;
    self.reader_limit = @intCast(limit);
    return api.none();
}

/// _start_reading(): scheduled behind connection_made().
pub fn start(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    stream.receiver.started = true;
    if (!stream.closing and stream.loop != null) stream.list();
    return api.none();
}

pub fn pause(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    if (stream.closing or stream.receiver.paused) return api.none();
    stream.receiver.paused = true;
    stream.receiver.stop(stream);
    stream.receiver.settle();
    return api.none();
}

pub fn resume_(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    if (stream.closing or !stream.receiver.paused) return api.none();
    stream.receiver.paused = false;
    stream.list();
    stream.loopOf().wake();
    return api.none();
}

pub fn isReading(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const stream = Stream.of(instance);
    return py.PyBool_FromLong(@intFromBool(!stream.closing and !stream.receiver.paused));
}
