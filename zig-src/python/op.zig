//! One awaited operation: what it was called with, the memory the kernel works on, and what its
//! completion means in Python. Started at the await, on the shard of the task that awaits; it can be
//! awaited once. The kernel's part is in ../ops/.

const std = @import("std");
const linux = std.os.linux;
const api = @import("api.zig");
const buffers = @import("../buffers.zig");
const cached = @import("cached.zig");
const clock = @import("../clock.zig");
const fs = @import("../ops/fs.zig");
const gpa = @import("../memory.zig").gpa;
const helpers_module = @import("helpers.zig");
const helpers = &helpers_module.helpers;
const net = @import("../ops/net.zig");
const object = @import("object.zig");
const once = @import("once.zig");
const CoreOp = @import("../op.zig").Op;
const Descriptor = @import("descriptor.zig").Descriptor;
const Incoming = @import("incoming.zig").Incoming;
const PyTask = @import("task.zig").PyTask;
const Segments = @import("segments.zig").Segments;
const Shard = @import("../shard.zig").Shard;
const Task = @import("../task.zig").Task;
const Object = api.Object;
const py = &api.py;

const Kind = enum(u8) {
    sleep,
    nop,
    open,
    read_at,
    read_at_into,
    write_at,
    write_all_at,
    fsync,
    accept,
    recv,
    recv_into,
    read_exactly,
    send,
    write_all,
    write_all_zero_copy,
    shutdown,
    close,
};

