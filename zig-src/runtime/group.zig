//! A group of tasks of C: counted, cancelled together, waited for together. Its lock is taken before that of
//! its exchange. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const shared = @import("shared.zig");
const sync = @import("../base/sync.zig");
const tsan = @import("../base/tsan.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const ChainType = @import("../queue/chain.zig").ChainType;
const NativeTask = @import("native_task.zig").NativeTask;
const Shard = @import("../scheduler/shard.zig").Shard;
const Shared = shared.Shared;
const Waiter = shared.Waiter;

/// The first task that ends with an error cancels the others.
pub const flag_cancel_on_error = 1;

pub const Group = struct {
    shared: Shared,
    runtime: u64,
    flags: u32,
    lock: sync.Lock = .{},
    members: ChainType(NativeTask) = .{},
    /// Of members; threads wait on it. Changes under the lock.
    count: Atomic(u32) = .init(0),
    cancelled: bool = false,
    /// What the first task that failed ended with.
    status: i32 = errors.ok,

    pub fn create(runtime: u64, flags: u32) error{OutOfMemory}!*Group {
        const self = try gpa.create(Group);
        self.* = .{ .shared = .init(.group, 0), .runtime = runtime, .flags = flags };
        self.shared.destroy = destroy;
        return self;
    }

    pub fn of(one: *Shared) *Group {
        assert(one.kind == .group);
        return @fieldParentPtr("shared", one);
    }

    fn destroy(one: *Shared) void {
        const self = of(one);
        assert(self.count.load(.monotonic) == 0);
        gpa.destroy(self);
    }

    /// Before the task can run.
    pub fn enter(self: *Group, task: *NativeTask) void {
        self.shared.retain();
        self.lock.lock();
        defer self.lock.unlock();
        self.members.pushBack(task);
        self.count.store(self.count.load(.monotonic) + 1, .monotonic);
        if (self.cancelled) task.task.cancel_requested.store(true, .seq_cst);
    }

    /// On the task's shard at its end, or where it was refused.
    pub fn leave(self: *Group, task: *NativeTask, status: i32) void {
        tsan.release(&self.shared);
        self.lock.lock();
        self.members.remove(task);
        const failed = status < 0 and !isCancellation(status);
        if (failed and self.status == errors.ok) {
            self.status = status;
            if (self.flags & flag_cancel_on_error != 0) self.cancelMembers();
        }
        const left = self.count.load(.monotonic) - 1;
        // Release: pairs with the acquire in `waitThread`.
        self.count.store(left, .release);
        if (left == 0) {
            _ = self.shared.exchange.serve(std.math.maxInt(u64), .{ .kind = .done });
            sync.wake(&self.count, std.math.maxInt(i32));
        }
        self.lock.unlock();
        self.shared.drop();
    }

    /// Also of an operation: SPARGIO_TRY ends a cancelled task with the error of what it waited for.
    fn isCancellation(status: i32) bool {
        return status == @backingInt(errors.Code.cancelled) or
            status == errors.fromErrno(@backingInt(std.os.linux.E.CANCELED));
    }

    /// What is in it, and what will come. The runtime is pinned, or a member's shard runs this.
    pub fn cancel(self: *Group) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.cancelMembers();
    }

    fn cancelMembers(self: *Group) void {
        self.cancelled = true;
        var next = self.members.head;
        while (next) |member| : (next = member.link.next) {
            member.task.cancel_requested.store(true, .seq_cst);
            Shard.wake(&member.task); // Under the lock: it cannot leave before.
        }
    }

    /// Inside a poll function: `waiter` is served when no task is left.
    pub fn join(self: *Group, waiter: *Waiter) void {
        self.lock.lock();
        const empty = self.count.load(.monotonic) == 0;
        if (!empty) self.shared.exchange.join(waiter);
        self.lock.unlock();
        if (empty) waiter.serveNow(.{ .kind = .done });
    }

    /// A thread outside. False: some are left, and the deadline has passed or a signal came.
    pub fn waitThread(self: *Group, deadline_ns: u64) bool {
        const left = self.count.load(.acquire);
        if (left == 0) return true;
        sync.wait(&self.count, left, deadline_ns);
        return self.count.load(.acquire) == 0;
    }

    pub fn statusNow(self: *Group) i32 {
        self.lock.lock();
        defer self.lock.unlock();
        tsan.acquire(&self.shared);
        return self.status;
    }
};
