//! The C ABI of groups of tasks. Any thread, but for the operation that waits.

const std = @import("std");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const group_module = @import("../runtime/group.zig");
const handles = @import("../runtime/runtime_handle.zig");
const shared = @import("../runtime/shared.zig");
const task_module = @import("task.zig");
const currentTask = @import("common.zig").currentTask;
const DropFn = @import("../runtime/native_task.zig").DropFn;
const fail = @import("common.zig").fail;
const Group = group_module.Group;
const NativeTask = @import("../runtime/native_task.zig").NativeTask;
const PlacementC = task_module.PlacementC;
const PollFn = @import("../runtime/native_task.zig").PollFn;
const Shard = @import("../scheduler/shard.zig").Shard;
const Waiter = shared.Waiter;

fn pin(handle: u64) ?*Group {
    return Group.of(shared.pin(handle, .group) orelse return null);
}

pub export fn spargio_group_open(runtime: u64, flags: u32, out: ?*u64) i32 {
    const handle = out orelse return fail(error.Invalid);
    if (flags & ~@as(u32, group_module.flag_cancel_on_error) != 0) return fail(error.Invalid);
    if (handles.pinRuntime(runtime) == null) return fail(error.Closed);
    defer handles.runtimes.unpin(runtime);
    const group = Group.create(runtime, flags) catch |err| return fail(err);
    handle.* = shared.table.insert(&group.shared) catch |err| {
        group.shared.drop();
        return fail(err);
    };
    return errors.ok;
}

pub export fn spargio_group_spawn(
    handle: u64,
    placement: ?*const PlacementC,
    poll: ?PollFn,
    ctx: ?*anyopaque,
    drop: ?DropFn,
    join: ?*u64,
) i32 {
    if (join) |out| out.* = 0;
    const function = poll orelse return fail(error.Invalid);
    const group = pin(handle) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    const work: task_module.Work = .{ .poll_fn = function, .ctx = ctx, .drop_fn = drop, .group = group };
    return task_module.spawn(group.runtime, placement, work, join);
}

pub export fn spargio_group_cancel(handle: u64) i32 {
    const group = pin(handle) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    // A runtime that is gone has ended all its tasks.
    const runtime = handles.pinRuntime(group.runtime) orelse return errors.ok;
    defer handles.runtimes.unpin(group.runtime);
    if (runtime.scheduler.forked()) return fail(error.Forked);
    group.cancel();
    return errors.ok;
}

pub export fn spargio_group_wait(handle: u64, op: ?*u64) i32 {
    const out = op orelse return fail(error.Invalid);
    const group = pin(handle) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    const task = currentTask() orelse return fail(error.NotOnShard);
    // A task that waits for itself never ends.
    if (NativeTask.of(task).work.group == group) return errors.fromErrno(@backingInt(std.os.linux.E.DEADLK));
    const waiter = Waiter.start(Shard.current().?, task, &group.shared, .wake) catch |err| return fail(err);
    out.* = waiter.posted.op.id();
    group.join(waiter);
    return errors.ok;
}

pub export fn spargio_group_join(handle: u64, timeout_ns: u64) i32 {
    if (Shard.current() != null) return fail(error.OnShard);
    const group = pin(handle) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    if (handles.pinRuntime(group.runtime)) |runtime| {
        defer handles.runtimes.unpin(group.runtime);
        if (runtime.scheduler.forked()) return fail(error.Forked);
    }
    const deadline = clock.deadlineNs(timeout_ns);
    while (!group.waitThread(deadline)) {
        if (deadline != std.math.maxInt(u64) and clock.nowNs() >= deadline) return fail(error.Timeout);
    }
    return group.statusNow();
}

pub export fn spargio_group_status(handle: u64) i32 {
    const group = pin(handle) orelse return fail(error.Closed);
    defer shared.table.unpin(handle);
    return group.statusNow();
}

pub export fn spargio_group_close(handle: u64) i32 {
    if (pin(handle) == null) return fail(error.Closed);
    defer shared.table.unpin(handle);
    return if (shared.table.close(handle)) errors.ok else fail(error.Closed);
}
