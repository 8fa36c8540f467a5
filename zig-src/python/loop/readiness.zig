//! add_reader and add_writer of an asyncio loop, by `LoopCore._add_watch` and its kin: a POLL_ADD per
//! descriptor and direction, made again after its callback has run, so a descriptor that is still ready is
//! reported again. Only the loop's thread uses it.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const object = @import("../cpython/object.zig");
const Handle = @import("handle.zig").Handle;
const Loop = @import("loop.zig").Loop;
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

const Watch = struct {
    loop: *Loop,
    fd: i32,
    events: u32,
    /// Null once it was removed; the memory lives until the operation has ended.
    handle: ?*Object,
    op: ?*Op = null,
    /// In the list of those to be armed.
    listed: bool = false,
};

const Key = struct { fd: i32, is_writer: bool };

pub const Readiness = struct {
    watches: std.AutoHashMapUnmanaged(Key, *Watch) = .empty,
    /// To be armed at the end of a poll.
    unarmed: std.ArrayList(*Watch) = .empty,

    /// Takes over the reference of `handle`, unless there is no memory. One that was there is cancelled,
    /// with its operation: the number may be another file's by now.
    pub fn add(self: *Readiness, loop: *Loop, fd: i32, is_writer: bool, handle: *Object) error{OutOfMemory}!void {
        _ = self.remove(loop, fd, is_writer);
        const entry = try self.watches.getOrPut(gpa, .{ .fd = fd, .is_writer = is_writer });
        errdefer _ = self.watches.remove(.{ .fd = fd, .is_writer = is_writer });
        const watch = try gpa.create(Watch);
        errdefer gpa.destroy(watch);
        const events: u32 = if (is_writer) linux.POLL.OUT else linux.POLL.IN;
        watch.* = .{ .loop = loop, .fd = fd, .events = events, .handle = handle };
        try self.list(watch);
        entry.value_ptr.* = watch;
    }

    fn list(self: *Readiness, watch: *Watch) error{OutOfMemory}!void {
        try self.unarmed.append(gpa, watch);
        watch.listed = true;
    }

    /// Whether there was one.
    pub fn remove(self: *Readiness, loop: *Loop, fd: i32, is_writer: bool) bool {
        const entry = self.watches.fetchRemove(.{ .fd = fd, .is_writer = is_writer }) orelse return false;
        const watch = entry.value;
        const handle = watch.handle.?;
        watch.handle = null;
        if (watch.op) |op| {
            if (Shard.current() == loop.shard) {
                // At once: the ring's hold on a socket would keep it open, and its port bound, after a close().
                loop.shard.?.cancelOp(op);
                loop.shard.?.submit();
            } else self.list(watch) catch {};
        } else if (!watch.listed) gpa.destroy(watch);
        cancelHandle(handle);
        return true;
    }

    pub fn directions(self: *const Readiness, fd: i32) u2 {
        return @as(u2, @intFromBool(self.watches.contains(.{ .fd = fd, .is_writer = false }))) |
            @as(u2, @intFromBool(self.watches.contains(.{ .fd = fd, .is_writer = true }))) << 1;
    }

    fn cancelHandle(handle: *Object) void {
        if (!Handle.cancelNow(handle)) py.PyErr_WriteUnraisable(handle);
        py.Py_DecRef(handle);
    }

    /// At the end of a poll: those whose callbacks have run, and new ones.
    pub fn arm(self: *Readiness, loop: *Loop, shard: *Shard) void {
        while (self.unarmed.pop()) |watch| {
            watch.listed = false;
            if (watch.handle == null) {
                if (watch.op) |op| shard.cancelOp(op) else gpa.destroy(watch);
                continue;
            }
            if (watch.op != null) continue;
            const op = shard.ops.take(&loop.task, shard) catch {
                self.list(watch) catch {};
                return;
            };
            op.complete = polled;
            op.complete_ctx = watch;
            watch.op = op;
            var sqe: Sqe = undefined;
            sqe.prep_poll_add(watch.fd, watch.events);
            shard.launch(op, sqe);
        }
    }

    /// The descriptor is ready, or something is wrong with it: the callback finds out.
    fn polled(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const watch: *Watch = @ptrCast(@alignCast(ctx.?));
        watch.op = null;
        const handle = watch.handle orelse {
            if (!watch.listed) gpa.destroy(watch);
            return;
        };
        const self = &watch.loop.readiness;
        self.list(watch) catch return;
        if (result < 0 and result == errors.negative(.CANCELED)) return; // Armed again.
        Shard.current().?.acquireInterpreter();
        watch.loop.push(.{ .handle = api.ref(handle) }) catch py.Py_DecRef(handle);
    }

    /// The loop ends. Operations end with its task.
    pub fn clear(self: *Readiness) void {
        while (self.unarmed.pop()) |watch| {
            watch.listed = false;
            if (watch.handle == null and watch.op == null) gpa.destroy(watch);
        }
        var all = self.watches;
        self.watches = .empty;
        var values = all.valueIterator();
        while (values.next()) |value| {
            const watch = value.*;
            const handle = watch.handle.?;
            watch.handle = null;
            if (watch.op == null) gpa.destroy(watch);
            py.Py_DecRef(handle);
        }
        all.deinit(gpa);
    }

    pub fn deinit(self: *Readiness) void {
        self.unarmed.deinit(gpa);
        self.watches.deinit(gpa);
    }

    pub fn traverse(self: *Readiness, visit: api.Visit, arg: ?*anyopaque) c_int {
        var values = self.watches.valueIterator();
        while (values.next()) |value| {
            const status = visit(value.*.handle, arg);
            if (status != 0) return status;
        }
        return 0;
    }
};

// ---- what Python calls ----

/// _add_watch(fd, is_writer, callback, *args): the callback runs whenever the descriptor is ready.
pub fn addWatch(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    const self = Loop.of(instance);
    if (count < 3) return api.raise(py.PyExc_TypeError.*, "_add_watch() takes at least 3 arguments");
    const fd = object.unsigned(args[0], "fd", std.math.maxInt(i32)) orelse return null;
    const writer = object.unsigned(args[1], "is_writer", 1) orelse return null;
    const context = py.PyContext_CopyCurrent() orelse return null;
    const handle = Handle.make(self, args[2], args[3..@intCast(count)], context) orelse return null;
    handle.lasting = true;
    self.readiness.add(self, @intCast(fd), writer == 1, handle.objectOf()) catch {
        py.Py_DecRef(handle.objectOf());
        return py.PyErr_NoMemory();
    };
    if (!self.in_turn and self.spawned.load(.monotonic)) Shard.wake(&self.task);
    return api.ref(handle.objectOf());
}

/// _remove_watch(fd, is_writer): whether there was one.
pub fn removeWatch(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_remove_watch", count, 2)) return null;
    const self = Loop.of(instance);
    const fd = object.unsigned(args[0], "fd", std.math.maxInt(i32)) orelse return null;
    const writer = object.unsigned(args[1], "is_writer", 1) orelse return null;
    return py.PyBool_FromLong(@intFromBool(self.readiness.remove(self, @intCast(fd), writer == 1)));
}

/// _watched(fd): 1 for a reader, plus 2 for a writer.
pub fn watched(instance: *Object, number: *Object) callconv(.c) ?*Object {
    const fd = object.unsigned(number, "fd", std.math.maxInt(i32)) orelse return null;
    return py.PyLong_FromLongLong(Loop.of(instance).readiness.directions(@intCast(fd)));
}
