//! Tasks that are C functions. The memory of one is shared by the scheduler, its join handle and the
//! tasks that wait for it.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("seam.zig").Atomic;
const errors = @import("errors.zig");
const gpa = @import("memory.zig").gpa;
const HandleTableType = @import("handle_table.zig").HandleTableType;
const Shard = @import("shard.zig").Shard;
const Task = @import("task.zig").Task;
const Poll = @import("task.zig").Poll;
const VTable = @import("task.zig").VTable;
const Waiter = @import("completion.zig").Waiter;
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
    waits: ?*Wait = null,

    /// This task's interest in another's end; holds that one's memory.
    const Wait = struct { waiter: Waiter, target: *NativeTask, next: ?*Wait };

    const vtable: VTable = .{ .hosted = false, .poll = poll, .abandon = abandon, .release = released };

    /// `runtime_handle` is pinned by the caller. `join`, where wanted, gets the handle.
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
        // The handle exists before the task can end; it is taken back where the task is refused.
        var handle: u64 = 0;
        if (join != null) {
            self.refs.store(2, .monotonic);
            handle = joins.insert(self) catch |err| {
                gpa.destroy(self);
                return err;
            };
        }
        runtime.submit(&self.task, target) catch |err| {
            if (join != null) assert(joins.close(handle));
            self.drop();
            return err;
        };
        if (join) |out| out.* = handle;
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

    fn retain(self: *NativeTask) void {
        _ = self.refs.fetchAdd(1, .monotonic);
    }

    fn drop(self: *NativeTask) void {
        // Acquire-release: the last one sees all that the others wrote.
        if (self.refs.fetchSub(1, .acq_rel) == 1) gpa.destroy(self);
    }

    fn poll(task: *Task) Poll {
        const self = of(task);
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
        // A positive status that means nothing is the task's mistake, told where it is joined.
        task.status = if (status > 0) @backingInt(errors.Code.invalid) else status;
        task.result = result;
        self.forgetWaits();
        return .ended;
    }

    fn abandon(task: *Task) void {
        task.status = @backingInt(errors.Code.cancelled);
    }

    fn released(task: *Task) void {
        of(task).drop();
    }

    /// Inside this task's poll: another poll follows when `target` is done. False: it is done.
    pub fn awaitTask(self: *NativeTask, target: *NativeTask) errors.Error!bool {
        if (target.task.isDone()) return false;
        var next = self.waits;
        while (next) |wait| : (next = wait.next) {
            if (wait.target == target) return !target.task.isDone();
        }
        const wait = try gpa.create(Wait);
        wait.* = .{ .waiter = .{ .task = &self.task }, .target = target, .next = self.waits };
        if (!target.task.completion.addWaiter(&wait.waiter)) {
            gpa.destroy(wait);
            return false;
        }
        target.retain();
        self.waits = wait;
        return true;
    }

    fn forgetWaits(self: *NativeTask) void {
        while (self.waits) |wait| {
            self.waits = wait.next;
            wait.target.task.completion.removeWaiter(&wait.waiter);
            wait.target.drop();
            gpa.destroy(wait);
        }
    }
};
