//! An operation that Python describes field by field: for everything that is not called often enough
//! to have code of its own in operation.zig. It holds what the kernel reads and writes until it is done.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const forgotten = @import("../cpython/forgotten.zig");
const fs = @import("../../ops/fs.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const single_await = @import("single_await.zig");
const retry = @import("retry.zig");
const shown = @import("shown.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("descriptor.zig").Descriptor;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

/// What becomes of the kernel's result.
const ResultKind = enum(u8) { number, file, socket, message };

const GenericOp = struct {
    state: single_await.State,
    outcome: ResultKind,
    /// Counted in at the descriptor.
    counted: bool,
    /// The stream is this operation's to write to, until it has ended.
    claimed: bool,
    descriptor: ?*Object,
    /// What an OSError calls it; null for none.
    name: ?*Object,
    sqe: Sqe,
    /// Exports of what `off` and `addr` point to, and of the control data of a message.
    views: [3]api.Buffer,
    vector: Vector,
    header: linux.msghdr,

    pub const Type = object.TypeOf(GenericOp);

    pub const noun = "an operation";

    pub fn isShielded(_: *const GenericOp) bool {
        return false;
    }

    pub fn mayBegin(_: *const GenericOp) bool {
        return true;
    }

    pub fn cancelledBefore(_: *GenericOp, me: *PyTask) ?*Object {
        return me.raiseCancel();
    }

    pub fn awaitedBefore(self: *const GenericOp) ?*Object {
        return shown.raiseAwaitedBefore(self.opcodeName(), self.descriptor);
    }

    pub fn begin(self: *GenericOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        if (self.descriptor) |d| {
            const descriptor = Descriptor.Type.body(d);
            if (!descriptor.acquire()) {
                self.state = .finished;
                return null;
            }
            self.counted = true;
            if (self.sqe.opcode == .SENDMSG and !descriptor.claimWriter(me, &self.claimed)) {
                self.finish();
                return null;
            }
            self.sqe.fd = descriptor.fd;
        }
        return self.fly(me, instance, suspended);
    }

    pub fn completed(self: *GenericOp, me: *PyTask, op: *CoreOp, instance: *Object, suspended: *bool) ?*Object {
        const result = Shard.current().?.ops.consume(op);
        me.op = null;
        if (result >= 0) return self.succeeded(me, @intCast(result));
        return self.failed(me, instance, -result, suspended);
    }

    fn fly(self: *GenericOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const shard = Shard.current().?;
        const op = shard.ops.take(&me.task, shard) catch {
            self.finish();
            return py.PyErr_NoMemory();
        };
        if (self.outcome == .file or self.outcome == .socket) op.unclaimed = .close_descriptor;
        if (self.counted) op.descriptor_users = &Descriptor.Type.body(self.descriptor.?).users;
        if (self.transferred()) |bytes| fs.launchTransfer(shard, op, &self.sqe, bytes) else shard.launch(op, self.sqe);
        suspended.* = true;
        return me.suspendForOp(op, instance, false);
    }

    /// How many bytes of a file it is for; null if it is something else.
    fn transferred(self: *const GenericOp) ?usize {
        return switch (self.sqe.opcode) {
            .READ, .WRITE => self.sqe.len,
            .READV, .WRITEV => fs.total(self.vector.entries),
            else => null,
        };
    }

    fn succeeded(self: *GenericOp, me: *PyTask, count: usize) ?*Object {
        // A close elsewhere ends a receive as the end of the stream would, but is not its end.
        if (self.outcome == .message and count == 0 and self.isClosing()) {
            self.finish();
            if (me.cancelWanted()) return me.raiseCancel();
            return Descriptor.Type.body(self.descriptor.?).raiseClosedMeanwhile();
        }
        const value = switch (self.outcome) {
            .number => py.PyLong_FromLongLong(@intCast(count)),
            .file => Descriptor.create(@intCast(count), .file, self.name),
            .socket => Descriptor.create(@intCast(count), .stream, null),
            .message => self.messageOf(count),
        };
        self.finish();
        return value;
    }

    /// (bytes, length of the address, length of the control data, flags)
    fn messageOf(self: *GenericOp, count: usize) ?*Object {
        const tuple = py.PyTuple_New(4) orelse return null;
        const parts = [_]u64{ count, self.header.namelen, self.header.controllen, self.header.flags };
        for (parts, 0..) |part, i| {
            const number = py.PyLong_FromUnsignedLongLong(part) orelse {
                py.Py_DecRef(tuple);
                return null;
            };
            _ = py.PyTuple_SetItem(tuple, @intCast(i), number);
        }
        return tuple;
    }

    fn failed(self: *GenericOp, me: *PyTask, instance: *Object, errno: i32, suspended: *bool) ?*Object {
        const closed = self.isClosing();
        const next = retry.next(errno, me, false, false);
        if (next == .cancel or (closed and me.cancelWanted())) {
            self.finish();
            return me.raiseCancel();
        }
        if (next == .again and !closed) return self.fly(me, instance, suspended);
        const filename = if (self.name) |n| api.ref(n) else null;
        defer if (filename) |f| py.Py_DecRef(f);
        self.finish();
        if (closed) return Descriptor.Type.body(self.descriptor.?).raiseClosedMeanwhile();
        return callbacks.raiseErrno(errno, null, filename);
    }

    fn opcodeName(self: *const GenericOp) []const u8 {
        return std.enums.tagName(linux.IORING_OP, self.sqe.opcode) orelse "of no name";
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return shown.ofOperation("Operation", self.opcodeName(), self.descriptor, single_await.seen(&self.state));
    }

    fn isClosing(self: *const GenericOp) bool {
        return if (self.descriptor) |d| Descriptor.Type.body(d).isClosing() else false;
    }

    /// The kernel is done with it, for good.
    pub fn finish(self: *GenericOp) void {
        self.state = .finished;
        if (self.counted) {
            self.counted = false;
            if (self.claimed) Descriptor.Type.body(self.descriptor.?).endWriter();
            Descriptor.Type.body(self.descriptor.?).release();
        }
        for (&self.views) |*view| if (view.obj != null) py.PyBuffer_Release(view);
        self.vector.release();
        api.drop(&self.name);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.state == .new) {
            var text: [shown.room]u8 = undefined;
            forgotten.warn(instance, shown.operation(&text, "operation ", self.opcodeName(), self.descriptor));
        } else forgotten.used(instance);
        self.finish(); // While the kernel has it the task holds a reference.
        api.drop(&self.descriptor);
        Type.free(instance, false);
    }

    // ---- what it is made of ----

    /// A number, None, or a buffer, which is exported as view `index`.
    fn pointer(self: *GenericOp, index: usize, given: *Object) ?u64 {
        if (given == py._Py_NoneStruct) return 0;
        const view = &self.views[index];
        if (py.PyObject_GetBuffer(given, view, api.buffer_simple) == 0) return @intFromPtr(view.buf);
        view.obj = null;
        py.PyErr_Clear();
        const number = py.PyLong_AsUnsignedLongLong(given);
        return if (py.PyErr_Occurred() != null) null else number;
    }

    /// A number is used as it is; our open file or socket is held open meanwhile.
    fn target(self: *GenericOp, given: *Object) bool {
        if (Descriptor.Type.is(given)) {
            self.descriptor = api.ref(given);
            return true;
        }
        self.sqe.fd = @intCast(integer(given, "fd", std.math.minInt(i32), std.math.maxInt(i32)) orelse return false);
        return true;
    }

    /// It was not made after all.
    fn abandon(self: *GenericOp) ?*Object {
        self.state = .finished;
        py.Py_DecRef(Type.objectOf(self));
        return null;
    }
};

/// The buffers of a vectored operation, and what the kernel gets to know of them.
const Vector = struct {
    entries: []std.posix.iovec,
    views: []api.Buffer,

    /// False with an exception set.
    fn fill(self: *Vector, tuple: *Object) bool {
        const count: usize = @intCast(py.PyTuple_Size(tuple));
        self.entries = gpa.alloc(std.posix.iovec, count) catch {
            _ = py.PyErr_NoMemory();
            return false;
        };
        self.views = gpa.alloc(api.Buffer, count) catch {
            _ = py.PyErr_NoMemory();
            return false;
        };
        @memset(self.views, .{});
        for (self.entries, self.views, 0..) |*entry, *view, i| {
            if (!object.getBuffer(py.PyTuple_GetItem(tuple, @intCast(i)).?, view, api.buffer_simple)) return false;
            entry.* = .{ .base = view.buf orelse @ptrCast(entry), .len = @intCast(view.len) };
        }
        return true;
    }

    fn release(self: *Vector) void {
        for (self.views) |*view| if (view.obj != null) py.PyBuffer_Release(view);
        gpa.free(self.views);
        gpa.free(self.entries);
        self.* = .{ .entries = &.{}, .views = &.{} };
    }
};

fn create() ?*GenericOp {
    const instance = GenericOp.Type.create() orelse return null;
    forgotten.made(instance);
    const self = GenericOp.Type.body(instance);
    self.vector = .{ .entries = &.{}, .views = &.{} };
    self.sqe = std.mem.zeroes(Sqe);
    return self;
}

fn isTuple(given: *Object) bool {
    return py.PyObject_IsInstance(given, py.PyTuple_Type) == 1;
}

fn integer(given: *Object, comptime name: []const u8, min: i64, max: i64) ?i64 {
    const value = object.integer(given, name) orelse return null;
    if (value < min or value > max) {
        _ = api.raiseFormat(py.PyExc_ValueError.*, "{s} must be between {d} and {d}, got {d}", .{
            name, min, max, value,
        });
        return null;
    }
    return value;
}

/// submit(opcode, fd, off, addr, length, op_flags, extra, name, outcome)
/// `off` and `addr`: numbers, None or buffers; `addr` may be a tuple of buffers (readv, writev) and
/// `length` None is that of `addr`. `extra` is the field of splice_fd_in and file_index.
pub fn submit(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("submit", count, 9)) return null;
    const opcode = object.unsigned(arguments[0], "opcode", std.math.maxInt(u8)) orelse return null;
    const op_flags = object.unsigned(arguments[5], "op_flags", std.math.maxInt(u32)) orelse return null;
    const extra = integer(arguments[6], "extra", std.math.minInt(i32), std.math.maxInt(i32)) orelse return null;
    const outcome = object.unsigned(arguments[8], "outcome", @backingInt(ResultKind.socket)) orelse return null;
    const self = create() orelse return null;
    self.outcome = @fromBackingInt(@intCast(outcome));
    self.sqe.opcode = @fromBackingInt(@intCast(opcode));
    self.sqe.rw_flags = @bitCast(@as(u32, @intCast(op_flags)));
    self.sqe.splice_fd_in = @intCast(extra);
    if (arguments[7] != py._Py_NoneStruct) self.name = api.ref(arguments[7]);
    if (!self.target(arguments[1])) return self.abandon();
    self.sqe.off = self.pointer(0, arguments[2]) orelse return self.abandon();
    var length: u64 = undefined;
    if (isTuple(arguments[3])) {
        if (!self.vector.fill(arguments[3])) return self.abandon();
        self.sqe.addr = @intFromPtr(self.vector.entries.ptr);
        length = self.vector.entries.len;
    } else {
        self.sqe.addr = self.pointer(1, arguments[3]) orelse return self.abandon();
        length = @intCast(self.views[1].len);
    }
    // A number of the caller's is used as it is: it may be a directory's descriptor or a mode.
    self.sqe.len = if (arguments[4] == py._Py_NoneStruct)
        @intCast(@min(length, fs.transfer_max))
    else
        @intCast(object.unsigned(arguments[4], "length", std.math.maxInt(u32)) orelse return self.abandon());
    return GenericOp.Type.objectOf(self);
}

