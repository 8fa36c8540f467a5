//! What a shard did last: a ring of events that one thread writes and any thread copies while it is
//! written. The oldest are overwritten. Knows nothing of shards.

const std = @import("std");
const assert = std.debug.assert;
const memory = @import("../base/memory.zig");
const platform = @import("../base/platform.zig");
const ticks = @import("../base/ticks.zig");
const Atomic = platform.Atomic;

pub const Kind = enum(u8) {
    /// `value`: the shard it is for; `arg`: 1 if it may be stolen.
    spawn = 1,
    /// Begin of a poll; the first one of a task.
    first_poll,
    poll,
    /// `arg`: a task.Poll.
    poll_end,
    /// `value`: the shard that had it.
    steal,
    /// `value`: the shard that is rung.
    doorbell,
    park,
    /// `arg`: a ring.Wake.
    unpark,
    /// The task is to be polled again; `value`: its shard.
    wake,
    /// `arg`: the opcode, or `timer_opcode`; `value`: `operation`.
    submit,
    /// The task is to be polled again. `value`: `operation`, with the result for the descriptor.
    complete,
    /// `value`: how long the pass was, ns.
    blocked,
    /// A piece of the name of the task before it; `arg`: its bytes.
    name,
};

pub const timer_opcode = 255;

pub const Event = struct {
    stamp: u64,
    kind: Kind,
    arg: u8 = 0,
    /// The task's address, which is its name until it ends.
    task: u48 = 0,
    value: u64 = 0,
};

/// A piece of a name that one event has.
pub const piece_bytes = 14;
pub const pieces_max = 3;

/// An operation's number in 40 bits, and its descriptor or result in 24, with sign.
pub fn operation(id: u64, number: i32) u64 {
    const index = id & 0xfffff;
    const generation = id >> 32 & 0xfffff;
    const clamped: i24 = @intCast(std.math.clamp(number, std.math.minInt(i24), std.math.maxInt(i24)));
    return index | generation << 20 | @as(u64, @as(u24, @bitCast(clamped))) << 40;
}

pub fn operationOf(value: u64) u40 {
    return @truncate(value);
}

pub fn numberOf(value: u64) i24 {
    return @bitCast(@as(u24, @truncate(value >> 40)));
}

const Slot = struct { words: [3]Atomic(u64) };

pub const capacity_min = 64;
pub const capacity_max = 1 << 22;

