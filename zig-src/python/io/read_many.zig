//! Many reads of one file in one await: up to 64 at a time are with the kernel, and the coroutine
//! is resumed once, with all of them. A read costs one Python object, its bytes.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const page_cache = @import("page_cache.zig");
const forgotten = @import("../cpython/forgotten.zig");
const fs = @import("../../ops/fs.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");
const batch = @import("batch.zig");
const object = @import("../cpython/object.zig");
const CoreOp = @import("../../task/op.zig").Op;
const Descriptor = @import("descriptor.zig").Descriptor;
const PyTask = @import("../task/py_task.zig").PyTask;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Object = api.Object;
const py = &api.py;

/// Reads that one await has under way at a time.
pub const depth_max = 64;

/// So few are tried in the page cache first (page_cache.zig). More are cheaper by the ring, also if the
/// cache has them: one system call for all of a window.
const tried_max = 15;

const offset_max = std.math.maxInt(i64);
const offset_allowed = "an int between 0 and 9223372036854775807";

const Slot = struct {
    op: ?*CoreOp = null,
    /// Memory for the next read, or of the one in work.
    bytes: ?*Object = null,
    /// Its index in the list.
    index: usize = 0,
};

const Failure = struct {
    index: usize,
    /// Null: no memory.
    errno: ?linux.E,
};

const ReadMany = struct {
    progress: batch.Progress,
    /// Counted in at the descriptor.
    counted: bool,
    descriptor: ?*Object,
    /// A list of its own, so that no code of the caller's runs when something is put into it.
    results: ?*Object,
    /// One per read.
    offsets: []u64,
    slots: []Slot,
    size: usize,
    /// The first by position.
    failure: ?Failure,

    pub const Type = object.TypeOf(ReadMany);
    pub const title = "read_many_at";

    pub fn about(self: *ReadMany) ?*Object {
        return self.descriptor;
    }

    pub fn start(self: *ReadMany) bool {
        if (!Descriptor.Type.body(self.descriptor.?).acquire()) return false;
        self.counted = true;
        self.slots = gpa.alloc(Slot, @min(depth_max, self.offsets.len)) catch {
            self.finish();
            _ = py.PyErr_NoMemory();
            return false;
        };
        @memset(self.slots, .{});
        return true;
    }

    pub fn window(self: *ReadMany) []Slot {
        return self.slots;
    }

    /// Goes on until a read is with the kernel.
    pub fn begin(self: *ReadMany, shard: *Shard, me: *PyTask, slot: *Slot) void {
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        while (slot.op == null and self.progress.open()) {
            slot.index = self.progress.next;
            const room = self.makeRoom(slot) orelse return self.fail(shard, slot, null);
            const offset = self.offsets[slot.index];
            const answer: page_cache.Answer = if (self.size == 0)
                .{ .count = 0 }
            else if (self.offsets.len > tried_max)
                .ring
            else
                page_cache.attempt(shard, &descriptor.cache, descriptor.fd, room, offset);
            switch (answer) {
                .count => |count| self.take(shard, slot, count),
                .ring => {
                    // A close has told those under way before; this one it would not see.
                    if (descriptor.isClosing() and !descriptor.endsByItself())
                        return self.fail(shard, slot, .CANCELED);
                    self.launch(shard, me, slot);
                },
                .turn => {
                    self.progress.again = true;
                    return;
                },
            }
            self.progress.next += 1;
        }
    }

    fn makeRoom(self: *ReadMany, slot: *Slot) ?[]u8 {
        if (slot.bytes == null) slot.bytes = py.PyBytes_FromStringAndSize(null, @intCast(self.size));
        if (slot.bytes) |bytes| return py.PyBytes_AsString(bytes).?[0..self.size];
        py.PyErr_Clear();
        return null;
    }

    fn launch(self: *ReadMany, shard: *Shard, me: *PyTask, slot: *Slot) void {
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        const room = py.PyBytes_AsString(slot.bytes.?).?[0..self.size];
        const op = fs.readAt(shard, &me.task, descriptor.fd, room, self.offsets[slot.index]) catch
            return self.fail(shard, slot, null);
        op.descriptor_users = &descriptor.users;
        slot.op = op;
        self.progress.busy += 1;
    }

    /// A read has ended.
    pub fn advance(self: *ReadMany, shard: *Shard, me: *PyTask, slot: *Slot, result: i32) void {
        if (result >= 0) return self.take(shard, slot, @intCast(result));
        const errno: linux.E = errors.ofResult(result);
        const again = errno == .INTR and !self.progress.cancelling and !self.progress.stopped;
        if (again) self.launch(shard, me, slot) else self.fail(shard, slot, errno);
    }

    /// The bytes go to their place in the list, cut to what was read.
    fn take(self: *ReadMany, shard: *Shard, slot: *Slot, count: usize) void {
        assert(slot.op == null and count <= self.size);
        if (count < self.size and py._PyBytes_Resize(&slot.bytes, @intCast(count)) != 0) {
            py.PyErr_Clear();
            return self.fail(shard, slot, null);
        }
        const bytes = slot.bytes.?;
        slot.bytes = null;
        if (py.PyList_SetItem(self.results.?, @intCast(slot.index), bytes) != 0) py.PyErr_Clear();
    }

    /// Reads before this one go on, because the first error is to be reported; those after it are cancelled.
    fn fail(self: *ReadMany, shard: *Shard, slot: *Slot, errno: ?linux.E) void {
        assert(slot.op == null);
        api.drop(&slot.bytes);
        if (self.progress.cancelling and (errno == .CANCELED or errno == .INTR)) {
            self.progress.cut = true;
            return;
        }
        if (self.failure) |first| if (first.index < slot.index) return;
        self.failure = .{ .index = slot.index, .errno = errno };
        self.progress.stopped = true;
        for (self.slots) |*other| {
            if (other.op) |op| if (other.index > slot.index) shard.cancelOp(op);
        }
    }

    pub fn outcome(self: *ReadMany) ?*Object {
        const results = self.results.?;
        const failure = self.failure orelse {
            self.results = null;
            self.finish();
            return results;
        };
        const descriptor = Descriptor.Type.body(self.descriptor.?);
        const closed = descriptor.isClosing();
        const offset = self.offsets[failure.index];
        self.finish();
        const errno = failure.errno orelse return py.PyErr_NoMemory();
        if (closed) {
            const me = PyTask.current().?; // The awaiting task.
            if (me.cancelWanted()) return me.raiseCancel();
            return descriptor.raiseClosedMeanwhile();
        }
        var text: [96]u8 = undefined;
        const words = std.fmt.bufPrint(&text, "reading {d} bytes at offset {d}", .{
            self.size, offset,
        }) catch unreachable;
        // EPERM has a text of its own, if the ring's rights are not the thread's.
        return callbacks.raiseErrno(@backingInt(errno), if (errno == .PERM) null else words, descriptor.name);
    }

    /// The kernel is done with it, for good.
    fn finish(self: *ReadMany) void {
        if (self.counted) {
            self.counted = false;
            Descriptor.Type.body(self.descriptor.?).release();
        }
        for (self.slots) |*slot| api.drop(&slot.bytes);
        gpa.free(self.slots);
        gpa.free(self.offsets);
        self.slots = &.{};
        self.offsets = &.{};
        api.drop(&self.results);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        batch.Told(ReadMany).told(instance);
        self.finish(); // While the kernel has a read the task holds a reference.
        api.drop(&self.descriptor);
        Type.free(instance, false);
    }
};

