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

/// A task that waited for more than this at once gives the memory back when it waits for none.
const waits_kept = 64;

pub var joins: HandleTableType(NativeTask) = .{};

pub const NativeTask = struct {
    task: Task,
    poll_fn: PollFn,
    ctx: ?*anyopaque,
    runtime: u64,
    refs: Atomic(u32) = .init(1),
    cancel_seen: bool = false,
    /// What it waits for. No plain hash map: what is removed from one slows all that follows.
    waits: std.array_hash_map.Auto(*NativeTask, *Wait) = .empty,
    /// Those of `waits` whose target has ended. // any thread adds
    woken: Atomic(?*Waiter) = .init(null),

    /// This task's interest in another's end; holds that one's memory.
    const Wait = struct { waiter: Waiter, target: *NativeTask };

    const vtable: VTable = .{ .hosted = false, .poll = poll, .abandon = abandon, .release = released };

    /// `runtime_handle` is pinned by the caller. `join`, where wanted, gets the handle, or 0 if there is
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

    fn retain(self: *NativeTask) void {
        _ = self.refs.fetchAdd(1, .monotonic);
    }

    fn drop(self: *NativeTask) void {
        // Acquire-release: the last one sees all that the others wrote.
        if (self.refs.fetchSub(1, .acq_rel) == 1) gpa.destroy(self);
    }

    fn poll(task: *Task) Poll {
        const self = of(task);
        self.forgetWoken();
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
        self.forgetWoken();
        if (target.task.isDone()) return false;
        const entry = try self.waits.getOrPut(gpa, target);
        // Its end may have come between: then the poll that follows it is on its way.
        if (entry.found_existing) return true;
        errdefer _ = self.waits.pop();
        const wait = try gpa.create(Wait);
        wait.* = .{ .waiter = .{ .task = &self.task, .woken_into = &self.woken }, .target = target };
        if (!target.task.completion.addWaiter(&wait.waiter)) {
            gpa.destroy(wait);
            _ = self.waits.pop();
            return false;
        }
        target.retain();
        entry.value_ptr.* = wait;
        return true;
    }

    /// What has ended is no concern of this task any more.
    fn forgetWoken(self: *NativeTask) void {
        if (self.woken.load(.monotonic) == null) return;
        // Acquire pairs with the push: who woke it has let go of the waiter.
        var next = self.woken.swap(null, .acquire);
        while (next) |waiter| {
            next = waiter.next;
            const wait: *Wait = @fieldParentPtr("waiter", waiter);
            assert(self.waits.swapRemove(wait.target));
            free(wait);
        }
        if (self.waits.count() == 0 and self.waits.capacity() > waits_kept) self.waits.clearAndFree(gpa);
    }

    fn forgetWaits(self: *NativeTask) void {
        for (self.waits.values()) |wait| {
            // Under the lock of who wakes it: after this nobody has the waiter, woken or not.
            wait.target.task.completion.removeWaiter(&wait.waiter);
            free(wait);
        }
        self.waits.deinit(gpa);
    }

    fn free(wait: *Wait) void {
        wait.target.drop();
        gpa.destroy(wait);
    }
};