pub const Ring = struct {
    slots: []Slot,
    /// Events written, ever. // any thread reads
    head: Atomic(u64) align(std.atomic.cache_line) = .init(0),
    /// Where the present tracing began. Written under the lock of the tracing. // any thread reads
    base: Atomic(u64) = .init(0),

    /// `head`: where it begins to count. One that takes the place of another goes on with its numbers, so
    /// that `isRecent` means this one.
    pub fn init(capacity: usize, head: u64) error{OutOfMemory}!Ring {
        assert(std.math.isPowerOfTwo(capacity) and capacity >= capacity_min);
        return .{ .slots = try memory.zeroedPages(Slot, capacity), .head = .init(head), .base = .init(head) };
    }

    pub fn deinit(self: *Ring) void {
        memory.freePages(Slot, self.slots);
    }

    /// One thread at a time.
    pub inline fn write(self: *Ring, kind: Kind, arg: u8, task: ?*const anyopaque, value: u64) void {
        self.writeAt(ticks.now(), kind, arg, task, value);
    }

    pub inline fn writeAt(self: *Ring, stamp: u64, kind: Kind, arg: u8, task: ?*const anyopaque, value: u64) void {
        const address: u48 = @truncate(@intFromPtr(task));
        self.put(stamp, @as(u64, @backingInt(kind)) << 56 | @as(u64, arg) << 48 | address, value);
    }

    inline fn put(self: *Ring, stamp: u64, middle: u64, value: u64) void {
        // Monotonic: only this thread writes it.
        const n = self.head.load(.monotonic);
        const slot = &self.slots[@as(usize, @truncate(n)) & (self.slots.len - 1)];
        // Release: pairs with the acquires in `copy`, which after a new word sees that `n` were written before.
        for (&slot.words, [_]u64{ stamp, middle, value }) |*word, new| word.store(new, .release);
        // Release: pairs with the acquire in `copy`: what it counts is complete.
        self.head.store(n + 1, .release);
    }

    /// By the writer: the number of the next event, for `isRecent`.
    pub inline fn position(self: *const Ring) u32 {
        return @truncate(self.head.load(.monotonic));
    }

    /// By the writer: whether the event before `at` is of this tracing, and is overwritten only after as many
    /// events again as half of the ring.
    pub inline fn isRecent(self: *const Ring, at: u32) bool {
        const head = self.head.load(.monotonic);
        // Monotonic: a writer that missed a new base writes what it need not, or a name half a round later.
        return @as(u32, @truncate(head)) -% at < @min(self.slots.len / 2, head -| self.base.load(.monotonic));
    }

    /// The name of the task of the event before.
    pub fn writeName(self: *Ring, text: []const u8) void {
        var rest = text[0..@min(text.len, piece_bytes * pieces_max)];
        while (rest.len > 0) {
            const size = @min(rest.len, piece_bytes);
            var bytes: [16]u8 = @splat(0);
            @memcpy(bytes[0..size], rest[0..size]);
            const low = std.mem.readInt(u64, bytes[0..8], .little);
            const high: u48 = @truncate(std.mem.readInt(u64, bytes[8..16], .little));
            self.put(ticks.now(), @as(u64, @backingInt(Kind.name)) << 56 | @as(u64, size) << 48 | high, low);
            rest = rest[size..];
        }
    }

    pub const Copied = struct {
        count: usize = 0,
        /// Events since `base` that were overwritten.
        lost: u64 = 0,
    };

    /// The events since `base` that are still there, in their order, complete each. `into` has room for
    /// as many as the ring. Any thread, also while it is written.
    pub fn copy(self: *const Ring, into: []Event) Copied {
        assert(into.len >= self.slots.len);
        const end = self.head.load(.acquire);
        const base = self.base.load(.monotonic);
        const first = @max(base, end -| self.slots.len);
        for (first..@intCast(end)) |n| into[n - first] = self.read(n);
        // The writer may be at the event after those that it has counted.
        const overwritten = (self.head.load(.acquire) + 1) -| self.slots.len;
        const from = @min(@max(first, overwritten), end);
        const count: usize = @intCast(end - from);
        std.mem.copyForwards(Event, into[0..count], into[@intCast(from - first)..][0..count]);
        return .{ .count = count, .lost = from - base };
    }

    fn read(self: *const Ring, n: usize) Event {
        const slot = &self.slots[n & (self.slots.len - 1)];
        const stamp = slot.words[0].load(.acquire);
        const middle = slot.words[1].load(.acquire);
        const value = slot.words[2].load(.acquire);
        return .{
            .stamp = stamp,
            // One that is being overwritten is dropped by the caller.
            .kind = std.enums.fromInt(Kind, @as(u8, @truncate(middle >> 56))) orelse .name,
            .arg = @truncate(middle >> 48),
            .task = @truncate(middle),
            .value = value,
        };
    }
};

/// The bytes of a `name` event.
pub fn pieceOf(event: *const Event, into: *[16]u8) []const u8 {
    std.mem.writeInt(u64, into[0..8], event.value, .little);
    std.mem.writeInt(u64, into[8..16], event.task, .little);
    return into[0..@min(event.arg, piece_bytes)];
}