const PyOp = struct {
    kind: Kind,
    state: once.State,
    /// Counted in at the descriptor.
    counted: bool,
    descriptor: ?*Object,
    /// The bytes object that a read fills or a write sends; of an open its name.
    held: ?*Object,
    /// Of memory that is no bytes object: apart, because an idle receive is to be small.
    view: ?*api.Buffer,
    data: [*]u8,
    length: usize,
    /// A receive that has no memory of its own yet: the kernel picks a buffer when something comes.
    picks: bool,
    progress: usize,
    /// Offset, duration, flags or `how`, as the kind says.
    argument: u64,
    mode: u32,

    const Type = object.TypeOf(PyOp);

    fn create(kind: Kind, descriptor: ?*Object) ?*PyOp {
        const self = Type.body(Type.create() orelse return null);
        self.kind = kind; // The rest of the body is zero: new, nothing held.
        if (descriptor) |d| self.descriptor = api.ref(d);
        return self;
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of an operation") orelse return null;
        switch (once.seen(&self.state)) {
            .new => {
                const shielded = self.kind == .close;
                if (!shielded and me.cancelWanted()) return me.raiseCancel();
                if (!once.claim(&self.state)) return twice();
                if (!self.begin()) return self.finished();
                // A receive of nothing would wait for data all the same.
                if (self.transfers() and self.length == 0) return self.succeeded(0);
                if (self.reads()) {
                    if (!self.takeLeftover()) return self.finished();
                    if (self.progress == self.length) return self.succeeded(self.progress);
                    if (self.progress > 0 and self.kind != .read_exactly) return self.succeeded(self.progress);
                }
                if (self.fromCache()) |count| return self.succeeded(count);
                return self.fly(me, instance, suspended);
            },
            .flying => {
                // The task that started it, and no later one at the same address, owns it.
                if (me.op_owner != instance or me.op == null) return twice();
                const op = me.op.?;
                if (op.phase == .flying) { // Resumed by something else than its completion.
                    suspended.* = true;
                    return me.suspendForOp(op, instance, self.kind == .close);
                }
                const shard = Shard.current().?;
                const picked = buffers.idOf(op.cqe_flags);
                const result = shard.ops.consume(op);
                me.op = null;
                if (picked) |id| {
                    const taken = result < 0 or self.takePicked(shard, id, @intCast(result));
                    shard.buffers.ready.giveBack(id);
                    if (!taken) return self.finished();
                }
                return self.ended(me, instance, result, suspended);
            },
            .finished => return api.raise(py.PyExc_RuntimeError.*, "an operation can be awaited once"),
        }
    }

    fn twice() ?*Object {
        return api.raise(py.PyExc_RuntimeError.*, "an operation is awaited by two tasks");
    }

    /// Before the first launch. False: it is over already, with an exception or with None.
    fn begin(self: *PyOp) bool {
        const instance = self.descriptor orelse return true;
        const descriptor = Descriptor.Type.body(instance);
        if (self.kind == .close) {
            self.argument = @intCast(descriptor.beginClose() orelse return false);
            return true;
        }
        if (!descriptor.acquire()) return false;
        self.counted = true;
        return true;
    }

    fn transfers(self: *const PyOp) bool {
        return switch (self.kind) {
            .sleep, .nop, .open, .fsync, .accept, .shutdown, .close => false,
            else => true,
        };
    }

    fn reads(self: *const PyOp) bool {
        return self.kind == .recv or self.kind == .recv_into or self.kind == .read_exactly;
    }

    /// What a cancelled read left comes first. False with an exception set.
    fn takeLeftover(self: *PyOp) bool {
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        var bytes = descriptor.swapLeftover(null);
        const left = bytes orelse return true;
        defer api.drop(&bytes);
        if (self.picks and !self.makeRoom()) return false;
        const size: usize = @intCast(py.PyBytes_Size(left));
        const source = py.PyBytes_AsString(left).?;
        const count = @min(size, self.length);
        if (count < size) {
            const rest = py.PyBytes_FromStringAndSize(source + count, @intCast(size - count)) orelse return false;
            var other = descriptor.swapLeftover(rest);
            api.drop(&other); // Null: reads of two tasks at once have no order to keep.
        }
        @memcpy(self.data[0..count], source[0..count]);
        self.progress = count;
        return true;
    }

    /// Memory of its own, instead of a buffer that the kernel picks. False with an exception set.
    fn makeRoom(self: *PyOp) bool {
        self.picks = false;
        self.held = py.PyBytes_FromStringAndSize(null, @intCast(self.length));
        self.data = py.PyBytes_AsString(self.held orelse return false).?;
        return true;
    }

    /// What came in a picked buffer, as the object that the await gives.
    fn takePicked(self: *PyOp, shard: *Shard, id: u16, count: usize) bool {
        self.held = py.PyBytes_FromStringAndSize(shard.buffers.ready.all(id).ptr, @intCast(count));
        return self.held != null;
    }

    fn fromCache(self: *PyOp) ?usize {
        if (self.kind != .read_at and self.kind != .read_at_into) return null;
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        const room = self.data[0..self.length];
        return cached.readAt(Shard.current().?, &descriptor.cache, descriptor.fd, room, self.argument);
    }

    fn finished(self: *PyOp) ?*Object {
        self.state = .finished;
        return if (py.PyErr_Occurred() != null) null else api.none();
    }

    fn fly(self: *PyOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const op = self.launch(&me.task) catch {
            if (self.kind == .close) _ = linux.close(@intCast(self.argument)); // It is nobody else's now.
            self.finish();
            return py.PyErr_NoMemory();
        };
        if (self.counted) op.counted_in = &Descriptor.Type.body(self.descriptor.?).users;
        suspended.* = true;
        return me.suspendForOp(op, instance, self.kind == .close);
    }

    fn launch(self: *PyOp, task: *Task) fs.Error!*CoreOp {
        const shard = Shard.current().?;
        const fd = if (self.descriptor) |d| Descriptor.Type.body(d).fd else -1;
        if (self.picks) {
            if (shard.pickable() != null) return net.recvPicked(shard, task, fd, self.length, self.drained());
            if (!self.makeRoom()) return error.OutOfMemory;
        }
        const rest = self.data[self.progress..self.length];
        const at = self.argument + self.progress;
        return switch (self.kind) {
            .nop => fs.nop(shard, task),
            .sleep => sleepFor(shard, task, self.argument),
            .open => fs.open(shard, task, rest, @intCast(self.argument), self.mode),
            .read_at, .read_at_into => fs.readAt(shard, task, fd, rest, at),
            .write_at, .write_all_at => fs.writeAt(shard, task, fd, rest, at),
            .fsync => fs.fsync(shard, task, fd, self.argument != 0),
            .accept => net.accept(shard, task, fd),
            .recv, .recv_into => net.recv(shard, task, fd, rest, 0, self.drained()),
            .read_exactly => net.recv(shard, task, fd, rest, linux.MSG.WAITALL, self.drained()),
            .send => net.send(shard, task, fd, rest, 0),
            .write_all => net.send(shard, task, fd, rest, linux.MSG.WAITALL),
            .write_all_zero_copy => if (shard.crew.info.can().send_zc)
                net.sendZeroCopy(shard, task, fd, rest, linux.MSG.WAITALL)
            else
                net.send(shard, task, fd, rest, linux.MSG.WAITALL),
            .shutdown => net.shutdown(shard, task, fd, @intCast(self.argument)),
            .close => fs.close(shard, task, @intCast(self.argument)),
        };
    }

    fn drained(self: *const PyOp) bool {
        return Descriptor.Type.body(self.descriptor.?).drained.load(.monotonic);
    }

    /// The kernel's result, as Python's: a value, an exception, or another round.
    fn ended(self: *PyOp, me: *PyTask, instance: *Object, result: i32, suspended: *bool) ?*Object {
        if (result < 0) return self.failed(me, instance, -result, suspended);
        const count: usize = @intCast(result);
        // A close elsewhere ends the receive as the end of the stream would: it is none.
        if (count == 0 and self.reads() and Descriptor.Type.body(self.descriptor.?).isClosing()) {
            self.finish();
            return api.raise(helpers.ClosedError, closed_text);
        }
        switch (self.kind) {
            .write_all, .write_all_zero_copy, .write_all_at, .read_exactly => {
                self.progress += count;
                if (self.progress == self.length) return self.succeeded(count);
                if (count > 0) {
                    if (me.cancelWanted()) return self.cancelled(me);
                    return self.fly(me, instance, suspended);
                }
                if (self.kind == .read_exactly) return self.incomplete();
                // A write that takes nothing would go round for ever.
                return self.failed(me, instance, @backingInt(linux.E.IO), suspended);
            },
            else => return self.succeeded(count),
        }
    }

    fn succeeded(self: *PyOp, count: usize) ?*Object {
        switch (self.kind) {
            .recv, .recv_into, .read_exactly => Descriptor.Type.body(self.descriptor.?).received(count, self.length),
            else => {},
        }
        const value: ?*Object = switch (self.kind) {
            .sleep, .nop, .fsync, .shutdown, .close, .write_all, .write_all_zero_copy, .write_all_at => api.none(),
            .send, .write_at, .recv_into, .read_at_into => py.PyLong_FromLongLong(@intCast(count)),
            .recv, .read_at => self.takeBytes(count),
            .read_exactly => self.takeBytes(self.length),
            .accept => Descriptor.create(@intCast(count), true, null),
            .open => Descriptor.create(@intCast(count), false, self.held),
        };
        self.finish();
        return value;
    }

    /// The bytes object that was read into, cut to what arrived.
    fn takeBytes(self: *PyOp, count: usize) ?*Object {
        if (self.picks) { // Made when it came; there is none where nothing did.
            const value = self.held orelse return py.PyBytes_FromStringAndSize(null, 0);
            self.held = null;
            return value;
        }
        if (count != self.length and py._PyBytes_Resize(&self.held, @intCast(count)) != 0) return null;
        const value = self.held;
        self.held = null;
        return value;
    }

    fn incomplete(self: *PyOp) ?*Object {
        const expected = py.PyLong_FromLongLong(@intCast(self.length)) orelse return null;
        const partial = self.takeBytes(self.progress) orelse return null;
        self.finish();
        const exception = api.call(helpers.IncompleteReadError, &.{ partial, expected }) orelse return null;
        api.raiseObject(exception);
        py.Py_DecRef(exception);
        return null;
    }

    fn cancelled(self: *PyOp, me: *PyTask) ?*Object {
        if (self.kind == .read_exactly and self.progress > 0) {
            const taken = self.takeBytes(self.progress) orelse return null;
            var other = Descriptor.Type.body(self.descriptor.?).swapLeftover(taken);
            api.drop(&other);
        }
        self.finish();
        return me.raiseCancel();
    }

    fn failed(self: *PyOp, me: *PyTask, instance: *Object, errno: i32, suspended: *bool) ?*Object {
        const number: linux.E = @fromBackingInt(@intCast(@as(u16, @intCast(errno))));
        switch (number) {
            .CANCELED => if (me.cancelWanted()) return self.cancelled(me),
            .INTR => {
                if (me.cancelWanted()) return self.cancelled(me);
                return self.fly(me, instance, suspended);
            },
            // All buffers of the shard are in hands: this receive brings its own.
            .NOBUFS => if (self.picks) {
                if (!self.makeRoom()) return self.finished();
                return self.fly(me, instance, suspended);
            },
            // A kind of socket that has no such thing.
            .OPNOTSUPP => if (self.kind == .write_all_zero_copy) {
                self.kind = .write_all;
                return self.fly(me, instance, suspended);
            },
            else => {},
        }
        const descriptor = if (self.descriptor) |d| Descriptor.Type.body(d) else null;
        const closed = self.kind != .close and descriptor != null and descriptor.?.isClosing();
        const name = if (self.kind == .open) self.held else if (descriptor) |d| d.name else null;
        const filename = if (name) |n| api.ref(n) else null;
        defer if (filename) |f| py.Py_DecRef(f);
        const progress = self.progress;
        self.finish();
        if (closed) return api.raise(helpers.ClosedError, closed_text);
        if (progress == 0) return helpers_module.raiseErrno(errno, null, filename);
        var text: [96]u8 = undefined;
        const words = std.fmt.bufPrint(&text, "failed after {d} of {d} bytes", .{
            progress, self.length,
        }) catch unreachable;
        return helpers_module.raiseErrno(errno, words, filename);
    }

    /// The kernel is done with it, for good.
    fn finish(self: *PyOp) void {
        self.state = .finished;
        if (self.counted) {
            self.counted = false;
            Descriptor.Type.body(self.descriptor.?).release();
        }
        if (self.view) |view| {
            py.PyBuffer_Release(view);
            gpa.destroy(view);
        }
        self.view = null;
        api.drop(&self.held);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        self.finish(); // While the kernel has it the task holds a reference.
        api.drop(&self.descriptor);
        Type.free(instance, false);
    }

    fn done(self: *PyOp) ?*Object {
        return Type.objectOf(self);
    }

    fn abandon(self: *PyOp) ?*Object {
        py.Py_DecRef(Type.objectOf(self));
        return null;
    }

    /// The op with a buffer of the caller's; it stays exported until the kernel is done.
    fn withBuffer(kind: Kind, descriptor: *Object, source: *Object, flags: c_int) ?*PyOp {
        const self = create(kind, descriptor) orelse return null;
        if (flags == api.buffer_simple and isBytes(source)) {
            self.held = api.ref(source);
            self.data = py.PyBytes_AsString(source).?;
            self.length = @intCast(py.PyBytes_Size(source));
            return self;
        }
        if (self.lend(source, flags)) return self;
        _ = self.abandon();
        return null;
    }

    /// Exports the memory of `source`. False with an exception set.
    fn lend(self: *PyOp, source: *Object, flags: c_int) bool {
        const view = gpa.create(api.Buffer) catch return py.PyErr_NoMemory() != null; // It never is.
        view.* = .{};
        if (py.PyObject_GetBuffer(source, view, flags) != 0) {
            gpa.destroy(view);
            return false;
        }
        self.view = view;
        self.data = view.buf orelse @ptrCast(self); // NULL only where the length is 0.
        self.length = @intCast(view.len);
        return true;
    }

    /// The op with a new bytes object to fill.
    fn withBytes(kind: Kind, descriptor: *Object, size: *Object) ?*PyOp {
        var count = object.unsigned(size, "the number of bytes", fs.transfer_max) orelse return null;
        if (kind == .recv) count = @min(count, Descriptor.Type.body(descriptor).room.load(.monotonic));
        const self = create(kind, descriptor) orelse return null;
        if (kind == .recv and count <= buffers.size and count > 0) {
            self.picks = true;
            self.length = count;
            return self;
        }
        self.held = py.PyBytes_FromStringAndSize(null, @intCast(count));
        if (self.held == null) {
            _ = self.abandon();
            return null;
        }
        self.data = py.PyBytes_AsString(self.held.?).?;
        self.length = count;
        return self;
    }
};

