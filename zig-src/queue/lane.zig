//! Messages to one shard: a bounded ring of words, many producers, one consumer, each producer's
//! order kept. A cell of 0 is empty, so fresh pages are a valid ring and cost nothing until used.
//!
//! There are two ways in: `push`, which refuses a message beyond the capacity, and `admit` + `land`
//! for messages that travel by the kernel and need their place when they arrive. The ring has room
//! for twice the capacity: at most that much was pushed, and at most as much again was admitted.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("../base/platform.zig").Atomic;
const memory = @import("../base/memory.zig");

/// Mirrors `spargio_msg`.
pub const Message = extern struct {
    from: u16,
    tag: u16,
    value: u32,

    /// Never 0: a shard's number is below 0x8000 and `outside` is above it.
    pub fn word(self: Message) u64 {
        return @as(u64, self.from ^ 0x8000) << 48 | @as(u64, self.tag) << 32 | self.value;
    }

    fn ofWord(bits: u64) Message {
        return .{
            .from = @as(u16, @truncate(bits >> 48)) ^ 0x8000,
            .tag = @truncate(bits >> 32),
            .value = @truncate(bits),
        };
    }
};

/// The sender of a message that comes from no shard.
pub const outside = std.math.maxInt(u16);

pub const Lane = struct {
    cells: []Atomic(u64),
    capacity: u64,
    tail: Atomic(u64) align(std.atomic.cache_line) = .init(0),
    /// Admitted and landed so far: the difference travels.
    admitted: Atomic(u64) = .init(0),
    landed: Atomic(u64) = .init(0),
    head: Atomic(u64) align(std.atomic.cache_line) = .init(0),

    pub fn init(capacity: u32) error{OutOfMemory}!Lane {
        assert(capacity > 0);
        const size = std.math.ceilPowerOfTwo(u64, 2 * @as(u64, capacity)) catch return error.OutOfMemory;
        const cells = try memory.zeroedPages(Atomic(u64), size);
        return .{ .cells = cells, .capacity = capacity };
    }

    pub fn deinit(self: *Lane) void {
        memory.freePages(Atomic(u64), self.cells);
    }

    pub fn depth(self: *const Lane) u64 {
        const head = self.head.load(.seq_cst);
        return self.tail.load(.seq_cst) - head; // Never negative: the tail is read later.
    }

    /// Any thread: as many as there is room for, in their order; returns how many. The first is
    /// written last: a reader that has read it sees the others too. That one store is sequentially
    /// consistent, as the other half of the doorbell's handshake is, which looks at the oldest
    /// cell.
    pub fn push(self: *Lane, messages: []const Message) usize {
        assert(messages.len > 0);
        var tail = self.tail.load(.monotonic);
        while (true) {
            // Acquire: the consumer emptied the cells before it moved the head.
            const head = self.head.load(.acquire);
            if (head > tail) { // A stale tail.
                tail = self.tail.load(.monotonic);
                continue;
            }
            const count = @min(messages.len, self.capacity -| (tail - head));
            if (count == 0) return 0;
            tail = self.tail.cmpxchgWeak(tail, tail + count, .acq_rel, .monotonic) orelse {
                var left = count;
                while (left > 1) {
                    left -= 1;
                    self.cell(tail + left).store(messages[left].word(), .monotonic);
                }
                self.cell(tail).store(messages[0].word(), .seq_cst);
                return count;
            };
        }
    }

    /// Any thread: a place is kept for one message that will land.
    pub fn admit(self: *Lane) bool {
        var admitted = self.admitted.load(.seq_cst);
        while (true) {
            const travelling = admitted -| self.landed.load(.seq_cst);
            if (self.depth() + travelling + 1 > self.capacity) return false;
            // The count only grows, so nobody was admitted since it was read.
            admitted = self.admitted.cmpxchgWeak(admitted, admitted + 1, .seq_cst, .seq_cst) orelse return true;
        }
    }

    /// Any thread: what was admitted does not come.
    pub fn unadmit(self: *Lane) void {
        _ = self.landed.fetchAdd(1, .seq_cst);
    }

    /// Any thread: what was admitted is here.
    pub fn land(self: *Lane, message: Message) void {
        // Acquire-release: by the tails of those before, this sees the cell emptied.
        const position = self.tail.fetchAdd(1, .acq_rel);
        assert(self.cell(position).load(.acquire) == 0);
        self.cell(position).store(message.word(), .seq_cst);
        _ = self.landed.fetchAdd(1, .seq_cst);
    }

    /// The consumer: whether `pop` returns something. Its half of the handshake: park, then look here.
    pub fn ready(self: *const Lane) bool {
        return self.cell(self.head.load(.monotonic)).load(.seq_cst) != 0;
    }

    /// The consumer: the oldest one, or null if the lane is empty, or that message is being
    /// written.
    pub fn pop(self: *Lane) ?Message {
        const head = self.head.load(.monotonic);
        const bits = self.cell(head).load(.acquire);
        if (bits == 0) return null;
        self.cell(head).store(0, .monotonic);
        self.head.store(head + 1, .release);
        return .ofWord(bits);
    }

    fn cell(self: *const Lane, position: u64) *Atomic(u64) {
        return &self.cells[@intCast(position & (self.cells.len - 1))];
    }
};

test "a full lane takes what there is room for; what was admitted always lands" {
    var lane: Lane = try .init(4);
    defer lane.deinit();
    const some = [_]Message{ .{ .from = 0, .tag = 0, .value = 0 }, .{ .from = outside, .tag = 65535, .value = 7 } };
    try std.testing.expect(!lane.ready());
    try std.testing.expectEqual(2, lane.push(&some));
    try std.testing.expect(lane.admit());
    try std.testing.expect(lane.admit());
    try std.testing.expect(!lane.admit());
    try std.testing.expectEqual(1, lane.push(some[0..1])); // Pushes look at what is here only.
    try std.testing.expectEqual(1, lane.push(&some));
    try std.testing.expectEqual(0, lane.push(&some));
    lane.land(some[1]);
    lane.land(some[0]);
    try std.testing.expectEqual(6, lane.depth());
    for ([_]usize{ 0, 1, 0, 0, 1, 0 }) |i| try std.testing.expectEqual(some[i], lane.pop().?);
    try std.testing.expectEqual(null, lane.pop());
    try std.testing.expect(lane.admit());
}

test "each producer's order holds and nothing is lost" {
    const count = 20_000;
    const Producer = struct {
        fn run(lane: *Lane, from: u16) void {
            var n: u32 = 0;
            while (n < count) {
                const pair = [_]Message{
                    .{ .from = from, .tag = 1, .value = n },
                    .{ .from = from, .tag = 1, .value = n + 1 },
                };
                if (from == 2) {
                    if (!lane.admit()) continue;
                    lane.land(pair[0]);
                    n += 1;
                } else n += @intCast(lane.push(pair[0..@min(2, count - n)]));
            }
        }
    };
    var lane: Lane = try .init(32);
    defer lane.deinit();
    var threads: [3]std.Thread = undefined;
    for (&threads, 0..) |*thread, i| {
        thread.* = try std.Thread.spawn(.{}, Producer.run, .{ &lane, @as(u16, @intCast(i)) });
    }
    var next: [3]u32 = @splat(0);
    var seen: usize = 0;
    while (seen < 3 * count) {
        const message = lane.pop() orelse continue;
        try std.testing.expectEqual(next[message.from], message.value);
        next[message.from] += 1;
        seen += 1;
    }
    for (threads) |thread| thread.join();
    try std.testing.expectEqual(0, lane.depth());
}
