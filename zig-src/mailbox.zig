//! What a shard has received and who waits for it: two lanes, counters of coalesced tags, and the
//! tasks that listen. Senders (messages.zig) touch lanes and counters from any thread; the rest is
//! the shard's.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("memory.zig").gpa;
const ChainType = @import("queue/chain.zig").ChainType;
const LinkType = @import("queue/chain.zig").LinkType;
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

/// One task's interest. It leaves its queue in one step, wherever it is.
const Listener = struct {
    task: *Task,
    interest: Interest,
    link: LinkType(Listener) = .{},
    /// Another one of this task, or of those that are not in use.
    next: ?*Listener = null,
};

const Listeners = ChainType(Listener);

pub const Mailbox = struct {
    regular: Lane, // any thread
    hot: Lane, // any thread
    counters: []Atomic(u64), // any thread
    threshold: u64,
    /// Oldest first: of events, of hot events, of the rest.
    queues: [3]Listeners = @splat(.{}),
    by_task: std.AutoHashMapUnmanaged(*Task, *Listener) = .empty,
    unused: ?*Listener = null,
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
        assert(self.by_task.count() == 0);
        self.by_task.deinit(gpa);
        while (self.unused) |listener| {
            self.unused = listener.next;
            gpa.destroy(listener);
        }
        self.outbox.deinit();
        gpa.free(self.counters);
        self.hot.deinit();
        self.regular.deinit();
    }

    fn queueOf(self: *Mailbox, interest: Interest) *Listeners {
        return &self.queues[
            switch (interest) {
                .event => 0,
                .hot_event => 1,
                .counter, .flushed => 2,
            }
        ];
    }

    /// The task is woken when what it wants may be there; once.
    pub fn listen(self: *Mailbox, task: *Task, interest: Interest) error{OutOfMemory}!void {
        const first = self.by_task.get(task);
        var next = first;
        while (next) |listener| : (next = listener.next) {
            if (std.meta.activeTag(listener.interest) != interest) continue;
            if (interest == .counter and listener.interest.counter != interest.counter) continue;
            listener.interest = interest;
            return;
        }
        try self.by_task.ensureUnusedCapacity(gpa, 1);
        const listener = self.unused orelse try gpa.create(Listener);
        if (self.unused != null) self.unused = listener.next;
        listener.* = .{ .task = task, .interest = interest, .next = first };
        self.by_task.putAssumeCapacity(task, listener);
        self.queueOf(interest).pushBack(listener);
        task.listening = true;
    }

    /// The task waits no more.
    pub fn forget(self: *Mailbox, task: *Task) void {
        if (!task.listening) return;
        task.listening = false;
        const entry = self.by_task.fetchRemove(task) orelse return;
        var next: ?*Listener = entry.value;
        while (next) |listener| {
            next = listener.next;
            self.queueOf(listener.interest).remove(listener);
            self.recycle(listener);
        }
    }

    fn recycle(self: *Mailbox, listener: *Listener) void {
        listener.next = self.unused;
        self.unused = listener;
    }

    /// It is told, once; the task's other interests stay.
    fn tell(self: *Mailbox, listener: *Listener, wake: *const fn (*Task) void) void {
        const task = listener.task;
        self.queueOf(listener.interest).remove(listener);
        const first = self.by_task.getPtr(task).?;
        if (first.* == listener and listener.next == null) {
            assert(self.by_task.remove(task));
        } else {
            var place: *?*Listener = @ptrCast(first);
            while (place.*.? != listener) place = &place.*.?.next;
            place.* = listener.next;
        }
        self.recycle(listener);
        wake(task);
    }

    /// Whether somebody listens to something that is there.
    pub fn isDue(self: *const Mailbox) bool {
        for (self.queues) |queue| {
            var next = queue.head;
            while (next) |listener| : (next = listener.link.next) {
                if (self.isThere(listener.interest)) return true;
                switch (listener.interest) {
                    .event, .hot_event => break, // Neither for the others of its queue.
                    .counter, .flushed => {},
                }
            }
        }
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
        const depths = [_]u64{ self.regular.depth(), self.hot.depth() };
        for (depths, self.queues[0..2]) |depth, *queue| {
            for (0..depth) |_| {
                const listener = queue.head orelse break;
                if (!self.isThere(listener.interest)) break;
                self.tell(listener, wake);
            }
        }
        var next = self.queues[2].head;
        while (next) |listener| {
            next = listener.link.next;
            if (self.isThere(listener.interest)) self.tell(listener, wake);
        }
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
