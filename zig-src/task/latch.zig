//! A one-shot event and its waiters: tasks, which are polled again, and threads. The owner writes
//! the result before `publish`. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const sync = @import("../base/sync.zig");
const Task = @import("task.zig").Task;
const Atomic = @import("../base/platform.zig").Atomic;

pub const Latch = struct {
    /// Guards `waiters` and the change of `done`.
    lock: sync.Lock = .{},
    /// 1 when it is final; threads wait on it.
    done: Atomic(u32) = .init(0),
    thread_waiters: Atomic(u32) = .init(0),
    waiters: ?*Waiter = null,

    pub fn isDone(self: *const Latch) bool {
        // Acquire pairs with the store in `publish`: what became final is seen.
        return self.done.load(.acquire) == 1;
    }

    /// Registers; false if it is done already. `waiter` stays the caller's: it lives until it was
    /// woken or removed.
    pub fn addWaiter(self: *Latch, waiter: *Waiter) bool {
        assert(waiter.link == null);
        self.lock.lock();
        defer self.lock.unlock();
        if (self.isDone()) return false;
        waiter.next = self.waiters;
        if (waiter.next) |next| next.link = &waiter.next;
        waiter.link = &self.waiters;
        self.waiters = waiter;
        return true;
    }

    pub fn removeWaiter(self: *Latch, waiter: *Waiter) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (waiter.link != null) waiter.unlink();
    }

    /// Once: it is final. Calls `wake` for each waiting task, under the lock: a waiter cannot vanish
    /// before it was woken.
    pub fn publish(self: *Latch, wake: *const fn (*Task) void) void {
        self.lock.lock();
        // Sequentially consistent: the other half is the count in `waitThread`.
        self.done.store(1, .seq_cst);
        while (self.waiters) |waiter| {
            waiter.unlink();
            wake(waiter.task);
            if (waiter.woken_into) |woken| pushWoken(woken, waiter);
        }
        self.lock.unlock();
        if (self.thread_waiters.load(.seq_cst) > 0) sync.wake(&self.done, std.math.maxInt(i32));
    }

    /// The last touch of the waiter: the thread that empties the list may free it.
    fn pushWoken(woken: *Atomic(?*Waiter), waiter: *Waiter) void {
        assert(waiter.link == null);
        var first = woken.load(.monotonic);
        while (true) {
            waiter.next = first;
            first = woken.cmpxchgWeak(first, waiter, .release, .monotonic) orelse return;
        }
    }

    /// A thread outside the runtime: true if it is done before the deadline. Returns early,
    /// with false, when a signal arrives.
    pub fn waitThread(self: *Latch, deadline_ns: u64) bool {
        if (self.isDone()) return true;
        _ = self.thread_waiters.fetchAdd(1, .seq_cst);
        defer _ = self.thread_waiters.fetchSub(1, .seq_cst);
        if (self.done.load(.seq_cst) == 1) return true;
        sync.wait(&self.done, 0, deadline_ns);
        return self.isDone();
    }
};

/// One task's wish to be polled again then. Owned by the one that waits.
pub const Waiter = struct {
    task: *Task,
    next: ?*Waiter = null,
    /// What points to it while it is in a list: it leaves in one step, wherever it is.
    link: ?*?*Waiter = null,
    /// Where it is put when it was woken: a list of the task's, by `next`.
    woken_into: ?*Atomic(?*Waiter) = null,

    fn unlink(self: *Waiter) void {
        assert(self.link.?.* == self);
        self.link.?.* = self.next;
        if (self.next) |next| next.link = self.link;
        self.link = null;
        self.next = null;
    }
};

test "waiters leave in any order, the others are woken" {
    const count = 5;
    const S = struct {
        var woken: [count]bool = @splat(false);
        var tasks: [count]Task = undefined;

        fn wake(task: *Task) void {
            woken[(@intFromPtr(task) - @intFromPtr(&tasks)) / @sizeOf(Task)] = true;
        }
    };
    var latch: Latch = .{};
    var waiters: [count]Waiter = undefined;
    for (&waiters, &S.tasks) |*waiter, *task| {
        waiter.* = .{ .task = task };
        try std.testing.expect(latch.addWaiter(waiter));
    }
    for ([_]usize{ 4, 2, 0, 2 }) |n| latch.removeWaiter(&waiters[n]);
    latch.publish(S.wake);
    try std.testing.expectEqual([count]bool{ false, true, false, true, false }, S.woken);
    try std.testing.expect(!latch.addWaiter(&waiters[0]));
}
