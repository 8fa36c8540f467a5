//! One awaited operation: what it was called with, and the memory the kernel works on. Started at the
//! await, on the shard of the task that awaits; it can be awaited once. What its completion means in
//! Python is in operation_end.zig, the kernel's part in ../ops/.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const provided_buffers = @import("../../ring/provided_buffers.zig");
const operation_end = @import("operation_end.zig");
const page_cache = @import("page_cache.zig");
const exported = @import("exported.zig");
const forgotten = @import("../cpython/forgotten.zig");
const fs = @import("../../ops/fs.zig");
const callbacks = @import("../cpython/callbacks.zig");
const net = @import("../../ops/net.zig");
const object = @import("../cpython/object.zig");
const shown = @import("shown.zig");
const timer = @import("../../ops/timer.zig");
const single_await = @import("single_await.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Loan = @import("loan.zig").Loan;
const Descriptor = @import("descriptor.zig").Descriptor;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Task = @import("../../task/task.zig").Task;
const Object = api.Object;
const py = &api.py;

pub const Kind = enum(u8) {
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

/// What a kind of operation is. A new one has its row here and its arm in `launch`.
const Row = struct {
    transfers: bool = false,
    /// What a cancelled read left comes first, and a close elsewhere is no end of the stream.
    reads: enum { never, of_pipes, always } = .never,
    writes: bool = false,
    /// Goes on until all is transferred. A write that is cut short reports how much was.
    whole: bool = false,
    /// Not to be cancelled: a half-finished close would leave the descriptor open.
    shielded: bool = false,
    /// What the await returns.
    result: enum { none, count, bytes, descriptor } = .none,
};

const rows = table: {
    const receive: Row = .{ .transfers = true, .reads = .always, .result = .bytes };
    const read: Row = .{ .transfers = true, .reads = .of_pipes, .result = .bytes };
    const write: Row = .{ .transfers = true, .writes = true, .result = .count };
    const write_all: Row = .{ .transfers = true, .writes = true, .whole = true };
    break :table std.enums.directEnumArray(Kind, Row, 0, .{
        .sleep = .{},
        .nop = .{},
        .open = .{ .result = .descriptor },
        .read_at = read,
        .read_at_into = .{ .transfers = true, .reads = .of_pipes, .result = .count },
        .write_at = write,
        .write_all_at = write_all,
        .fsync = .{},
        .accept = .{ .result = .descriptor },
        .recv = receive,
        .recv_into = .{ .transfers = true, .reads = .always, .result = .count },
        .read_exactly = .{ .transfers = true, .reads = .always, .whole = true, .result = .bytes },
        .send = write,
        .write_all = write_all,
        .write_all_zero_copy = write_all,
        .shutdown = .{},
        .close = .{ .shielded = true },
    });
};

pub const PyOp = struct {
    kind: Kind,
    state: single_await.State,
    /// Counted in at the descriptor.
    counted: bool,
    /// The stream is this operation's to write to, until it has ended.
    claimed: bool,
    descriptor: ?*Object,
    /// The bytes object that a read fills or a write sends; of an open its name.
    held: ?*Object,
    /// Of memory that is no bytes object: apart, because an idle receive is to be small.
    view: ?*api.Buffer,
    /// Both of these, once a zero-copy send has begun.
    loan: ?*Loan,
    data: [*]u8,
    length: usize,
    /// A receive that has no memory of its own yet: the kernel picks a buffer when something comes.
    selects_buffer: bool,
    /// It waits until a nonblocking socket is ready, and is tried anew then.
    polls: bool,
    progress: usize,
    /// Offset, duration, flags or `how`, as the kind says.
    argument: u64,
    mode: u32,

    pub const Type = object.TypeOf(PyOp);

    const ended = operation_end.ended;
    const succeeded = operation_end.succeeded;
    const failed = operation_end.failed;

    pub fn create(kind: Kind, descriptor: ?*Object) ?*PyOp {
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        self.kind = kind; // The rest of the body is zero: new, nothing held.
        forgotten.made(instance);
        if (descriptor) |d| self.descriptor = api.ref(d);
        return self;
    }

    pub const noun = "an operation";

    pub fn row(self: *const PyOp) *const Row {
        return &rows[@backingInt(self.kind)];
    }

    pub fn isShielded(self: *const PyOp) bool {
        return self.row().shielded;
    }

    pub fn mayBegin(_: *const PyOp) bool {
        return true;
    }

    pub fn cancelledBefore(self: *PyOp, me: *PyTask) ?*Object {
        _ = me.raiseCancel();
        if (self.writesAll()) callbacks.sayWritten(0);
        return null;
    }

    pub fn awaitedBefore(self: *const PyOp) ?*Object {
        return shown.raiseAwaitedBefore(@tagName(self.kind), self.descriptor);
    }

    pub fn begin(self: *PyOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        if (!self.enter(me)) return self.finished();
        // A receive of nothing would wait for data all the same. An empty message is one.
        if (self.length == 0 and self.row().transfers and !self.isOfMessages()) return self.succeeded(0);
        if (self.kind == .accept) if (self.acceptedAhead()) |fd| return self.succeeded(fd);
        if (self.reads()) {
            if (!self.takeLeftover()) return self.finished();
            if (self.progress == self.length) return self.succeeded(self.progress);
            if (self.progress > 0 and self.kind != .read_exactly) return self.succeeded(self.progress);
        }
        if (self.fromCache()) |count| return self.succeeded(count);
        return self.fly(me, instance, suspended);
    }

    pub fn completed(self: *PyOp, me: *PyTask, op: *CoreOp, instance: *Object, suspended: *bool) ?*Object {
        const shard = Shard.current().?;
        const provided = provided_buffers.idOf(op.cqe_flags);
        const recalled = self.kind == .accept and op.cancel_sent;
        const result = shard.ops.consume(op);
        me.op = null;
        if (provided) |id| {
            const taken = result < 0 or self.takeProvided(shard, id, @intCast(result));
            shard.buffers.ready.giveBack(id);
            if (!taken) return self.finished();
        }
        if (result < 0 and recalled and !me.cancelWanted() and !self.isClosing()) {
            if (self.acceptedAhead()) |fd| return self.succeeded(fd);
            return self.fly(me, instance, suspended);
        }
        return self.ended(me, instance, result, suspended);
    }

    /// Before the first launch. False: it is over already, with an exception or with None.
    fn enter(self: *PyOp, me: *PyTask) bool {
        const instance = self.descriptor orelse return true;
        const descriptor = Descriptor.Type.body(instance);
        if (self.kind == .close) {
            self.argument = @intCast(descriptor.beginClose() orelse return false);
            return true;
        }
        if (!descriptor.acquire()) return false;
        self.counted = true;
        if (!self.row().writes or descriptor.claimWriter(me, &self.claimed)) return true;
        self.finish();
        return false;
    }

    pub fn isSocketTransfer(self: *const PyOp) bool {
        const of_sockets = self.kind == .accept or self.row().transfers;
        return of_sockets and Descriptor.Type.body(self.descriptor.?).kind.isSocket();
    }

    fn isOfMessages(self: *const PyOp) bool {
        return Descriptor.Type.body(self.descriptor.?).kind == .messages;
    }

    /// A connection that an `incoming()` left.
    fn acceptedAhead(self: *PyOp) ?usize {
        return @intCast(Descriptor.Type.body(self.descriptor.?).takeAccepted() orelse return null);
    }

    pub fn writesAll(self: *const PyOp) bool {
        return self.row().writes and self.row().whole;
    }

    pub fn reads(self: *const PyOp) bool {
        return switch (self.row().reads) {
            .never => false,
            .of_pipes => Descriptor.Type.body(self.descriptor.?).kind == .pipe,
            .always => true,
        };
    }

    /// What a cancelled read left comes first. False with an exception set.
    fn takeLeftover(self: *PyOp) bool {
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        var bytes = descriptor.swapLeftover(null);
        const left = bytes orelse return true;
        defer api.drop(&bytes);
        if (self.selects_buffer and !self.makeRoom()) return false;
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
    pub fn makeRoom(self: *PyOp) bool {
        self.selects_buffer = false;
        self.held = py.PyBytes_FromStringAndSize(null, @intCast(self.length));
        self.data = py.PyBytes_AsString(self.held orelse return false).?;
        return true;
    }

    /// What came in a picked buffer, as the object that the await returns.
    fn takeProvided(self: *PyOp, shard: *Shard, id: u16, count: usize) bool {
        self.held = py.PyBytes_FromStringAndSize(shard.buffers.ready.all(id).ptr, @intCast(count));
        return self.held != null;
    }

    fn fromCache(self: *PyOp) ?usize {
        if (self.kind != .read_at and self.kind != .read_at_into) return null;
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        const room = self.data[0..self.length];
        return page_cache.readAt(Shard.current().?, &descriptor.cache, descriptor.fd, room, self.argument);
    }

    pub fn finished(self: *PyOp) ?*Object {
        self.state = .finished;
        return if (py.PyErr_Occurred() != null) null else api.none();
    }

    fn fly(self: *PyOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        const op = self.launch(&me.task) catch {
            if (self.kind == .close) _ = linux.close(@intCast(self.argument)); // It is nobody else's now.
            self.finish();
            return py.PyErr_NoMemory();
        };
        if (self.counted) op.descriptor_users = &Descriptor.Type.body(self.descriptor.?).users;
        suspended.* = true;
        return me.suspendForOp(op, instance, self.isShielded());
    }

    /// Another round. Those under way were ended by the close, so that one begun after it would not be.
    pub fn again(self: *PyOp, me: *PyTask, instance: *Object, suspended: *bool) ?*Object {
        if (self.isClosing()) return self.failed(me, instance, @backingInt(linux.E.BADF), suspended);
        return self.fly(me, instance, suspended);
    }

    fn launch(self: *PyOp, task: *Task) fs.Error!*CoreOp {
        const shard = Shard.current().?;
        const fd = if (self.descriptor) |d| Descriptor.Type.body(d).fd else -1;
        if (self.polls) return net.poll(shard, task, fd, if (self.row().writes) linux.POLL.OUT else linux.POLL.IN);
        if (self.selects_buffer) {
            if (shard.providedBuffers() != null) return net.recvProvided(shard, task, fd, self.length, self.drained());
            if (!self.makeRoom()) return error.OutOfMemory;
        }
        const rest = self.data[self.progress..self.length];
        const at = self.argument + self.progress;
        return switch (self.kind) {
            .nop => fs.nop(shard, task),
            .sleep => timer.sleep(shard, task, self.argument),
            .open => fs.open(shard, task, rest, @intCast(self.argument), self.mode),
            .read_at, .read_at_into => fs.readAt(shard, task, fd, rest, at),
            .write_at, .write_all_at => fs.writeAt(shard, task, fd, rest, at),
            .fsync => fs.fsync(shard, task, fd, self.argument != 0),
            .accept => net.accept(shard, task, fd),
            .recv, .recv_into => net.recv(shard, task, fd, rest, 0, self.drained()),
            .read_exactly => net.recv(shard, task, fd, rest, linux.MSG.WAITALL, self.drained()),
            .send => net.send(shard, task, fd, rest, 0),
            .write_all => net.send(shard, task, fd, rest, linux.MSG.WAITALL),
            .write_all_zero_copy => if (shard.scheduler.info.can().send_zc)
                self.sendZeroCopy(shard, task, fd, rest)
            else
                net.send(shard, task, fd, rest, linux.MSG.WAITALL),
            .shutdown => net.shutdown(shard, task, fd, @intCast(self.argument)),
            .close => fs.close(shard, task, @intCast(self.argument)),
        };
    }

    fn sendZeroCopy(self: *PyOp, shard: *Shard, task: *Task, fd: i32, rest: []const u8) fs.Error!*CoreOp {
        if (self.loan == null) {
            self.loan = try .create(self.held, self.view);
            self.held = null;
            self.view = null;
        }
        const op = try net.sendZeroCopy(shard, task, fd, rest, linux.MSG.WAITALL);
        self.loan.?.lend(op);
        return op;
    }

    fn drained(self: *const PyOp) bool {
        return Descriptor.Type.body(self.descriptor.?).drained.load(.monotonic);
    }

    pub fn isClosing(self: *const PyOp) bool {
        return if (self.descriptor) |d| Descriptor.Type.body(d).isClosing() else false;
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return shown.ofOperation("Operation", @tagName(self.kind), self.descriptor, single_await.seen(&self.state));
    }

    /// The kernel is done with it, for good; what a loan has may stay.
    pub fn finish(self: *PyOp) void {
        self.state = .finished;
        if (self.counted) {
            self.counted = false;
            if (self.claimed) Descriptor.Type.body(self.descriptor.?).endWriter();
            Descriptor.Type.body(self.descriptor.?).release();
        }
        if (self.loan) |loan| loan.drop();
        self.loan = null;
        exported.letGo(&self.view);
        api.drop(&self.held);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        if (self.state == .new) {
            var text: [shown.room]u8 = undefined;
            forgotten.warn(instance, shown.operation(&text, "operation ", @tagName(self.kind), self.descriptor));
        } else forgotten.used(instance);
        self.finish(); // While the kernel has it the task holds a reference.
        api.drop(&self.descriptor);
        Type.free(instance, false);
    }

    pub fn asObject(self: *PyOp) ?*Object {
        return Type.objectOf(self);
    }

    /// It was not made after all.
    pub fn abandon(self: *PyOp) ?*Object {
        self.state = .finished;
        py.Py_DecRef(Type.objectOf(self));
        return null;
    }

    /// The op with a buffer of the caller's; it stays exported until the kernel is done.
    pub fn withBuffer(kind: Kind, descriptor: *Object, source: *Object, flags: c_int) ?*PyOp {
        const self = create(kind, descriptor) orelse return null;
        if (flags == api.buffer_simple and object.isExactBytes(source)) {
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
    pub fn lend(self: *PyOp, source: *Object, flags: c_int) bool {
        self.view = exported.from(source, flags);
        const memory = exported.bytes(self.view orelse return false);
        self.data = memory.ptr;
        self.length = memory.len;
        return true;
    }

    /// The op with a new bytes object to fill.
    pub fn withBytes(kind: Kind, descriptor: *Object, size: *Object) ?*PyOp {
        var count = object.unsigned(size, "the number of bytes", fs.transfer_max) orelse return null;
        if (kind == .recv) count = @min(count, Descriptor.Type.body(descriptor).room.load(.monotonic));
        const self = create(kind, descriptor) orelse return null;
        if (kind == .recv and count <= provided_buffers.size and count > 0) {
            self.selects_buffer = true;
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

/// A result that nobody takes: data that was received is for the next receive.
pub fn giveBack(awaitable: *Object, value: *Object) void {
    if (!PyOp.Type.is(awaitable)) return;
    const self = PyOp.Type.body(awaitable);
    if (self.kind != .recv and self.kind != .read_exactly) return;
    if (py.PyBytes_Size(value) == 0) return;
    var before = Descriptor.Type.body(self.descriptor.?).swapLeftover(api.ref(value));
    api.drop(&before);
}

pub fn define() bool {
    const Single = single_await.SingleOp(PyOp);
    return object.define(PyOp.Type, "Operation", .{
        .step = Single.step,
        .give_up = Single.giveUp,
        .repr = &PyOp.show,
        .dealloc = &PyOp.dealloc,
    });
}
