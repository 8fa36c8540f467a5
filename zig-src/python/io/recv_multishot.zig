//! One receive for many pieces (IORING_RECV_MULTISHOT, 6.0): the kernel picks a buffer for each
//! piece that comes, without a new request. Each await returns the next piece, b"" at the end.
//!
//! Pieces lie in the shard's buffers only while the kernel has the operation, which holds this
//! object meanwhile; at its end they become bytes objects, so that no buffer can be forgotten.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const provided_buffers = @import("../../ring/provided_buffers.zig");
const callbacks = @import("../cpython/callbacks.zig");
const multishot = @import("multishot.zig");
const object = @import("../cpython/object.zig");
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

/// If the kernel cannot pick a buffer: a single receive of so many bytes.
const own_bytes = 16 * 1024;

const Piece = struct { buffer: u16, size: u32 };

pub const RecvMultishot = struct {
    state: multishot.State,
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
    const Shot = multishot.Multishot(RecvMultishot);
    pub const make = Shot.make;

    pub const awaited = "segments";
    pub const owned = "segments are received";

    /// What a cancelled read left comes first.
    pub fn begin(self: *RecvMultishot) bool {
        if (self.list == null) self.list = py.PyList_New(0);
        const list = self.list orelse return false;
        var left = self.state.descriptorOf().swapLeftover(null);
        defer api.drop(&left);
        return if (left) |bytes| py.PyList_Append(list, bytes) == 0 else true;
    }

    pub fn take(self: *RecvMultishot) ??*Object {
        const list = self.list.?;
        if (self.next < py.PyList_Size(list)) return self.takeListed(list);
        if (self.count == 0) return null;
        const piece = self.pieces[self.first];
        const shard = Shard.current().?;
        const bytes = py.PyBytes_FromStringAndSize(shard.buffers.ready.all(piece.buffer).ptr, @intCast(piece.size));
        shard.buffers.ready.giveBack(piece.buffer);
        self.first = (self.first + 1) % provided_buffers.count;
        self.count -= 1;
        return bytes;
    }

    fn takeListed(self: *RecvMultishot, list: *Object) ?*Object {
        const piece = api.ref(py.PyList_GetItem(list, self.next).?);
        self.next += 1;
        if (self.next < py.PyList_Size(list)) return piece;
        const empty = py.PyList_New(0) orelse {
            self.next -= 1; // It stays the next one.
            py.Py_DecRef(piece);
            return null;
        };
        self.next = 0;
        api.drop(&self.list);
        self.list = empty;
        return piece;
    }

    /// b"" or an exception at the end of all.
    pub fn over(self: *RecvMultishot, last: i32) ??*Object {
        const descriptor = self.state.descriptorOf();
        if (last <= 0 and descriptor.isClosing()) return descriptor.raiseClosedMeanwhile();
        if (last == 0) return py.PyBytes_FromStringAndSize(null, 0);
        if (last > 0) return null;
        return switch (errors.ofResult(last)) {
            .CANCELED, .INTR, .NOBUFS => null,
            else => callbacks.raiseErrno(-last, null, null),
        };
    }

    pub fn prepare(self: *RecvMultishot, shard: *Shard, sqe: *Sqe) error{OutOfMemory}!multishot.Shape {
        const fd = self.state.descriptorOf().fd;
        api.drop(&self.own);
        const last = self.state.last;
        const exhausted = last != null and last.? == errors.negative(.NOBUFS);
        if (!exhausted and shard.scheduler.info.can().recv_multishot and shard.providedBuffers() != null) {
            sqe.prep_recv_multishot(fd, &.{}, 0);
            sqe.flags |= linux.IOSQE_BUFFER_SELECT;
            sqe.buf_index = provided_buffers.group;
            return .{ .selects_buffer = true };
        }
        self.own = py.PyBytes_FromStringAndSize(null, own_bytes) orelse return error.OutOfMemory;
        sqe.prep_recv(fd, py.PyBytes_AsString(self.own.?).?[0..own_bytes], 0);
        return .{ .repeats = false };
    }

    pub fn keep(self: *RecvMultishot, result: i32, cqe_flags: u32) void {
        const id = provided_buffers.idOf(cqe_flags) orelse return;
        const shard = Shard.current().?;
        if (result <= 0) return shard.buffers.ready.giveBack(id);
        self.pieces[(self.first + self.count) % provided_buffers.count] = .{ .buffer = id, .size = @intCast(result) };
        self.count += 1;
    }

    pub fn lags(self: *const RecvMultishot) bool {
        return self.count >= multishot.lag_max;
    }

    /// All pieces become bytes objects.
    pub fn finish(self: *RecvMultishot, result: i32) bool {
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
            var bytes = self.take().?;
            self.next = before;
            if (bytes == null or py.PyList_Append(self.list.?, bytes.?) != 0) complete = false;
            api.drop(&bytes);
        }
        return complete;
    }

    /// What was not taken goes to the next read.
    pub fn leave(self: *RecvMultishot) bool {
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
        return self.state.descriptorOf().leave(whole);
    }

    pub fn drop(self: *RecvMultishot) void {
        std.debug.assert(self.count == 0); // They were finished at the operation's end.
        api.drop(&self.own);
        api.drop(&self.list);
    }
};

pub fn define() bool {
    return RecvMultishot.Shot.define("Segments");
}
