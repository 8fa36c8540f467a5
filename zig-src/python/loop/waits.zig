//! Futures that end when a descriptor is ready, for `sock_recv` and its kin: a poll of the ring for each. Who
//! waits makes the transfer itself once it runs again, so one that was cancelled has moved nothing.
//! Only the loop's thread uses it.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../../base/errors.zig");
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const calls = @import("calls.zig");
const method_names = @import("method_names.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Loop = @import("loop.zig").Loop;
const Op = @import("../../task/op.zig").Op;
const Shard = @import("../../scheduler/shard.zig").Shard;
const Sqe = @import("../../ring/ring.zig").Sqe;
const Object = api.Object;
const py = &api.py;

const Wait = struct {
    loop: *Loop,
    fd: i32,
    events: u32,
    /// Owned; null once it was given up: the memory lives until the operation has ended.
    future: ?*Object,
    op: ?*Op = null,
    /// In one of the two lists.
    listed: bool = false,

    fn polled(ctx: ?*anyopaque, result: i32, _: u32) callconv(.c) void {
        const self: *Wait = @ptrCast(@alignCast(ctx.?));
        self.op = null;
        if (self.future == null) return gpa.destroy(self);
        const waits = &self.loop.waits;
        const again = result == errors.negative(.CANCELED) or result == errors.negative(.INTR);
        Waits.list(if (again) &waits.unarmed else &waits.ready, self);
    }

    /// It is in the table no more.
    fn drop(self: *Wait) void {
        var future = self.future;
        self.future = null;
        if (self.op == null and !self.listed) gpa.destroy(self);
        api.drop(&future);
    }
};

pub const Waits = struct {
    by_future: std.AutoHashMapUnmanaged(*Object, *Wait) = .empty,
    /// To be polled at the end of the loop's poll.
    unarmed: std.ArrayList(*Wait) = .empty,
    /// Ready: to be told in the next turn.
    ready: std.ArrayList(*Wait) = .empty,

    fn list(which: *std.ArrayList(*Wait), wait: *Wait) void {
        assert(!wait.listed and wait.op == null);
        which.append(gpa, wait) catch @panic("spargio: no memory for what is ready");
        wait.listed = true;
    }

    /// At the end of a poll of the loop.
    pub fn arm(self: *Waits, loop: *Loop, shard: *Shard) void {
        while (self.unarmed.pop()) |wait| {
            wait.listed = false;
            if (wait.future == null) {
                gpa.destroy(wait);
                continue;
            }
            const op = shard.ops.take(&loop.task, shard) catch return list(&self.unarmed, wait);
            op.complete = Wait.polled;
            op.complete_ctx = wait;
            wait.op = op;
            var sqe: Sqe = undefined;
            sqe.prep_poll_add(wait.fd, wait.events);
            shard.launch(op, sqe);
        }
    }

    /// In a turn.
    pub fn deliver(self: *Waits) void {
        const count = self.ready.items.len;
        if (count == 0) return;
        for (0..count) |i| {
            const wait = self.ready.items[i];
            wait.listed = false;
            const future = wait.future orelse {
                gpa.destroy(wait);
                continue;
            };
            _ = self.by_future.remove(future);
            wait.future = null;
            gpa.destroy(wait);
            tell(future);
            py.Py_DecRef(future);
        }
        std.mem.copyForwards(*Wait, self.ready.items, self.ready.items[count..]);
        self.ready.items.len -= count;
    }

    fn tell(future: *Object) void {
        const is_done = method_names.callMethod(future, &method_names.done, &.{}) orelse
            return py.PyErr_WriteUnraisable(future);
        py.Py_DecRef(is_done);
        if (is_done == py._Py_TrueStruct) return; // It was cancelled.
        var told = method_names.callMethod(future, &method_names.set_result, &.{py._Py_NoneStruct});
        if (told == null) py.PyErr_WriteUnraisable(future);
        api.drop(&told);
    }

    /// The loop ends. Operations end with its task.
    pub fn clear(self: *Waits) void {
        for ([_]*std.ArrayList(*Wait){ &self.unarmed, &self.ready }) |which| while (which.pop()) |wait| {
            wait.listed = false;
            if (wait.future == null) gpa.destroy(wait);
        };
        var all = self.by_future;
        self.by_future = .empty;
        defer all.deinit(gpa);
        var values = all.valueIterator();
        while (values.next()) |wait| wait.*.drop();
    }

    pub fn deinit(self: *Waits) void {
        self.by_future.deinit(gpa);
        self.unarmed.deinit(gpa);
        self.ready.deinit(gpa);
    }

    pub fn traverse(self: *const Waits, visit: api.Visit, arg: ?*anyopaque) c_int {
        var futures = self.by_future.keyIterator();
        while (futures.next()) |future| {
            const status = visit(future.*, arg);
            if (status != 0) return status;
        }
        return 0;
    }
};

/// _wait_ready(fd, is_writer): a Future that ends when the descriptor is ready, or something is wrong with it.
pub fn waitReady(instance: *Object, args: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("_wait_ready", count, 2)) return null;
    const loop = Loop.of(instance);
    if (loop.closed) return api.raise(py.PyExc_RuntimeError.*, "Event loop is closed");
    const fd = object.unsigned(args[0], "fd", std.math.maxInt(i32)) orelse return null;
    const is_writer = object.unsigned(args[1], "is_writer", 1) orelse return null;
    const future = calls.createFuture(instance, null) orelse return null;
    const wait = gpa.create(Wait) catch {
        py.Py_DecRef(future);
        return py.PyErr_NoMemory();
    };
    const events: u32 = if (is_writer == 1) linux.POLL.OUT else linux.POLL.IN;
    wait.* = .{ .loop = loop, .fd = @intCast(fd), .events = events, .future = future };
    loop.waits.by_future.put(gpa, future, wait) catch {
        wait.drop();
        return py.PyErr_NoMemory();
    };
    Waits.list(&loop.waits.unarmed, wait);
    loop.wake();
    return api.ref(future);
}

/// _give_up(future): nobody waits for it any more. What waits in the kernel is cancelled there now: its hold on
/// a socket would keep it open after a close().
pub fn giveUp(instance: *Object, future: *Object) callconv(.c) ?*Object {
    const loop = Loop.of(instance);
    const entry = loop.waits.by_future.fetchRemove(future) orelse return api.none();
    const wait = entry.value;
    if (wait.op) |op| if (Shard.current()) |shard| if (shard == loop.shard) {
        shard.cancelOp(op);
        shard.submit();
    };
    wait.drop();
    return api.none();
}
