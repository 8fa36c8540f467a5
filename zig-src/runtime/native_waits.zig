//! The tasks that a C task waits for. It keeps nothing of ended tasks, and never walks a list to
//! find one. On the shard of the waiting task; other threads only push to `woken`.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("../base/memory.zig").gpa;
const Atomic = @import("../base/platform.zig").Atomic;
const NativeTask = @import("native_task.zig").NativeTask;
const Waiter = @import("../task/latch.zig").Waiter;

/// A task that waited for more than this at once frees the memory when it waits for none.
const kept = 64;

/// Interest in the end of another task; holds that one's memory.
const Wait = struct { waiter: Waiter, target: ?*NativeTask };

pub const Waits = struct {
    /// The only one, mostly. Without a target it is free.
    first: Wait,
    /// No plain hash map: what is removed from one slows all that follows.
    more: std.array_hash_map.Auto(*NativeTask, *Wait) = .empty,
    /// Those whose target has ended. // any thread
    woken: Atomic(?*Waiter) = .init(null),

    pub fn create(task: *NativeTask) error{OutOfMemory}!*Waits {
        const self = try gpa.create(Waits);
        self.* = .{ .first = .{ .waiter = .{ .task = &task.task }, .target = null } };
        self.first.waiter.woken_into = &self.woken;
        return self;
    }

    /// At the end of the task.
    pub fn destroy(self: *Waits) void {
        if (self.first.target != null) self.leave(&self.first);
        for (self.more.values()) |wait| self.leave(wait);
        self.more.deinit(gpa);
        gpa.destroy(self);
    }

    fn leave(self: *Waits, wait: *Wait) void {
        // Under the waker's lock: after this nobody has the waiter, woken or not.
        wait.target.?.task.latch.removeWaiter(&wait.waiter);
        self.free(wait);
    }

    fn free(self: *Waits, wait: *Wait) void {
        wait.target.?.drop();
        if (wait == &self.first) wait.target = null else gpa.destroy(wait);
    }

    /// Another poll follows when `target` is done. False: it is done.
    pub fn add(self: *Waits, target: *NativeTask) error{OutOfMemory}!bool {
        // Its end may be here by now: then the poll that follows it is on its way.
        if (self.first.target == target) return true;
        if (self.more.count() > 0 and self.more.contains(target)) return true;
        if (self.first.target == null) return self.join(&self.first, target);
        try self.more.ensureUnusedCapacity(gpa, 1);
        const wait = try gpa.create(Wait);
        wait.* = .{ .waiter = .{ .task = self.first.waiter.task, .woken_into = &self.woken }, .target = null };
        if (!self.join(wait, target)) {
            gpa.destroy(wait);
            return false;
        }
        self.more.putAssumeCapacityNoClobber(target, wait);
        return true;
    }

    fn join(_: *Waits, wait: *Wait, target: *NativeTask) bool {
        if (!target.task.latch.addWaiter(&wait.waiter)) return false;
        target.retain();
        wait.target = target;
        return true;
    }

    pub inline fn forgetWoken(self: *Waits) void {
        if (self.woken.load(.monotonic) != null) self.forgetThem();
    }

    fn forgetThem(self: *Waits) void {
        // Acquire pairs with the push: the waker has released the waiter.
        var next = self.woken.swap(null, .acquire);
        while (next) |waiter| {
            next = waiter.next;
            const wait: *Wait = @fieldParentPtr("waiter", waiter);
            if (wait != &self.first) assert(self.more.swapRemove(wait.target.?));
            self.free(wait);
        }
        if (self.more.count() == 0 and self.more.capacity() > kept) self.more.clearAndFree(gpa);
    }
};