/// A bytes object, and of no class of its own, which might export something else.
fn isBytes(given: *Object) bool {
    const class = py.PyObject_Type(given);
    py.Py_DecRef(class);
    return class == py.PyBytes_Type;
}

fn sleepFor(shard: *Shard, task: *Task, duration_ns: u64) fs.Error!*CoreOp {
    const op = try shard.ops.take(task, shard);
    shard.launchTimer(op, clock.deadlineNs(duration_ns));
    return op;
}

const closed_text = "the descriptor was closed while the operation waited";

const offset_max = std.math.maxInt(i64);

// ---- methods of Descriptor ----

fn recv(self: *Object, size: *Object) callconv(.c) ?*Object {
    return (PyOp.withBytes(.recv, self, size) orelse return null).done();
}

fn readExactly(self: *Object, size: *Object) callconv(.c) ?*Object {
    return (PyOp.withBytes(.read_exactly, self, size) orelse return null).done();
}

fn recvInto(self: *Object, buffer: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.recv_into, self, buffer, api.buffer_writable) orelse return null).done();
}

fn send(self: *Object, data: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.send, self, data, api.buffer_simple) orelse return null).done();
}

fn writeAll(self: *Object, data: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.write_all, self, data, api.buffer_simple) orelse return null).done();
}

