//! Something that becomes final once, and who waits for it: tasks, which are polled again, and
//! threads. What became final is the owner's, written before `publish`. Any thread.

const std = @import("std");
const assert = std.debug.assert;
const sync = @import("sync.zig");
const Task = @import("task.zig").Task;
const Atomic = @import("seam.zig").Atomic;

pub const Completion = struct {
    /// Guards `waiters` and the change of `done`.
    lock: sync.Lock = .{},
    /// 1 when it is final; threads wait on it.
    done: Atomic(u32) = .init(0),
    thread_waiters: Atomic(u32) = .init(0),
    waiters: ?*Waiter = null,

    pub fn isDone(self: *const Completion) bool {
        // Acquire pairs with the store in `publish`: what became final is seen.
        return self.done.load(.acquire) == 1;
    }

    /// Registers; false where it is done already. `waiter` stays the caller's: it lives until it was
    /// woken or removed.
    pub fn addWaiter(self: *Completion, waiter: *Waiter) bool {
        assert(!waiter.linked);
        self.lock.lock();
        defer self.lock.unlock();
        if (self.isDone()) return false;
        waiter.prev = null;
        waiter.next = self.waiters;
        if (self.waiters) |first| first.prev = waiter;
        waiter.linked = true;
        self.waiters = waiter;
        return true;
    }

    pub fn removeWaiter(self: *Completion, waiter: *Waiter) void {
        self.lock.lock();
        defer self.lock.unlock();
        if (!waiter.linked) return;
        waiter.linked = false;
        if (waiter.prev) |prev| prev.next = waiter.next else self.waiters = waiter.next;
        if (waiter.next) |next| next.prev = waiter.prev;
    }

    /// Once: it is final. Calls `wake` for each waiting task, under the lock: a waiter cannot vanish
    /// before it was woken.
    pub fn publish(self: *Completion, wake: *const fn (*Task) void) void {
        self.lock.lock();
        // Sequentially consistent: the other half is the count in `waitThread`.
        self.done.store(1, .seq_cst);
        while (self.waiters) |waiter| {
            self.waiters = waiter.next;
            waiter.linked = false;
            wake(waiter.task);
            if (waiter.woken_into) |woken| pushWoken(woken, waiter);
        }
        self.lock.unlock();
        if (self.thread_waiters.load(.seq_cst) > 0) sync.wake(&self.done, std.math.maxInt(i32));
    }

    /// The last touch of the waiter: who empties the list may free it.
    fn pushWoken(woken: *Atomic(?*Waiter), waiter: *Waiter) void {
        var first = woken.load(.monotonic);
        while (true) {
            waiter.next = first;
            first = woken.cmpxchgWeak(first, waiter, .release, .monotonic) orelse return;
        }
    }

    /// A thread outside the runtime: true where it is done before the deadline. Returns early,
    /// with false, when a signal arrives.
    pub fn waitThread(self: *Completion, deadline_ns: u64) bool {
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
    prev: ?*Waiter = null,
    next: ?*Waiter = null,
    linked: bool = false,
    /// Where it is put when it was woken: a list of the task's, by `next`.
    woken_into: ?*Atomic(?*Waiter) = null,
};
