//! The messages that a shard has received, and the tasks that wait for them: two lanes, counters of
//! coalesced tags, and listeners. Senders (messages.zig) use lanes and counters from any thread;
//! the rest belongs to the shard's thread.

const std = @import("std");
const gpa = @import("../base/memory.zig").gpa;
const listeners_module = @import("../task/listeners.zig");
const Listeners = listeners_module.Listeners;
const Queue = listeners_module.Queue;
pub const Interest = listeners_module.Interest;
const Lane = @import("../queue/lane.zig").Lane;
const Outbox = @import("outbox.zig").Outbox;
const Task = @import("../task/task.zig").Task;
const Atomic = @import("../base/platform.zig").Atomic;

pub const Mailbox = struct {
    regular: Lane, // any thread
    hot: Lane, // any thread
    counters: []Atomic(u64), // any thread
    threshold: u64,
    listeners: Listeners,
    outbox: Outbox = .{},
    /// The poll that took the last message, and how many it took.
    burst_poll: u64 = 0,
    burst: u32 = 0,

    pub fn init(capacity: u32, counters: u8, threshold: u64) error{OutOfMemory}!Mailbox {
        var regular: Lane = try .init(capacity);
        errdefer regular.deinit();
        var hot: Lane = try .init(capacity);
        errdefer hot.deinit();
        var listeners: Listeners = try .init(counters);
        errdefer listeners.deinit();
        const counts = try gpa.alloc(Atomic(u64), counters);
        @memset(counts, .init(0));
        return .{
            .regular = regular,
            .hot = hot,
            .counters = counts,
            .threshold = threshold,
            .listeners = listeners,
        };
    }

    pub fn deinit(self: *Mailbox) void {
        self.listeners.deinit();
        self.outbox.deinit();
        gpa.free(self.counters);
        self.hot.deinit();
        self.regular.deinit();
    }

    /// The task is woken when what it wants may be there; once.
    pub fn listen(self: *Mailbox, task: *Task, interest: Interest) error{OutOfMemory}!void {
        return self.listeners.add(task, interest);
    }

    /// The task waits no more.
    pub fn forget(self: *Mailbox, task: *Task) void {
        if (task.listeners != null) self.listeners.forget(task);
    }

    /// Whether somebody listens to something that is there.
    pub fn isDue(self: *const Mailbox) bool {
        const listeners = &self.listeners;
        if (listeners.event.first != null and self.regular.ready()) return true;
        if (listeners.hot_event.first != null and self.hot.ready()) return true;
        if (self.flushIsDue()) return true;
        if (listeners.counting == 0) return false;
        for (listeners.counters, 0..) |queue, n| if (queue.first != null and self.counted(n)) return true;
        return false;
    }

    fn flushIsDue(self: *const Mailbox) bool {
        const first = self.listeners.flushed.first orelse return false;
        return self.outbox.reached(first.interest.flushed);
    }

    fn counted(self: *const Mailbox, counter: usize) bool {
        return self.counters[counter].load(.seq_cst) >= self.threshold;
    }

    /// Wakes listeners of the messages that are there: as many as there are messages, the oldest
    /// listeners first. One that takes nothing leaves the message to the next.
    pub fn deliver(self: *Mailbox, wake: *const fn (*Task) void) void {
        if (!self.isDue()) return;
        const listeners = &self.listeners;
        if (self.regular.ready()) self.wakeFirst(&listeners.event, self.regular.depth(), wake);
        if (self.hot.ready()) self.wakeFirst(&listeners.hot_event, self.hot.depth(), wake);
        while (self.flushIsDue()) wake(listeners.take(&listeners.flushed));
        if (listeners.counting == 0) return;
        for (listeners.counters, 0..) |*queue, n| {
            if (queue.first != null and self.counted(n)) self.wakeFirst(queue, std.math.maxInt(u64), wake);
        }
    }

    fn wakeFirst(self: *Mailbox, queue: *const Queue, most: u64, wake: *const fn (*Task) void) void {
        var left = most;
        while (left > 0 and queue.first != null) : (left -= 1) wake(self.listeners.take(queue));
    }

    /// False if the poll with this number has taken `most` already.
    pub fn mayTake(self: *Mailbox, poll: u64, most: u32) bool {
        if (self.burst_poll != poll) self.burst = 0;
        self.burst_poll = poll;
        self.burst += 1;
        return self.burst <= most;
    }

    /// The sum since it was last taken, if it has reached `least`.
    pub fn takeCount(self: *Mailbox, counter: u8, least: u64) ?u64 {
        const sum = &self.counters[counter];
        // Only the shard takes, so what is read here is there.
        return if (sum.load(.acquire) >= least) sum.swap(0, .acq_rel) else null;
    }
};
