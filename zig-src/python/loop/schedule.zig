//! The timers of an asyncio loop: a binary heap by deadline; timers of one deadline keep the order
//! in which they were made. A cancelled timer stays until it is due, or until half of the heap is
//! cancelled. Only the loop's thread uses it.

const std = @import("std");
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Timer = @import("timer_handle.zig").Timer;
const Object = api.Object;

const Entry = struct {
    deadline_ns: u64,
    sequence: u64,
    /// Owned.
    timer: *Object,

    fn order(_: void, a: Entry, b: Entry) std.math.Order {
        if (a.deadline_ns != b.deadline_ns) return std.math.order(a.deadline_ns, b.deadline_ns);
        return std.math.order(a.sequence, b.sequence);
    }
};

/// Fewer cancelled timers than these are no burden.
const sweep_least = 100;

pub const Schedule = struct {
    heap: std.PriorityQueue(Entry, void, Entry.order) = .empty,
    sequence: u64 = 0,
    cancelled: usize = 0,

    /// Takes over the reference, unless there is no memory.
    pub fn add(self: *Schedule, timer: *Object, deadline_ns: u64) error{OutOfMemory}!void {
        try self.heap.push(gpa, .{ .deadline_ns = deadline_ns, .sequence = self.sequence, .timer = timer });
        self.sequence += 1;
        Timer.of(timer).scheduled = true;
    }

    /// The earliest deadline, or the end of time.
    pub fn next(self: *Schedule) u64 {
        while (self.heap.peek()) |entry| {
            if (!Timer.of(entry.timer).handle.isCancelledNow()) return entry.deadline_ns;
            py.Py_DecRef(self.remove());
        }
        return std.math.maxInt(u64);
    }

    /// The first timer that is due, or null. The reference is the caller's.
    pub fn popDue(self: *Schedule, now_ns: u64) ?*Object {
        return if (self.next() <= now_ns) self.remove() else null;
    }

    pub fn countCancelled(self: *Schedule) void {
        self.cancelled += 1;
        if (self.cancelled > sweep_least and self.cancelled > self.heap.items.len / 2) self.sweep();
    }

    pub fn clear(self: *Schedule) void {
        while (self.heap.items.len > 0) py.Py_DecRef(self.remove());
    }

    pub fn deinit(self: *Schedule) void {
        self.heap.deinit(gpa);
    }

    fn remove(self: *Schedule) *Object {
        const timer = self.heap.pop().?.timer;
        const body = Timer.of(timer);
        body.scheduled = false;
        if (body.handle.isCancelledNow()) self.cancelled -|= 1;
        return timer;
    }

    /// The deallocators run when the heap is whole again.
    fn sweep(self: *Schedule) void {
        var dead: std.ArrayList(*Object) = .empty;
        defer dead.deinit(gpa);
        dead.ensureTotalCapacity(gpa, self.cancelled) catch return; // They go when they are due.
        var kept: usize = 0;
        for (self.heap.items) |entry| {
            if (Timer.of(entry.timer).handle.isCancelledNow() and dead.items.len < dead.capacity) {
                Timer.of(entry.timer).scheduled = false;
                dead.appendAssumeCapacity(entry.timer);
                continue;
            }
            self.heap.items[kept] = entry;
            kept += 1;
        }
        self.heap.items.len = kept;
        std.sort.heap(Entry, self.heap.items, {}, less); // Sorted is a heap as well.
        self.cancelled = 0;
        for (dead.items) |timer| py.Py_DecRef(timer);
    }

    fn less(_: void, a: Entry, b: Entry) bool {
        return Entry.order({}, a, b) == .lt;
    }
};

const py = &api.py;
