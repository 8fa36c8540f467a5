//! Messages of one shard that travel by the kernel, one MSG_RING each, until their completion is
//! here: a window of sequence numbers. It still knows a message that the kernel refuses, and "all
//! sent before now have arrived" is one comparison. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const Message = @import("../queue/lane.zig").Message;
const memory = @import("../base/memory.zig");

/// A sequence number travels in this many bits of a `user_data`.
pub const sequence_bits = 24;

pub const Outbox = struct {
    const Slot = struct { message: Message, target: u16, done: bool };

    slots: []Slot = &.{},
    oldest: u64 = 0,
    next: u64 = 0,

    pub fn deinit(self: *Outbox) void {
        if (self.slots.len > 0) memory.freePages(Slot, self.slots);
        self.slots = &.{};
    }

    /// The sequence number of a message that is about to be sent.
    pub fn add(self: *Outbox, message: Message, target: u16, capacity: u32) error{ OutOfMemory, Overloaded }!u32 {
        assert(self.oldest <= self.next);
        if (self.slots.len == 0) {
            const size = std.math.ceilPowerOfTwoAssert(usize, capacity);
            assert(size <= 1 << sequence_bits);
            self.slots = try memory.zeroedPages(Slot, size);
        }
        if (self.next - self.oldest == self.slots.len) return error.Overloaded;
        self.slot(self.next).* = .{ .message = message, .target = target, .done = false };
        self.next += 1;
        return @truncate((self.next - 1) & (1 << sequence_bits) - 1);
    }

    /// Its completion is here: what it was.
    pub fn done(self: *Outbox, sequence: u32) Slot {
        const found = self.slot(sequence); // The window is a power of two below that of the number.
        assert(!found.done and self.oldest < self.next);
        found.done = true;
        const copy = found.*;
        while (self.oldest < self.next and self.slot(self.oldest).done) self.oldest += 1;
        return copy;
    }

    /// Whether all that were sent before `sequence` have arrived.
    pub fn reached(self: *const Outbox, sequence: u64) bool {
        return self.oldest >= sequence;
    }

    fn slot(self: *Outbox, sequence: u64) *Slot {
        assert(self.slots.len > 0);
        return &self.slots[@intCast(sequence & (self.slots.len - 1))];
    }
};

test "arrivals in any order" {
    var outbox: Outbox = .{};
    defer outbox.deinit();
    const message: Message = .{ .from = 1, .tag = 2, .value = 3 };
    try std.testing.expect(outbox.reached(0));
    for (0..4) |n| try std.testing.expectEqual(n, try outbox.add(message, 0, 4));
    try std.testing.expectError(error.Overloaded, outbox.add(message, 0, 4));
    _ = outbox.done(1);
    try std.testing.expect(!outbox.reached(1));
    try std.testing.expectEqual(message, outbox.done(0).message);
    try std.testing.expect(outbox.reached(2));
    try std.testing.expect(!outbox.reached(3));
    _ = try outbox.add(message, 9, 4);
    for ([_]u32{ 4, 3, 2 }) |sequence| _ = outbox.done(sequence);
    try std.testing.expect(outbox.reached(5));
}
