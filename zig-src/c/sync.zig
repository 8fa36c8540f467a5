//! The C ABI of semaphores and channels. Operations in a poll function; the rest on any thread.

const std = @import("std");
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const tsan = @import("../base/tsan.zig");
const shared = @import("../runtime/shared.zig");
const currentTask = @import("common.zig").currentTask;
const DropFn = @import("../runtime/native_task.zig").DropFn;
const fail = @import("common.zig").fail;
const Shard = @import("../scheduler/shard.zig").Shard;
const Shared = shared.Shared;
const Waiter = shared.Waiter;

/// As many permits, or values, as a program can count.
const most_of_all = std.math.maxInt(i64);

fn open(given: Shared, out: ?*u64) i32 {
    const handle = out orelse return fail(error.Invalid);
    const made = gpa.create(Shared) catch |err| return fail(err);
    made.* = given;
    handle.* = shared.table.insert(made) catch |err| {
        gpa.destroy(made);
        return fail(err);
    };
    return errors.ok;
}

fn close(handle: u64, kind: shared.Kind) i32 {
    if (shared.pin(handle, kind) == null) return fail(error.Closed);
    defer shared.table.unpin(handle);
    return if (shared.table.close(handle)) errors.ok else fail(error.Closed);
}

/// Writes the operation's handle; the waiter is not served yet.
fn wait(one: *Shared, how: Waiter.Wait, op: ?*u64) errors.Error!*Waiter {
    const out = op orelse return error.Invalid;
    const task = currentTask() orelse return error.NotOnShard;
    const waiter = try Waiter.start(Shard.current().?, task, one, how);
    out.* = waiter.posted.op.id();
    return waiter;
}

pub export fn spargio_semaphore_open(permits: u64, semaphore: ?*u64) i32 {
    if (permits > most_of_all) return fail(error.Invalid);
    var made: Shared = .init(.semaphore, most_of_all);
    made.exchange.count = permits;
    return open(made, semaphore);
}

pub export fn spargio_semaphore_acquire(handle: u64, permits: u64, op: ?*u64) i32 {
    if (permits == 0 or permits > most_of_all) return fail(error.Invalid);
    const one = shared.pin(handle, .semaphore) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    const waiter = wait(one, .{ .units = permits }, op) catch |err| return fail(err);
    if (one.exchange.takeUnits(permits))
        waiter.serveNow(.{ .kind = .done })
    else
        one.exchange.joinForUnits(waiter, permits);
    return errors.ok;
}

pub export fn spargio_semaphore_try_acquire(handle: u64, permits: u64) i32 {
    if (permits == 0 or permits > most_of_all) return fail(error.Invalid);
    const one = shared.pin(handle, .semaphore) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    if (!one.exchange.takeUnits(permits)) return errors.pending;
    tsan.acquire(one);
    return errors.ready;
}

pub export fn spargio_semaphore_release(handle: u64, permits: u64) i32 {
    if (permits == 0 or permits > most_of_all) return fail(error.Invalid);
    const one = shared.pin(handle, .semaphore) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    tsan.release(one);
    return if (one.exchange.putUnits(permits)) errors.ok else fail(error.Invalid);
}

pub export fn spargio_semaphore_close(handle: u64) i32 {
    return close(handle, .semaphore);
}

pub export fn spargio_channel_open(capacity: u64, drop: ?DropFn, channel: ?*u64) i32 {
    if (capacity == 0 or capacity > most_of_all) return fail(error.Invalid);
    var made: Shared = .init(.channel, capacity);
    made.drop_fn = drop;
    return open(made, channel);
}

pub export fn spargio_channel_send(handle: u64, item: ?*anyopaque, op: ?*u64) i32 {
    const one = shared.pin(handle, .channel) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    const waiter = wait(one, .{ .put = item }, op) catch |err| return fail(err);
    const value: shared.Item = .{ .pointer = item };
    const said = one.exchange.put(value) catch return noMemory(waiter);
    switch (said) {
        .done => waiter.serveNow(.{ .kind = .done }),
        .closed => waiter.serveNow(.{ .kind = .closed }),
        .full => one.exchange.joinToPut(waiter, value) catch return noMemory(waiter),
    }
    return errors.ok;
}

/// The operation has begun: that is its result.
fn noMemory(waiter: *Waiter) i32 {
    waiter.fail(.NOMEM);
    return errors.ok;
}

pub export fn spargio_channel_try_send(handle: u64, item: ?*anyopaque) i32 {
    const one = shared.pin(handle, .channel) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    tsan.release(one);
    const said = one.exchange.put(.{ .pointer = item }) catch |err| return fail(err);
    return switch (said) {
        .done => errors.ready,
        .full => errors.pending,
        .closed => fail(error.Closed),
    };
}

pub export fn spargio_channel_recv(handle: u64, item: ?*?*anyopaque, op: ?*u64) i32 {
    const out = item orelse return fail(error.Invalid);
    const one = shared.pin(handle, .channel) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    const waiter = wait(one, .{ .take = out }, op) catch |err| return fail(err);
    const value = one.exchange.take();
    if (value.kind == .nothing) one.exchange.joinToTake(waiter) else waiter.serveNow(value);
    return errors.ok;
}

pub export fn spargio_channel_try_recv(handle: u64, item: ?*?*anyopaque) i32 {
    const out = item orelse return fail(error.Invalid);
    const one = shared.pin(handle, .channel) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    const value = one.exchange.take();
    switch (value.kind) {
        .nothing => return errors.pending,
        .closed => return fail(error.Closed),
        .value, .done => out.* = value.pointer,
    }
    tsan.acquire(one);
    return errors.ready;
}

pub export fn spargio_channel_finish(handle: u64) i32 {
    const one = shared.pin(handle, .channel) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    one.exchange.close();
    return errors.ok;
}

pub export fn spargio_channel_close(handle: u64) i32 {
    return close(handle, .channel);
}