fn isError(class: *Object) bool {
    return py.PyErr_GivenExceptionMatches(py.PyErr_Occurred().?, class) != 0;
}

/// A list of its own. Null with the exception set.
fn listOf(given: *Object) ?*Object {
    if (py.PySequence_List(given)) |list| return list;
    if (!isError(py.PyExc_TypeError.*)) return null;
    // It may also be of the iterable's own code.
    const exception = api.takeException();
    defer py.Py_DecRef(exception);
    if (py.PyObject_GetAttrString(given, "__iter__")) |found| {
        py.Py_DecRef(found);
        api.raiseObject(exception);
        return null;
    }
    py.PyErr_Clear();
    return api.raiseValue(py.PyExc_TypeError.*, "offsets", given, "an iterable of ints");
}

/// Null with the exception set.
fn offsetOf(given: *Object) ?u64 {
    const value = py.PyLong_AsLongLong(given);
    if (value >= 0) return @intCast(value);
    var class = py.PyExc_ValueError.*;
    if (value == -1 and py.PyErr_Occurred() != null) {
        if (isError(py.PyExc_TypeError.*)) {
            class = py.PyExc_TypeError.*;
        } else if (!isError(py.PyExc_OverflowError.*)) return null;
        py.PyErr_Clear();
    }
    _ = api.raiseValue(class, "an offset", given, offset_allowed);
    return null;
}

comptime {
    assert(offset_max == 9223372036854775807); // As the text says.
}

/// read_many_at(offsets, size), a method of Descriptor: a list of bytes, in the order of the offsets.
pub fn readManyAt(descriptor: *Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("read_many_at", count, 2)) return null;
    const size = object.unsigned(arguments[1], "the number of bytes", fs.transfer_max) orelse return null;
    const list = listOf(arguments[0]) orelse return null;
    defer py.Py_DecRef(list);
    const length: usize = @intCast(py.PyList_Size(list));
    const offsets = gpa.alloc(u64, length) catch return py.PyErr_NoMemory();
    for (offsets, 0..) |*offset, i| {
        // A reference of its own: what an __index__ does is not known.
        const item = api.ref(py.PyList_GetItem(list, @intCast(i)) orelse return abandon(offsets));
        defer py.Py_DecRef(item);
        offset.* = offsetOf(item) orelse return abandon(offsets);
    }
    const results = py.PyList_New(@intCast(length)) orelse return abandon(offsets);
    const instance = ReadMany.Type.create() orelse {
        py.Py_DecRef(results);
        return abandon(offsets);
    };
    forgotten.made(instance);
    const self = ReadMany.Type.body(instance);
    self.slots = &.{};
    self.failure = null;
    self.offsets = offsets;
    self.size = size;
    self.progress.count = length;
    self.results = results;
    self.descriptor = api.ref(descriptor);
    return instance;
}

fn abandon(offsets: []u64) ?*Object {
    gpa.free(offsets);
    return null;
}

pub fn define() bool {
    const Told = batch.Told(ReadMany);
    return object.define(ReadMany.Type, "ReadMany", .{
        .step = batch.Batch(ReadMany).step,
        .give_up = Told.giveUp,
        .repr = &Told.show,
        .dealloc = &ReadMany.dealloc,
    });
}
