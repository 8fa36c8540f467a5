//! The C ABI of tasks and of operations in general: spawn, join, cancel, poll, sleep. Any thread
//! may use join handles; the rest is for poll functions.

const std = @import("std");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const fs = @import("../ops/fs.zig");
const handles = @import("../runtime/runtime_handle.zig");
const options_module = @import("../base/options.zig");
const timer = @import("../ops/timer.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const joins = &@import("../runtime/native_task.zig").joins;
const Kind = @import("../task/task.zig").Kind;
const launch = @import("common.zig").launch;
const NativeTask = @import("../runtime/native_task.zig").NativeTask;
const Op = @import("../task/op.zig").Op;
const Placement = @import("../runtime/runtime.zig").Placement;
const PollFn = @import("../runtime/native_task.zig").PollFn;
const Shard = @import("../scheduler/shard.zig").Shard;
const shard_none = @import("../task/task.zig").shard_none;
const Task = @import("../task/task.zig").Task;

/// Mirrors `spargio_placement`.
pub const PlacementC = extern struct {
    struct_size: u32 = @sizeOf(PlacementC),
    kind: u32 = @backingInt(Kind.stealable),
    value: u64 = 0,
};

pub export fn spargio_spawn(
    handle: u64,
    placement: ?*const PlacementC,
    poll: ?PollFn,
    ctx: ?*anyopaque,
    join: ?*u64,
) i32 {
    if (join) |out| out.* = 0;
    const function = poll orelse return fail(error.Invalid);
    const where = readPlacement(placement) catch |err| return fail(err);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    NativeTask.spawn(runtime, handle, where, function, ctx, join) catch |err| return fail(err);
    return errors.ok;
}

fn readPlacement(given: ?*const PlacementC) errors.Error!Placement {
    const pointer = given orelse return .{ .kind = .stealable };
    const read = try options_module.read(PlacementC, .{}, pointer);
    if (read.kind > @backingInt(Kind.stealable_preferred)) return error.Invalid;
    return .{ .kind = @fromBackingInt(@intCast(read.kind)), .value = read.value };
}

pub export fn spargio_join_wait(join: u64, timeout_ns: u64, result: ?*i64) i32 {
    if (Shard.current() != null) return fail(error.OnShard);
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    const deadline = clock.deadlineNs(timeout_ns);
    if (!native.task.isDone()) {
        // A runtime that is gone has ended all its tasks; in a forked child they never end.
        if (handles.pinRuntime(native.runtime)) |runtime| {
            defer handles.runtimes.unpin(native.runtime);
            if (runtime.scheduler.forked()) return fail(error.Forked);
        }
    }
    while (!native.task.latch.waitThread(deadline)) {
        if (deadline != std.math.maxInt(u64) and clock.nowNs() >= deadline) return fail(error.Timeout);
    }
    return outcome(&native.task, result);
}

pub export fn spargio_join_poll(join: u64, result: ?*i64) i32 {
    const task = currentTask() orelse return fail(error.NotOnShard);
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    if (task == &native.task) return fail(error.Invalid); // A task that waits for itself never ends.
    const waiting = NativeTask.of(task).awaitTask(native) catch |err| return fail(err);
    return if (waiting) errors.pending else outcome(&native.task, result);
}

fn outcome(task: *const Task, result: ?*i64) i32 {
    if (task.status == errors.ok) if (result) |out| {
        out.* = task.result;
    };
    return task.status;
}

pub export fn spargio_join_cancel(join: u64) i32 {
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    // A runtime that is gone has ended all its tasks.
    const runtime = handles.pinRuntime(native.runtime) orelse return errors.ok;
    defer handles.runtimes.unpin(native.runtime);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    native.task.cancel_requested.store(true, .seq_cst);
    Shard.wake(&native.task);
    return errors.ok;
}

pub export fn spargio_join_shard(join: u64, shard: ?*u32) i32 {
    const out = shard orelse return fail(error.Invalid);
    const native = joins.pin(join) orelse return fail(error.Closed);
    defer joins.unpin(join);
    const id = native.task.home_id.load(.acquire);
    if (id == shard_none) return errors.pending;
    out.* = id;
    return errors.ok;
}

pub export fn spargio_join_release(join: u64) i32 {
    return if (joins.close(join)) errors.ok else fail(error.Closed);
}

pub export fn spargio_current_shard(shard: ?*u32) i32 {
    const out = shard orelse return fail(error.Invalid);
    const current = Shard.current() orelse return fail(error.NotOnShard);
    if (current.current_task == null) return fail(error.NotOnShard);
    out.* = current.id;
    return errors.ok;
}

pub export fn spargio_task_cancelled() i32 {
    const task = currentTask() orelse return fail(error.NotOnShard);
    return @intFromBool(task.cancel_requested.load(.acquire));
}

pub export fn spargio_op_poll(handle: u64, result: ?*i32) i32 {
    const out = result orelse return fail(error.Invalid);
    const op = findOp(handle) catch |err| return fail(err);
    if (op.phase == .flying) return errors.pending;
    out.* = Shard.current().?.ops.consume(op);
    return errors.ready;
}

pub export fn spargio_op_cancel(handle: u64) i32 {
    const op = findOp(handle) catch |err| return fail(err);
    Shard.current().?.cancelOp(op);
    return errors.ok;
}

/// An op of the current task; another's handle is as good as stale.
fn findOp(handle: u64) errors.Error!*Op {
    const task = currentTask() orelse return error.NotOnShard;
    const op = Shard.current().?.ops.find(handle) orelse return error.Closed;
    return if (op.task == task) op else error.Closed;
}

pub export fn spargio_nop(op: ?*u64) i32 {
    return launch(op, fs.nop, .{});
}

pub export fn spargio_sleep(duration_ns: u64, op: ?*u64) i32 {
    return launch(op, timer.sleep, .{duration_ns});
}
