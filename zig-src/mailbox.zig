//! What a shard has received and who waits for it: two lanes, counters of coalesced tags, and the
//! tasks that listen. Senders (messages.zig) touch lanes and counters from any thread; the rest is
//! the shard's.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("memory.zig").gpa;
const Lane = @import("queue/lane.zig").Lane;
const Outbox = @import("outbox.zig").Outbox;
const Task = @import("task.zig").Task;
const Atomic = @import("seam.zig").Atomic;

/// What a task listens to.
pub const Interest = union(enum) {
    event,
    hot_event,
    /// The counter has reached the threshold.
    counter: u8,
    /// All direct messages sent before this number have arrived.
    flushed: u64,
};

const Listener = struct { task: *Task, interest: Interest };

pub const Mailbox = struct {
    regular: Lane, // any thread
    hot: Lane, // any thread
    counters: []Atomic(u64), // any thread
    threshold: u64,
    /// Oldest first.
    listeners: std.ArrayList(Listener) = .empty,
    outbox: Outbox = .{},
    /// The poll that took the last message, and how many it took.
    burst_poll: u64 = 0,
    burst: u32 = 0,

    pub fn init(capacity: u32, counters: u8, threshold: u64) error{OutOfMemory}!Mailbox {
        var regular: Lane = try .init(capacity);
        errdefer regular.deinit();
        var hot: Lane = try .init(capacity);
        errdefer hot.deinit();
        const counts = try gpa.alloc(Atomic(u64), counters);
        @memset(counts, .init(0));
        return .{ .regular = regular, .hot = hot, .counters = counts, .threshold = threshold };
    }

    pub fn deinit(self: *Mailbox) void {
        assert(self.listeners.items.len == 0);
        self.listeners.deinit(gpa);
        self.outbox.deinit();
        gpa.free(self.counters);
        self.hot.deinit();
        self.regular.deinit();
    }

    /// The task is woken when what it wants may be there; once.
    pub fn listen(self: *Mailbox, task: *Task, interest: Interest) error{OutOfMemory}!void {
        for (self.listeners.items) |*listener| {
            if (listener.task != task or std.meta.activeTag(listener.interest) != interest) continue;
            if (interest == .counter and listener.interest.counter != interest.counter) continue;
            listener.interest = interest;
            return;
        }
        try self.listeners.append(gpa, .{ .task = task, .interest = interest });
        task.listening = true;
    }

    /// The task waits no more.
    pub fn forget(self: *Mailbox, task: *Task) void {
        if (!task.listening) return;
        task.listening = false;
        var kept: usize = 0;
        for (self.listeners.items) |listener| {
            if (listener.task == task) continue;
            self.listeners.items[kept] = listener;
            kept += 1;
        }
        self.listeners.items.len = kept;
    }

    /// Whether somebody listens to something that is there.
    pub fn isDue(self: *const Mailbox) bool {
        for (self.listeners.items) |listener| if (self.isThere(listener.interest)) return true;
        return false;
    }

    fn isThere(self: *const Mailbox, interest: Interest) bool {
        return switch (interest) {
            .event => self.regular.ready(),
            .hot_event => self.hot.ready(),
            .counter => |n| self.counters[n].load(.seq_cst) >= self.threshold,
            .flushed => |sequence| self.outbox.reached(sequence),
        };
    }

    /// Wakes who listens to what is there: as many as there are messages, the oldest listeners first.
    /// One that takes nothing leaves the message to the next.
    pub fn deliver(self: *Mailbox, wake: *const fn (*Task) void) void {
        if (!self.isDue()) return;
        var events = self.regular.depth();
        var hot_events = self.hot.depth();
        var kept: usize = 0;
        for (self.listeners.items) |listener| {
            var due = self.isThere(listener.interest);
            switch (listener.interest) {
                .event => due = due and take(&events),
                .hot_event => due = due and take(&hot_events),
                else => {},
            }
            if (due) {
                wake(listener.task);
            } else {
                self.listeners.items[kept] = listener;
                kept += 1;
            }
        }
        self.listeners.items.len = kept;
    }

    fn take(count: *u64) bool {
        if (count.* == 0) return false;
        count.* -= 1;
        return true;
    }

    /// False where the poll with this number has taken `most` already.
    pub fn mayTake(self: *Mailbox, poll: u64, most: u32) bool {
        if (self.burst_poll != poll) self.burst = 0;
        self.burst_poll = poll;
        self.burst += 1;
        return self.burst <= most;
    }

    /// The sum since it was last taken, where it has reached `least`.
    pub fn takeCount(self: *Mailbox, counter: u8, least: u64) ?u64 {
        const sum = &self.counters[counter];
        // Only the shard takes, so what is read here is there.
        return if (sum.load(.acquire) >= least) sum.swap(0, .acq_rel) else null;
    }
};
