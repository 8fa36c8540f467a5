//! One receive for many pieces (IORING_RECV_MULTISHOT, 6.0): the kernel picks a buffer for each
//! piece that comes, without a new request. Each await returns the next piece, b"" at the end.
//!
//! Pieces lie in the shard's buffers only while the kernel has the operation, which holds this
//! object meanwhile; at its end they become bytes objects, so that no buffer can be forgotten. A
//! consumer that lags stops the operation; it begins anew when all pieces were taken.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const provided_buffers = @import("../../ring/provided_buffers.zig");
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("descriptor.zig").Descriptor;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

/// Pieces that wait for their consumer before the kernel is asked to stop.
const lag_max = 16;

/// If the kernel cannot pick a buffer: a single receive of so many bytes.
const own_bytes = 16 * 1024;

const Piece = struct { buffer: u16, size: u32 };

pub const RecvMultishot = struct {
    descriptor: ?*Object,
    /// Counted in at the descriptor.
    counted: bool,
    /// The task that began it; only compared.
    task: ?*PyTask,
    op: ?*CoreOp,
    /// What the last operation ended with, when it has.
    last: ?i32,
    waiting: bool,
    stopping: bool,
    /// In the shard's buffers, while the operation is under way; in order.
    pieces: [provided_buffers.count]Piece,
    first: u32,
    count: u32,
    /// Bytes objects, older than the pieces; from `next` on.
    list: ?*Object,
    next: isize,
    /// The memory of a single receive.
    own: ?*Object,

    pub const Type = object.TypeOf(RecvMultishot);

    pub fn make(descriptor: *Object, _: ?*Object) callconv(.c) ?*Object {
        const instance = Type.create() orelse return null;
        const self = Type.body(instance);
        self.descriptor = api.ref(descriptor);
        self.last = null;
        return instance;
    }

    fn step(instance: *Object, suspended: *bool) ?*Object {
        const self = Type.body(instance);
        const me = PyTask.demand("await of segments") orelse return null;
        const owner = @atomicLoad(?*PyTask, &self.task, .acquire);
        if (owner != me and (owner != null or !self.stopping)) {
            // Tasks of two shards may begin it at the same time: one does.
            if (owner != null or @cmpxchgStrong(?*PyTask, &self.task, null, me, .acq_rel, .acquire) != null)
                return api.raise(py.PyExc_RuntimeError.*, "segments are received by the task that began it");
            if (!self.begin()) return null;
        }
        self.waiting = false;
        if (self.stopping) return self.stopped(me, suspended);
        if (me.cancelWanted()) return me.raiseCancel(); // What is here stays here.
        while (true) {
            if (self.take()) |piece| return piece;
            if (py.PyErr_Occurred() != null) return null;
            if (self.op == null) {
                if (self.over()) |value| return value;
                if (py.PyErr_Occurred() != null) return null;
                if (!self.arm(me, instance)) return py.PyErr_NoMemory();
                continue; // It may have ended at once.
            }
            return self.wait(me, suspended);
        }
    }

    fn wait(self: *RecvMultishot, me: *PyTask, suspended: *bool) ?*Object {
        self.waiting = true;
        suspended.* = true;
        return me.suspendNow();
    }

    /// False with an exception set; if the descriptor was closed, the next await says so again.
    fn begin(self: *RecvMultishot) bool {
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        self.counted = descriptor.acquire();
        if (self.counted) self.list = py.PyList_New(0);
        if (self.list == null) {
            self.release();
            @atomicStore(?*PyTask, &self.task, null, .release);
            return false;
        }
        // What a cancelled read left comes first.
        var left = descriptor.swapLeftover(null);
        defer api.drop(&left);
        return if (left) |bytes| py.PyList_Append(self.list.?, bytes) == 0 else true;
    }

    /// The oldest piece, or null: there is none, or an exception is set.
    fn take(self: *RecvMultishot) ?*Object {
        const list = self.list.?;
        if (self.next < py.PyList_Size(list)) {
            const piece = api.ref(py.PyList_GetItem(list, self.next).?);
            self.next += 1;
            if (self.next < py.PyList_Size(list)) return piece;
            self.next = 0;
            api.drop(&self.list);
            self.list = py.PyList_New(0);
            if (self.list != null) return piece;
            py.Py_DecRef(piece);
            return null;
        }
        if (self.count == 0) return null;
        const piece = self.pieces[self.first];
        const shard = Shard.current().?;
        const bytes = py.PyBytes_FromStringAndSize(shard.buffers.ready.all(piece.buffer).ptr, @intCast(piece.size));
        shard.buffers.ready.giveBack(piece.buffer);
        self.first = (self.first + 1) % provided_buffers.count;
        self.count -= 1;
        return bytes;
    }

    /// After the operation's end, with nothing left: b"" or an exception if that was the end of
    /// all; null without one if it goes on.
    fn over(self: *RecvMultishot) ?*Object {
        const last = self.last orelse return null;
        const closing = Descriptor.Type.body(self.descriptor.?).isClosing();
        if (closing and last <= 0)
            return Descriptor.Type.body(self.descriptor.?).raiseClosedMeanwhile();
        if (last == 0) return py.PyBytes_FromStringAndSize(null, 0);
        if (last > 0) return null;
        const errno: linux.E = errors.ofResult(last);
        switch (errno) {
            .CANCELED, .INTR, .NOBUFS => return null,
            else => return callbacks.raiseErrno(-last, null, null),
        }
    }

    /// False: no memory.
    fn arm(self: *RecvMultishot, me: *PyTask, instance: *Object) bool {
        const shard = Shard.current().?;
        var sqe: Sqe = undefined;
        const fd = Descriptor.Type.body(self.descriptor.?).fd;
        const exhausted = self.last != null and self.last.? == errors.negative(.NOBUFS);
        if (!exhausted and shard.scheduler.info.can().recv_multishot and shard.providedBuffers() != null) {
            sqe.prep_recv_multishot(fd, &.{}, 0);
            sqe.flags |= linux.IOSQE_BUFFER_SELECT;
            sqe.buf_index = provided_buffers.group;
        } else {
            self.own = py.PyBytes_FromStringAndSize(null, own_bytes) orelse return false;
            sqe.prep_recv(fd, py.PyBytes_AsString(self.own.?).?[0..own_bytes], 0);
        }
        const op = shard.ops.take(&me.task, shard) catch {
            api.drop(&self.own);
            return false;
        };
        self.op = op;
        self.last = null;
        op.descriptor_users = &Descriptor.Type.body(self.descriptor.?).users;
        op.selects_buffer = self.own == null;
        op.on_multishot = if (self.own == null) arrived else null; // A single one has no more.
        op.complete = ended;
        op.complete_ctx = api.ref(instance); // The kernel's, given back at the end.
        shard.launch(op, sqe);
        return true;
    }

    /// On the shard, maybe outside the interpreter: one more piece.
    fn arrived(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
        const self = Type.body(@ptrCast(ctx.?));
        self.keep(result, cqe_flags);
        if (self.count >= lag_max) Shard.current().?.cancelOp(self.op.?);
        if (!self.waiting) return;
        self.waiting = false;
        Shard.wake(&self.task.?.task);
    }

    fn keep(self: *RecvMultishot, result: i32, cqe_flags: u32) void {
        const id = provided_buffers.idOf(cqe_flags) orelse return;
        const shard = Shard.current().?;
        if (result <= 0) return shard.buffers.ready.giveBack(id);
        self.pieces[(self.first + self.count) % provided_buffers.count] = .{ .buffer = id, .size = @intCast(result) };
        self.count += 1;
    }

    /// On the shard, once: the kernel is done with it. The task is woken by the shard.
    fn ended(ctx: ?*anyopaque, result: i32, cqe_flags: u32) callconv(.c) void {
        const instance: *Object = @ptrCast(ctx.?);
        const self = Type.body(instance);
        self.keep(result, cqe_flags);
        self.op = null;
        self.last = result;
        Shard.current().?.acquireInterpreter();
        if (!self.settle(result)) py.PyErr_WriteUnraisable(instance);
        py.Py_DecRef(instance);
    }

    /// All pieces become bytes objects. False, with an exception, if memory is short.
    fn settle(self: *RecvMultishot, result: i32) bool {
        var complete = true;
        if (self.own != null and result > 0) {
            if (py._PyBytes_Resize(&self.own, result) != 0 or py.PyList_Append(self.list.?, self.own.?) != 0)
                complete = false;
        }
        api.drop(&self.own);
        const waiting = self.count;
        for (0..waiting) |_| {
            const before = self.next;
            self.next = py.PyList_Size(self.list.?); // Past the list, to the pieces.
            var bytes = self.take();
            self.next = before;
            if (bytes == null or py.PyList_Append(self.list.?, bytes.?) != 0) complete = false;
            api.drop(&bytes);
        }
        return complete;
    }

    /// stop(): the next await waits for the end and returns None; what came is for the next read.
    fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        Type.body(instance).stopping = true;
        return api.none();
    }

    fn stopped(self: *RecvMultishot, me: *PyTask, suspended: *bool) ?*Object {
        if (self.op) |op| {
            Shard.current().?.cancelOp(op);
            return self.wait(me, suspended);
        }
        if (!self.unread()) return null;
        self.release();
        return api.none();
    }

    /// What was not taken goes to the next read. False with an exception set.
    fn unread(self: *RecvMultishot) bool {
        const list = self.list orelse return true;
        const total = py.PyList_Size(list);
        if (self.next >= total) return true;
        var size: isize = 0;
        var i = self.next;
        while (i < total) : (i += 1) size += py.PyBytes_Size(py.PyList_GetItem(list, i).?);
        const whole = py.PyBytes_FromStringAndSize(null, size) orelse return false;
        var to = py.PyBytes_AsString(whole).?;
        i = self.next;
        while (i < total) : (i += 1) {
            const piece = py.PyList_GetItem(list, i).?;
            const count: usize = @intCast(py.PyBytes_Size(piece));
            @memcpy(to[0..count], py.PyBytes_AsString(piece).?[0..count]);
            to += count;
        }
        self.next = total;
        defer py.Py_DecRef(whole);
        return Descriptor.Type.body(self.descriptor.?).leave(whole);
    }

    fn release(self: *RecvMultishot) void {
        if (self.counted) Descriptor.Type.body(self.descriptor.?).release();
        self.counted = false;
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        std.debug.assert(self.op == null and self.count == 0);
        if (self.counted and !self.unread()) py.PyErr_WriteUnraisable(null);
        self.release();
        api.drop(&self.list);
        api.drop(&self.descriptor);
        Type.free(instance, false);
    }

    pub fn define() bool {
        const awaitable = object.Awaitable(step);
        const S = struct {
            var methods = [_]api.MethodDef{
                object.method("stop", &stop, api.meth_noargs, "($self, /)", "The next await ends it."),
                .{},
            };
        };
        var slots = awaitable.slots() ++ [_]api.TypeSlot{
            object.slotOf(api.slot.methods, &S.methods),
            object.slotOf(api.slot.dealloc, &dealloc),
            .{},
        };
        return Type.define("Segments", 0, &slots);
    }
};
