//! The timers of one shard: a binary heap of intrusive entries, so that setting one allocates
//! nothing once the heap has grown, and cancelling finds its entry without a search.
//! Only the shard's thread may touch it.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("../base/memory.zig").gpa;

const idle = std.math.maxInt(u32);
const coarsest_ns = 1 << 18;

pub const Timer = struct {
    deadline_ns: u64 = 0,
    /// Place in the heap, or `idle`.
    index: u32 = idle,
    /// Called once, on the shard's thread, after the entry has left the heap.
    fire: *const fn (*Timer) void,

    pub fn isSet(self: *const Timer) bool {
        return self.index != idle;
    }
};

pub const Timers = struct {
    heap: std.ArrayList(*Timer) = .empty,

    pub fn deinit(self: *Timers) void {
        assert(self.heap.items.len == 0);
        self.heap.deinit(gpa);
    }

    pub fn set(self: *Timers, timer: *Timer, deadline_ns: u64) error{OutOfMemory}!void {
        assert(!timer.isSet());
        timer.deadline_ns = deadline_ns;
        try self.heap.append(gpa, timer);
        self.siftUp(self.heap.items.len - 1);
    }

    /// The deadline as it is kept: later by at most a sixteenth of the time until then, and by a quarter
    /// of a millisecond. Timers that end close to each other then end in one wake-up.
    pub fn rounded(deadline_ns: u64, now_ns: u64) u64 {
        const share = (deadline_ns -| now_ns) / 16;
        if (share == 0) return deadline_ns;
        const unit: u64 = @min(std.math.floorPowerOfTwo(u64, share), coarsest_ns);
        return (deadline_ns +| (unit - 1)) & ~(unit - 1);
    }

    pub fn cancel(self: *Timers, timer: *Timer) void {
        assert(timer.isSet());
        assert(self.heap.items[timer.index] == timer);
        self.removeAt(timer.index);
    }

    /// The earliest deadline, or the end of time.
    pub fn next(self: *const Timers) u64 {
        return if (self.heap.items.len == 0) std.math.maxInt(u64) else self.heap.items[0].deadline_ns;
    }

    /// Fires all that are due. Entries set while firing wait for the next call.
    pub fn fireDue(self: *Timers, now_ns: u64) usize {
        var fired: usize = 0;
        const most = self.heap.items.len;
        while (fired < most and self.next() <= now_ns) : (fired += 1) {
            const timer = self.heap.items[0];
            self.removeAt(0);
            timer.fire(timer);
        }
        return fired;
    }

    fn removeAt(self: *Timers, index: u32) void {
        assert(self.heap.items[index].index == index);
        const items = self.heap.items;
        items[index].index = idle;
        const last = items[items.len - 1];
        self.heap.items.len -= 1;
        if (index == self.heap.items.len) return;
        self.heap.items[index] = last;
        last.index = index;
        self.siftUp(index);
        self.siftDown(last.index);
    }

    fn siftUp(self: *Timers, start: usize) void {
        assert(start < self.heap.items.len);
        const items = self.heap.items;
        const timer = items[start];
        var index = start;
        while (index > 0) {
            const parent = (index - 1) / 2;
            if (items[parent].deadline_ns <= timer.deadline_ns) break;
            items[index] = items[parent];
            items[index].index = @intCast(index);
            index = parent;
        }
        items[index] = timer;
        timer.index = @intCast(index);
    }

    fn siftDown(self: *Timers, start: usize) void {
        assert(start < self.heap.items.len);
        const items = self.heap.items;
        const timer = items[start];
        var index = start;
        while (2 * index + 1 < items.len) {
            var child = 2 * index + 1;
            if (child + 1 < items.len and items[child + 1].deadline_ns < items[child].deadline_ns) child += 1;
            if (timer.deadline_ns <= items[child].deadline_ns) break;
            items[index] = items[child];
            items[index].index = @intCast(index);
            index = child;
        }
        items[index] = timer;
        timer.index = @intCast(index);
    }
};

test "a deadline is never early, and late by a little" {
    const ms = std.time.ns_per_ms;
    const now = 7_777_777_777;
    for ([_]u64{ 0, 1, 15, 100, 20_000, ms, 3 * ms, 50 * ms, 3_600_000 * ms }) |duration| {
        const late = Timers.rounded(now + duration, now) - (now + duration);
        try std.testing.expect(late <= duration / 16 and late < ms / 3);
    }
    try std.testing.expectEqual(Timers.rounded(now + 50 * ms, now), Timers.rounded(now + 50 * ms + 1, now));
    const never = std.math.maxInt(u64);
    try std.testing.expect(Timers.rounded(never, now) > never - ms);
}

test "timers fire in order of their deadlines, cancelled ones do not" {
    const Entry = struct {
        timer: Timer = .{ .fire = fire },
        fired: bool = false,
        var last: u64 = 0;

        fn fire(timer: *Timer) void {
            const self: *@This() = @fieldParentPtr("timer", timer);
            std.debug.assert(timer.deadline_ns >= last);
            last = timer.deadline_ns;
            self.fired = true;
        }
    };
    var prng = std.Random.DefaultPrng.init(0x5eed);
    const random = prng.random();
    var timers: Timers = .{};
    defer timers.deinit();
    var entries: [500]Entry = @splat(.{});
    for (&entries) |*entry| try timers.set(&entry.timer, random.uintLessThan(u64, 1000));
    for (entries[0..100]) |*entry| timers.cancel(&entry.timer);
    _ = timers.fireDue(499);
    for (entries[0..100]) |*entry| try std.testing.expect(!entry.fired);
    for (entries[100..]) |*entry| try std.testing.expectEqual(entry.timer.deadline_ns <= 499, entry.fired);
    _ = timers.fireDue(1000);
    for (entries[100..]) |*entry| try std.testing.expect(entry.fired);
    try std.testing.expectEqual(std.math.maxInt(u64), timers.next());
}