/// message(opcode, descriptor, buffers: tuple, address, control, flags): sendmsg or recvmsg.
/// Returns (bytes, length of the address, length of the control data, flags).
fn message(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("message", count, 6)) return null;
    const opcode = object.unsigned(arguments[0], "opcode", std.math.maxInt(u8)) orelse return null;
    const flags = object.unsigned(arguments[5], "flags", std.math.maxInt(u32)) orelse return null;
    if (!isTuple(arguments[2])) return api.raise(py.PyExc_TypeError.*, "buffers must be a tuple");
    const self = create() orelse return null;
    self.outcome = .message;
    self.sqe.opcode = @fromBackingInt(@intCast(opcode));
    self.sqe.rw_flags = @bitCast(@as(u32, @intCast(flags)));
    if (!self.target(arguments[1])) return self.abandon();
    if (!self.vector.fill(arguments[2])) return self.abandon();
    const address = self.pointer(0, arguments[3]) orelse return self.abandon();
    const control = self.pointer(2, arguments[4]) orelse return self.abandon();
    self.header = .{
        .name = @ptrFromInt(address),
        .namelen = @intCast(self.views[0].len),
        .iov = self.vector.entries.ptr,
        .iovlen = @intCast(self.vector.entries.len),
        .control = @ptrFromInt(control),
        .controllen = @intCast(self.views[2].len),
        .flags = 0,
    };
    self.sqe.addr = @intFromPtr(&self.header); // The object does not move.
    self.sqe.len = 1;
    return GenericOp.Type.objectOf(self);
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method(
        "submit",
        &submit,
        api.meth_fastcall,
        "(opcode, fd, off, addr, length, op_flags, extra, name, outcome, /)",
        "An awaitable of the result.",
    ),
    object.method(
        "message",
        &message,
        api.meth_fastcall,
        "(opcode, fd, buffers, address, control, flags, /)",
        "sendmsg or recvmsg: an awaitable of (bytes, length of the address, length of the control data, flags).",
    ),
};

pub fn define() bool {
    const Single = single_await.SingleOp(GenericOp);
    return object.define(GenericOp.Type, "RawOperation", .{
        .step = Single.step,
        .give_up = Single.giveUp,
        .repr = &GenericOp.show,
        .dealloc = &GenericOp.dealloc,
    });
}