fn writeAllZeroCopy(self: *Object, data: *Object) callconv(.c) ?*Object {
    return (PyOp.withBuffer(.write_all_zero_copy, self, data, api.buffer_simple) orelse return null).done();
}

fn accept(self: *Object, _: ?*Object) callconv(.c) ?*Object {
    return (PyOp.create(.accept, self) orelse return null).done();
}

fn close(self: *Object, _: ?*Object) callconv(.c) ?*Object {
    return (PyOp.create(.close, self) orelse return null).done();
}

fn shutdown(self: *Object, how: *Object) callconv(.c) ?*Object {
    const value = object.unsigned(how, "how", 2) orelse return null;
    const op = PyOp.create(.shutdown, self) orelse return null;
    op.argument = value;
    return op.done();
}

fn fsync(self: *Object, data_only: *Object) callconv(.c) ?*Object {
    const value = object.unsigned(data_only, "data_only", 1) orelse return null;
    const op = PyOp.create(.fsync, self) orelse return null;
    op.argument = value;
    return op.done();
}

fn readAt(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("read_at", count, 2)) return null;
    const offset = object.unsigned(arguments[0], "offset", offset_max) orelse return null;
    const op = PyOp.withBytes(.read_at, self, arguments[1]) orelse return null;
    op.argument = offset;
    return op.done();
}

