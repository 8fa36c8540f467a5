//! Handles of the C ABI: slot and generation in 64 bits. A lookup pins its slot, so that the thing
//! behind it lives until the call is over, even if another thread closes the handle meanwhile. Any
//! thread; slots are kept for the life of the process.

const std = @import("std");
const assert = std.debug.assert;
const limits = @import("limits.zig");
const fork = @import("fork.zig");
const forever = @import("memory.zig").forever;
const Lock = @import("sync.zig").Lock;
const Atomic = @import("platform.zig").Atomic;

/// `T.handleClosed(*T)` is called once, when the handle is closed and the last pin is gone.
pub fn HandleTableType(comptime T: type) type {
    return struct {
        const Self = @This();

        const Word = packed struct(u64) { generation: u32, pins: u31, open: bool };
        const Slot = struct {
            word: Atomic(u64) = .init(@bitCast(Word{ .generation = 1, .pins = 0, .open = false })),
            item: ?*T = null,
            next_free: ?*Slot = null,
            index: u32,
        };

        lock: Lock = .{},
        free: ?*Slot = null,
        slabs: [limits.handle_slabs_max]Atomic(?[*]Slot) = @splat(.init(null)),
        slab_count: u32 = 0,
        open_count: Atomic(u64) = .init(0),

        pub fn insert(self: *Self, item: *T) error{OutOfMemory}!u64 {
            const slot = try self.takeSlot();
            slot.item = item;
            var word: Word = @bitCast(slot.word.load(.monotonic));
            assert(!word.open and word.pins == 0);
            word.open = true;
            // Release pairs with the acquire in `pin`: the item is seen.
            slot.word.store(@bitCast(word), .release);
            _ = self.open_count.fetchAdd(1, .monotonic);
            return @as(u64, word.generation) << 32 | slot.index;
        }

        /// The item, kept alive until `unpin`; null for a handle that is stale or never was.
        pub fn pin(self: *Self, handle: u64) ?*T {
            const slot = self.find(handle) orelse return null;
            var seen = slot.word.load(.acquire);
            while (true) {
                var word: Word = @bitCast(seen);
                if (word.generation != handle >> 32 or !word.open) return null;
                word.pins += 1;
                seen = slot.word.cmpxchgWeak(seen, @bitCast(word), .acq_rel, .acquire) orelse
                    return slot.item.?;
            }
        }

        pub fn unpin(self: *Self, handle: u64) void {
            const slot = self.find(handle).?;
            var seen = slot.word.load(.acquire);
            while (true) {
                var word: Word = @bitCast(seen);
                assert(word.pins > 0);
                word.pins -= 1;
                const last = endIfLast(&word);
                seen = slot.word.cmpxchgWeak(seen, @bitCast(word), .acq_rel, .acquire) orelse {
                    if (last) self.retire(slot);
                    return;
                };
            }
        }

        /// False for a handle that is stale: of several closes one wins.
        pub fn close(self: *Self, handle: u64) bool {
            const slot = self.find(handle) orelse return false;
            var seen = slot.word.load(.acquire);
            while (true) {
                var word: Word = @bitCast(seen);
                if (word.generation != handle >> 32 or !word.open) return false;
                word.open = false;
                const last = endIfLast(&word);
                seen = slot.word.cmpxchgWeak(seen, @bitCast(word), .acq_rel, .acquire) orelse {
                    _ = self.open_count.fetchSub(1, .monotonic);
                    if (last) self.retire(slot);
                    return true;
                };
            }
        }

        /// One change of a word comes to this: the close without pins, or the last unpin after it.
        fn endIfLast(word: *Word) bool {
            if (word.open or word.pins > 0) return false;
            word.generation = if (word.generation == std.math.maxInt(u32)) 1 else word.generation + 1;
            return true;
        }

        fn retire(self: *Self, slot: *Slot) void {
            const item = slot.item.?;
            slot.item = null;
            self.lock.lock();
            slot.next_free = self.free;
            self.free = slot;
            self.lock.unlock();
            item.handleClosed();
        }

        fn find(self: *Self, handle: u64) ?*Slot {
            const index: u32 = @truncate(handle);
            if (index / limits.handle_slab >= limits.handle_slabs_max) return null;
            const slab = self.slabs[index / limits.handle_slab].load(.acquire) orelse return null;
            return &slab[index % limits.handle_slab];
        }

        fn takeSlot(self: *Self) error{OutOfMemory}!*Slot {
            self.lock.lock();
            defer self.lock.unlock();
            if (self.free == null) try self.grow();
            const slot = self.free.?;
            self.free = slot.next_free;
            slot.next_free = null;
            return slot;
        }

        fn grow(self: *Self) error{OutOfMemory}!void {
            if (self.slab_count == limits.handle_slabs_max) return error.OutOfMemory;
            if (self.slab_count == 0) fork.guard(&self.lock);
            const slab = try forever.alloc(Slot, limits.handle_slab);
            for (slab, 0..) |*slot, i| {
                slot.* = .{ .index = self.slab_count * limits.handle_slab + @as(u32, @intCast(i)) };
                slot.next_free = if (i + 1 < slab.len) &slab[i + 1] else null;
            }
            self.slabs[self.slab_count].store(slab.ptr, .release);
            self.slab_count += 1;
            self.free = &slab[0];
        }
    };
}

const Thing = struct {
    closed: u32 = 0,

    pub fn handleClosed(self: *Thing) void {
        self.closed += 1;
    }
};

test "a stale handle is refused, the item outlives its pins" {
    const S = struct {
        var table: HandleTableType(Thing) = .{};
    };
    const table = &S.table;
    var thing: Thing = .{};
    const handle = try table.insert(&thing);
    try std.testing.expect(handle != 0);
    try std.testing.expectEqual(&thing, table.pin(handle).?);
    try std.testing.expect(table.close(handle));
    try std.testing.expectEqual(0, thing.closed);
    try std.testing.expectEqual(null, table.pin(handle));
    try std.testing.expect(!table.close(handle));
    table.unpin(handle);
    try std.testing.expectEqual(1, thing.closed);
    var other: Thing = .{};
    const second = try table.insert(&other);
    try std.testing.expectEqual(@as(u32, @truncate(handle)), @as(u32, @truncate(second)));
    try std.testing.expectEqual(null, table.pin(handle));
    for ([_]u64{ 0, 1, 1 << 32 | 5, std.math.maxInt(u64) }) |forged| {
        try std.testing.expectEqual(null, table.pin(forged));
        try std.testing.expect(!table.close(forged));
    }
    try std.testing.expect(table.close(second));
}
