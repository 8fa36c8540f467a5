//! Tasks that are C functions. The memory of one is shared by the scheduler, its join handle and the
//! tasks that wait for it.

const std = @import("std");
const assert = std.debug.assert;
const tsan = @import("../base/tsan.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const Group = @import("group.zig").Group;
const HandleTableType = @import("../base/handle_table.zig").HandleTableType;
const LinkType = @import("../queue/chain.zig").LinkType;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;
const Poll = @import("../task/task.zig").Poll;
const VTable = @import("../task/task.zig").VTable;
const Waits = @import("native_waits.zig").Waits;
const Placement = @import("runtime.zig").Placement;
const Runtime = @import("runtime.zig").Runtime;

pub const PollFn = *const fn (ctx: ?*anyopaque, result: *i64) callconv(.c) i32;

pub const DropFn = *const fn (ctx: ?*anyopaque) callconv(.c) void;

pub var joins: HandleTableType(NativeTask) = .{};
/// Of tasks that asked for their own handle, until they have ended.
pub var selves: HandleTableType(NativeTask) = .{};

/// What a caller asks for.
pub const Work = struct {
    poll_fn: PollFn,
    ctx: ?*anyopaque,
    /// Called once, when the runtime is done with `ctx`.
    drop_fn: ?DropFn = null,
    /// It is polled, although the runtime ended before it began: nobody else could free its `ctx`.
    begins_late: bool = false,
    /// Whose member it is.
    group: ?*Group = null,
};

pub const NativeTask = struct {
    task: Task,
    work: Work,
    runtime: u64,
    refs: Atomic(u32) = .init(1),
    /// In its group; under that one's lock.
    link: LinkType(NativeTask) = .{},
    cancel_seen: bool = false,
    /// It began after its runtime's end had begun, and did not wait since.
    is_late: bool = false,
    /// In `selves`, from the first time that it asked. On its shard.
    self_handle: u64 = 0,
    /// From the first time that it waits for another.
    waits: ?*Waits = null,

    /// A variable for the simulation alone, which runs these tasks under the lock of a language too.
    pub var vtable: VTable = .{
        .interpreted = false,
        .poll = poll,
        .abandon = abandon,
        .finished = finished,
        .release = released,
    };

    /// `runtime_handle` is pinned by the caller. `join`, if wanted, gets the handle, or 0 if there is
    /// none because the task was refused.
    pub fn spawn(
        runtime: *Runtime,
        runtime_handle: u64,
        placement: Placement,
        work: Work,
        join: ?*u64,
    ) errors.Error!void {
        const target = try runtime.place(placement);
        const self = try gpa.create(NativeTask);
        self.* = .{
            .task = .{
                .vtable = &vtable,
                .kind = placement.kind,
                .preferred = target.id,
                .tells_end = work.drop_fn != null or work.group != null,
            },
            .work = work,
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
        if (work.group) |group| group.enter(self);
        tsan.release(&self.task);
        runtime.submit(&self.task, target) catch |err| {
            if (work.group) |group| group.leave(self, errors.ok);
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
        tsan.release(self);
        if (self.refs.fetchSub(1, .acq_rel) != 1) return;
        tsan.acquire(self);
        gpa.destroy(self);
    }

    fn poll(task: *Task) Poll {
        const self = of(task);
        tsan.acquire(task);
        if (self.waits) |waits| waits.forgetWoken();
        if (!self.cancel_seen and task.cancel_requested.load(.acquire)) {
            self.cancel_seen = true;
            Shard.current().?.cancelOps(task);
        }
        var result: i64 = 0;
        const status = self.work.poll_fn(self.work.ctx, &result);
        switch (status) {
            errors.pending => return if (self.is_late) self.cancelLate() else .pending,
            errors.yield => return .yield,
            else => {},
        }
        tsan.release(task); // For those that join it.
        // A positive status that means nothing is the task's mistake, told if it is joined.
        task.status = if (status > 0) @backingInt(errors.Code.invalid) else status;
        task.result = result;
        if (self.waits) |waits| waits.destroy();
        self.waits = null;
        return .ended;
    }

    fn abandon(task: *Task) bool {
        const self = of(task);
        if (self.work.begins_late) {
            self.is_late = true;
            task.cancel_requested.store(true, .seq_cst);
            return false;
        }
        task.status = @backingInt(errors.Code.cancelled);
        return true;
    }

    /// As if it had been cancelled just now: its operations end, and it is polled once more.
    fn cancelLate(self: *NativeTask) Poll {
        self.is_late = false;
        Shard.current().?.cancelOps(&self.task);
        return .yield;
    }

    /// Before those that wait for it wake: to them `ctx` is gone.
    fn finished(task: *Task) void {
        const self = of(task);
        tsan.acquire(task); // Of its spawn, if it never began.
        if (self.work.drop_fn) |drop_ctx| drop_ctx(self.work.ctx);
        tsan.release(task); // For those that join it.
        if (self.work.group) |group| group.leave(self, task.status);
        if (self.self_handle != 0) assert(selves.close(self.self_handle));
    }

    /// Inside this task's poll: a handle that any thread may wake it by, until it has ended.
    pub fn selfHandle(self: *NativeTask) error{OutOfMemory}!u64 {
        if (self.self_handle != 0) return self.self_handle;
        self.retain();
        errdefer self.drop();
        self.self_handle = try selves.insert(self);
        self.task.tells_end = true;
        return self.self_handle;
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