fn atWith(
    kind: Kind,
    comptime name: []const u8,
    flags: c_int,
    self: *Object,
    arguments: [*]const *Object,
    count: isize,
) ?*Object {
    if (!object.arity(name, count, 2)) return null;
    const offset = object.unsigned(arguments[0], "offset", offset_max) orelse return null;
    const op = PyOp.withBuffer(kind, self, arguments[1], flags) orelse return null;
    op.argument = offset;
    return op.done();
}

fn readAtInto(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    return atWith(.read_at_into, "read_at_into", api.buffer_writable, self, arguments, count);
}

fn writeAt(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    return atWith(.write_at, "write_at", api.buffer_simple, self, arguments, count);
}

fn writeAllAt(self: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    return atWith(.write_all_at, "write_all_at", api.buffer_simple, self, arguments, count);
}

pub const descriptor_methods = [_]api.MethodDef{
    object.method("recv", &recv, api.meth_one, "recv(max_bytes): at most that many, b'' at the end."),
    object.method("read_exactly", &readExactly, api.meth_one, "read_exactly(n)"),
    object.method("recv_into", &recvInto, api.meth_one, "recv_into(buffer): the number of bytes."),
    object.method("send", &send, api.meth_one, "send(data): the number of bytes taken."),
    object.method("write_all", &writeAll, api.meth_one, "write_all(data)"),
    object.method("write_all_zero_copy", &writeAllZeroCopy, api.meth_one, "write_all_zero_copy(data)"),
    object.method("incoming", &Incoming.make, api.meth_noargs, "incoming(): an awaitable, again and again."),
    object.method("segments", &Segments.make, api.meth_noargs, "segments(): an awaitable, again and again."),
    object.method("accept", &accept, api.meth_noargs, "accept(): a Descriptor."),
    object.method("close", &close, api.meth_noargs, "close(): idempotent."),
    object.method("shutdown", &shutdown, api.meth_one, "shutdown(how)"),
    object.method("fsync", &fsync, api.meth_one, "fsync(data_only)"),
    object.method("read_at", &readAt, api.meth_fastcall, "read_at(offset, size)"),
    object.method("read_at_into", &readAtInto, api.meth_fastcall, "read_at_into(offset, buffer)"),
    object.method("write_at", &writeAt, api.meth_fastcall, "write_at(offset, data): the number of bytes taken."),
    object.method("write_all_at", &writeAllAt, api.meth_fastcall, "write_all_at(offset, data)"),
};

