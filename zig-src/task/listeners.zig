//! The tasks of a shard that wait for messages, one queue for each kind of message. Waiting, waking
//! and leaving cost the same for any number of tasks. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("../base/memory.zig").gpa;
const Task = @import("task.zig").Task;

/// What a task listens to.
pub const Interest = union(enum) {
    event,
    hot_event,
    /// The counter has reached the threshold.
    counter: u8,
    /// All direct messages sent before this number have arrived.
    flushed: u64,
};

pub const Listener = struct {
    task: *Task,
    interest: Interest,
    /// In its queue, or among the spare ones.
    prev: ?*Listener = null,
    next: ?*Listener = null,
    /// Another of the same task: it has at most one for each interest.
    sibling: ?*Listener = null,
};

/// Oldest first; those of `flushed` lowest number first.
pub const Queue = struct {
    first: ?*Listener = null,
    last: ?*Listener = null,

    fn insertAfter(self: *Queue, before: ?*Listener, listener: *Listener) void {
        listener.prev = before;
        listener.next = if (before) |one| one.next else self.first;
        if (before) |one| one.next = listener else self.first = listener;
        if (listener.next) |next| next.prev = listener else self.last = listener;
    }

    fn remove(self: *Queue, listener: *Listener) void {
        if (listener.prev) |prev| prev.next = listener.next else self.first = listener.next;
        if (listener.next) |next| next.prev = listener.prev else self.last = listener.prev;
    }
};

pub const Listeners = struct {
    event: Queue = .{},
    hot_event: Queue = .{},
    flushed: Queue = .{},
    /// Of coalesced tags, and how many listen to one.
    counters: []Queue,
    counting: usize = 0,
    spare: ?*Listener = null,

    pub fn init(counters: usize) error{OutOfMemory}!Listeners {
        const queues = try gpa.alloc(Queue, counters);
        @memset(queues, .{});
        return .{ .counters = queues };
    }

    pub fn deinit(self: *Listeners) void {
        for ([_]Queue{ self.event, self.hot_event, self.flushed }) |queue| assert(queue.first == null);
        assert(self.counting == 0);
        while (self.spare) |listener| {
            self.spare = listener.next;
            gpa.destroy(listener);
        }
        gpa.free(self.counters);
    }

    /// Once for each interest; of two numbers of `flushed` the lower one counts.
    pub fn add(self: *Listeners, task: *Task, interest: Interest) error{OutOfMemory}!void {
        if (find(task, interest)) |there| {
            if (interest != .flushed or there.interest.flushed <= interest.flushed) return;
            self.flushed.remove(there);
            there.interest = interest;
            return self.enqueue(there);
        }
        assert(interest != .counter or interest.counter < self.counters.len);
        const listener = if (self.spare) |one| one else try gpa.create(Listener);
        if (self.spare != null) self.spare = listener.next;
        listener.* = .{ .task = task, .interest = interest, .sibling = task.listeners };
        task.listeners = listener;
        if (interest == .counter) self.counting += 1;
        self.enqueue(listener);
    }

    fn find(task: *const Task, interest: Interest) ?*Listener {
        var next = task.listeners;
        while (next) |listener| : (next = listener.sibling) {
            if (std.meta.activeTag(listener.interest) != interest) continue;
            if (interest != .counter or listener.interest.counter == interest.counter) return listener;
        }
        return null;
    }

    fn enqueue(self: *Listeners, listener: *Listener) void {
        assert(listener.task.listeners != null);
        const queue = self.queueOf(listener.interest);
        var before = queue.last;
        if (listener.interest == .flushed) while (before) |one| : (before = one.prev) {
            if (one.interest.flushed <= listener.interest.flushed) break; // Mostly the first one looked at.
        };
        queue.insertAfter(before, listener);
    }

    fn queueOf(self: *Listeners, interest: Interest) *Queue {
        return switch (interest) {
            .event => &self.event,
            .hot_event => &self.hot_event,
            .flushed => &self.flushed,
            .counter => |n| &self.counters[n],
        };
    }

    /// The task listens to nothing more.
    pub fn forget(self: *Listeners, task: *Task) void {
        while (task.listeners) |listener| {
            task.listeners = listener.sibling;
            self.drop(listener);
        }
    }

    /// The first of a queue, which is in it no more: its task.
    pub fn take(self: *Listeners, queue: *const Queue) *Task {
        const listener = queue.first.?;
        const task = listener.task;
        var link = &task.listeners;
        while (link.*.? != listener) link = &link.*.?.sibling;
        link.* = listener.sibling;
        self.drop(listener);
        return task;
    }

    fn drop(self: *Listeners, listener: *Listener) void {
        self.queueOf(listener.interest).remove(listener);
        assert(listener.interest != .counter or self.counting > 0);
        if (listener.interest == .counter) self.counting -= 1;
        listener.next = self.spare;
        self.spare = listener;
    }
};

fn newTask() Task {
    return .{ .vtable = undefined, .kind = .pinned, .preferred = 0 };
}

test "each is there once, the oldest is taken first, one that leaves is gone everywhere" {
    var listeners: Listeners = try .init(2);
    defer listeners.deinit();
    var tasks = [_]Task{ newTask(), newTask(), newTask() };
    for (&tasks) |*task| for (0..2) |_| {
        try listeners.add(task, .event);
        try listeners.add(task, .{ .counter = 1 });
    };
    try std.testing.expectEqual(3, listeners.counting);
    listeners.forget(&tasks[0]);
    try std.testing.expectEqual(&tasks[1], listeners.take(&listeners.event));
    try std.testing.expectEqual(&tasks[2], listeners.take(&listeners.event));
    try std.testing.expectEqual(null, listeners.event.first);
    try std.testing.expectEqual(null, listeners.counters[0].first);
    try std.testing.expectEqual(&tasks[1], listeners.take(&listeners.counters[1]));
    listeners.forget(&tasks[2]);
    try std.testing.expectEqual(null, tasks[2].listeners);
}

test "the lowest number is the first, whoever came first" {
    var listeners: Listeners = try .init(0);
    defer listeners.deinit();
    var tasks = [_]Task{ newTask(), newTask(), newTask() };
    for (&tasks, [_]u64{ 5, 9, 7 }) |*task, mark| try listeners.add(task, .{ .flushed = mark });
    try listeners.add(&tasks[1], .{ .flushed = 6 });
    try listeners.add(&tasks[0], .{ .flushed = 8 });
    for ([_]usize{ 0, 1, 2 }) |n| try std.testing.expectEqual(&tasks[n], listeners.take(&listeners.flushed));
}
