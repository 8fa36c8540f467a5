//! Tasks that are C functions. The memory of one is shared by the scheduler, its join handle and the
//! tasks that wait for it.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("../base/platform.zig").Atomic;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const HandleTableType = @import("../base/handle_table.zig").HandleTableType;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const Poll = @import("../task/task.zig").Poll;
const VTable = @import("../task/task.zig").VTable;
const Waits = @import("native_waits.zig").Waits;
const Placement = @import("runtime.zig").Placement;
const Runtime = @import("runtime.zig").Runtime;

pub const PollFn = *const fn (ctx: ?*anyopaque, result: *i64) callconv(.c) i32;

pub var joins: HandleTableType(NativeTask) = .{};

pub const NativeTask = struct {
    task: Task,
    poll_fn: PollFn,
    ctx: ?*anyopaque,
    runtime: u64,
    refs: Atomic(u32) = .init(1),
    cancel_seen: bool = false,
    /// From the first time that it waits for another.
    waits: ?*Waits = null,

    /// A variable for the simulation alone, which runs these tasks under the lock of a language too.
    pub var vtable: VTable = .{ .interpreted = false, .poll = poll, .abandon = abandon, .release = released };

    /// `runtime_handle` is pinned by the caller. `join`, if wanted, gets the handle, or 0 if there is
    /// none because the task was refused.
    pub fn spawn(
        runtime: *Runtime,
        runtime_handle: u64,
        placement: Placement,
        poll_fn: PollFn,
        ctx: ?*anyopaque,
        join: ?*u64,
    ) errors.Error!void {
        const target = try runtime.place(placement);
        const self = try gpa.create(NativeTask);
        self.* = .{
            .task = .{ .vtable = &vtable, .kind = placement.kind, .preferred = target.id },
            .poll_fn = poll_fn,
            .ctx = ctx,
            .runtime = runtime_handle,
        };
        // Written before the task can run: it may look for its handle, or free the memory that holds it.
        if (join) |out| {
            self.refs.store(2, .monotonic);
            out.* = joins.insert(self) catch |err| {
                gpa.destroy(self);
                return err;
            };
        }
        runtime.submit(&self.task, target) catch |err| {
            if (join) |out| {
                assert(joins.close(out.*));
                out.* = 0;
            }
            self.drop();
            return err;
        };
    }

    pub fn of(task: *Task) *NativeTask {
        assert(task.vtable == &vtable);
        return @fieldParentPtr("task", task);
    }

    pub fn isNative(task: *const Task) bool {
        return task.vtable == &vtable;
    }

    pub fn handleClosed(self: *NativeTask) void {
        self.drop();
    }

    pub fn retain(self: *NativeTask) void {
        _ = self.refs.fetchAdd(1, .monotonic);
    }

    pub fn drop(self: *NativeTask) void {
        // Acquire-release: the last one sees all that the others wrote.
        if (self.refs.fetchSub(1, .acq_rel) == 1) gpa.destroy(self);
    }

    fn poll(task: *Task) Poll {
        const self = of(task);
        if (self.waits) |waits| waits.forgetWoken();
        if (!self.cancel_seen and task.cancel_requested.load(.acquire)) {
            self.cancel_seen = true;
            Shard.current().?.cancelOps(task);
        }
        var result: i64 = 0;
        const status = self.poll_fn(self.ctx, &result);
        switch (status) {
            errors.pending => return .pending,
            errors.yield => return .yield,
            else => {},
        }
        // A positive status that means nothing is the task's mistake, told if it is joined.
        task.status = if (status > 0) @backingInt(errors.Code.invalid) else status;
        task.result = result;
        if (self.waits) |waits| waits.destroy();
        self.waits = null;
        return .ended;
    }

    fn abandon(task: *Task) void {
        task.status = @backingInt(errors.Code.cancelled);
    }

    fn released(task: *Task) void {
        of(task).drop();
    }

    /// Inside this task's poll: another poll follows when `target` is done. False: it is done.
    pub fn awaitTask(self: *NativeTask, target: *NativeTask) error{OutOfMemory}!bool {
        if (self.waits) |waits| waits.forgetWoken();
        if (target.task.isDone()) return false;
        if (self.waits == null) self.waits = try .create(self);
        return self.waits.?.add(target);
    }
};