/// A result that nobody takes: data that was received is for the next receive.
pub fn giveBack(awaitable: *Object, value: *Object) void {
    if (!PyOp.Type.is(awaitable)) return;
    const self = PyOp.Type.body(awaitable);
    if (self.kind != .recv and self.kind != .read_exactly) return;
    if (py.PyBytes_Size(value) == 0) return;
    var before = Descriptor.Type.body(self.descriptor.?).swapLeftover(api.ref(value));
    api.drop(&before);
}

// ---- functions of the module ----

pub fn sleep(_: ?*Object, duration: *Object) callconv(.c) ?*Object {
    const ns = object.unsigned(duration, "duration_ns", std.math.maxInt(i64)) orelse return null;
    const op = PyOp.create(.sleep, null) orelse return null;
    op.argument = ns;
    return op.done();
}

pub fn nop(_: ?*Object, _: ?*Object) callconv(.c) ?*Object {
    return (PyOp.create(.nop, null) orelse return null).done();
}

/// open(path: bytes, name, flags, mode): a Descriptor. `name` is what errors call it.
pub fn open(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("open", count, 4)) return null;
    const flags = object.unsigned(arguments[2], "flags", std.math.maxInt(i32)) orelse return null;
    const mode = object.unsigned(arguments[3], "mode", 0o7777) orelse return null;
    const op = PyOp.create(.open, null) orelse return null;
    if (!op.lend(arguments[0], api.buffer_simple)) return op.abandon();
    op.held = api.ref(arguments[1]);
    op.argument = flags;
    op.mode = @intCast(mode);
    return op.done();
}

pub fn define() bool {
    const awaitable = object.Awaitable(PyOp.step);
    var slots = awaitable.slots() ++ [_]api.TypeSlot{
        object.slotOf(api.slot.dealloc, &PyOp.dealloc),
        .{},
    };
    return PyOp.Type.define("Operation", 0, &slots);
}
