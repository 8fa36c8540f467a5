//! The C ABI of tasks: spawn, join, cancel, wake. Handles are for any thread; the rest is for poll functions.

const std = @import("std");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const tsan = @import("../base/tsan.zig");
const handles = @import("../runtime/runtime_handle.zig");
const options_module = @import("../base/options.zig");
const common = @import("common.zig");
const currentTask = @import("common.zig").currentTask;
const fail = @import("common.zig").fail;
const joins = &@import("../runtime/native_task.zig").joins;
const Kind = @import("../task/task.zig").Kind;
const DropFn = @import("../runtime/native_task.zig").DropFn;
const NativeTask = @import("../runtime/native_task.zig").NativeTask;
const Placement = @import("../runtime/runtime.zig").Placement;
const PollFn = @import("../runtime/native_task.zig").PollFn;
const selves = &@import("../runtime/native_task.zig").selves;
const Shard = @import("../scheduler/shard.zig").Shard;
const shard_none = @import("../task/task.zig").shard_none;
const Task = @import("../task/task.zig").Task;
pub const Work = @import("../runtime/native_task.zig").Work;

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
    const function = poll orelse return fail(error.Invalid);
    return spawn(handle, placement, .{ .poll_fn = function, .ctx = ctx, .begins_late = join == null }, join);
}

/// Up to 0.3 a detached task that the runtime's end overtook was not called.
fn spawnFirst(
    handle: u64,
    placement: ?*const PlacementC,
    poll: ?PollFn,
    ctx: ?*anyopaque,
    join: ?*u64,
) callconv(.c) i32 {
    const function = poll orelse return fail(error.Invalid);
    return spawn(handle, placement, .{ .poll_fn = function, .ctx = ctx }, join);
}

comptime {
    common.exportVersion(&spawnFirst, "spargio_spawn@SPARGIO_0.1");
}

pub export fn spargio_spawn_owned(
    handle: u64,
    placement: ?*const PlacementC,
    poll: ?PollFn,
    ctx: ?*anyopaque,
    drop: ?DropFn,
    join: ?*u64,
) i32 {
    const function = poll orelse return fail(error.Invalid);
    const drop_fn = drop orelse return fail(error.Invalid);
    return spawn(handle, placement, .{ .poll_fn = function, .ctx = ctx, .drop_fn = drop_fn }, join);
}

pub inline fn spawn(handle: u64, placement: ?*const PlacementC, work: Work, join: ?*u64) i32 {
    if (join) |out| out.* = 0;
    const where = readPlacement(placement) catch |err| return fail(err);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    NativeTask.spawn(runtime, handle, where, work, join) catch |err| return fail(err);
    return errors.ok;
}

pub fn readPlacement(given: ?*const PlacementC) errors.Error!Placement {
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
    tsan.acquire(task);
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

pub export fn spargio_task_self(out: ?*u64) i32 {
    const handle = out orelse return fail(error.Invalid);
    const task = currentTask() orelse return fail(error.NotOnShard);
    handle.* = NativeTask.of(task).selfHandle() catch |err| return fail(err);
    return errors.ok;
}

pub export fn spargio_task_wake(handle: u64) i32 {
    const native = selves.pin(handle) orelse return fail(error.Closed);
    defer selves.unpin(handle);
    // The runtime of a task that runs here cannot end meanwhile.
    const here = if (currentTask()) |me| NativeTask.of(me).runtime == native.runtime else false;
    const runtime = if (here) null else handles.pinRuntime(native.runtime) orelse return fail(error.Closed);
    defer if (runtime != null) handles.runtimes.unpin(native.runtime);
    if (runtime) |one| if (one.scheduler.forked()) return fail(error.Forked);
    tsan.release(&native.task);
    Shard.wakeAfterWrites(&native.task);
    return errors.ok;
}