test "what is written is read in its order, and what is overwritten is counted" {
    ticks.prepare();
    var ring: Ring = try .init(64, 0);
    defer ring.deinit();
    var events: [64]Event = undefined;
    try std.testing.expectEqual(Ring.Copied{}, ring.copy(&events));
    for (0..63) |n| ring.write(.poll, 3, @ptrFromInt(0x7fff_1234_5678), n);
    // All that fit but one: the writer might be at it.
    try std.testing.expectEqual(Ring.Copied{ .count = 63 }, ring.copy(&events));
    for (0..63, events[0..63]) |n, event| {
        try std.testing.expectEqual(n, event.value);
        try std.testing.expectEqual(0x7fff_1234_5678, event.task);
        try std.testing.expectEqual(Kind.poll, event.kind);
        try std.testing.expectEqual(3, event.arg);
    }
    for (63..200) |n| ring.write(.steal, 0, null, n);
    try std.testing.expectEqual(Ring.Copied{ .count = 63, .lost = 137 }, ring.copy(&events));
    try std.testing.expectEqual(137, events[0].value);
    try std.testing.expectEqual(199, events[62].value);
    ring.base.store(190, .monotonic);
    try std.testing.expectEqual(Ring.Copied{ .count = 10 }, ring.copy(&events));
}

test "what was written in an earlier tracing, or half a ring ago, is not recent" {
    var ring: Ring = try .init(64, 1 << 32);
    defer ring.deinit();
    try std.testing.expect(!ring.isRecent(0));
    try std.testing.expect(!ring.isRecent(ring.position()));
    ring.write(.poll, 0, null, 0);
    const at = ring.position();
    for (0..32) |_| {
        try std.testing.expect(ring.isRecent(at));
        ring.write(.poll_end, 0, null, 0);
    }
    try std.testing.expect(!ring.isRecent(at));
    const again = ring.position();
    try std.testing.expect(ring.isRecent(again));
    ring.base.store(ring.head.load(.monotonic), .monotonic);
    try std.testing.expect(!ring.isRecent(again));
}

test "names come in pieces, operations keep their number and sign" {
    var ring: Ring = try .init(64, 0);
    defer ring.deinit();
    var events: [64]Event = undefined;
    const text = "Server.handle_connection_with_a_long_name_that_is_cut";
    ring.writeName(text);
    const found = ring.copy(&events);
    var whole: [pieces_max * piece_bytes]u8 = undefined;
    var size: usize = 0;
    for (events[0..found.count]) |*event| {
        var bytes: [16]u8 = undefined;
        const piece = pieceOf(event, &bytes);
        @memcpy(whole[size..][0..piece.len], piece);
        size += piece.len;
    }
    try std.testing.expectEqualStrings(text[0..42], whole[0..size]);
    for ([_]i32{ 0, 5, -1, -125, 8_000_000, -8_388_608 }) |number| {
        const value = operation(7 << 32 | 1234, number);
        try std.testing.expectEqual(number, numberOf(value));
        try std.testing.expectEqual(7 << 20 | 1234, operationOf(value));
    }
    try std.testing.expectEqual(std.math.maxInt(i24), numberOf(operation(0, std.math.maxInt(i32))));
}

test "a reader meets no torn event" {
    const Shared = struct {
        ring: Ring,
        stop: std.atomic.Value(bool) = .init(false),

        fn writeAll(self: *@This()) void {
            var n: u64 = 1;
            while (!self.stop.load(.monotonic)) : (n += 1) {
                // Each word says which event it is of.
                self.ring.writeAt(n, .spawn, @truncate(n), @ptrFromInt(@as(u48, @truncate(n))), n);
            }
        }
    };
    var shared: Shared = .{ .ring = try .init(64, 0) };
    defer shared.ring.deinit();
    const thread = try std.Thread.spawn(.{}, Shared.writeAll, .{&shared});
    var events: [64]Event = undefined;
    var seen: usize = 0;
    var last: u64 = 0;
    while (seen < 20_000 and last < 200_000_000) {
        const found = shared.ring.copy(&events);
        for (events[0..found.count], 0..) |event, i| {
            try std.testing.expectEqual(event.stamp, event.value);
            try std.testing.expectEqual(event.stamp, event.task);
            try std.testing.expectEqual(@as(u8, @truncate(event.stamp)), event.arg);
            try std.testing.expectEqual(found.lost + i + 1, event.stamp);
            last = event.stamp;
        }
        seen += found.count;
    }
    shared.stop.store(true, .monotonic);
    thread.join();
}
