//! Stealable queue, backend `lock_free`: a bounded ring of cells, each with a sequence number (the
//! scheme of D. Vyukov's bounded MPMC queue). Any thread pushes, any thread pops, both at their
//! end, so thieves take the oldest task here.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("../base/platform.zig").Atomic;

pub fn LockFreeType(comptime T: type) type {
    return struct {
        const Self = @This();
        const Cell = struct { sequence: Atomic(usize), item: *T };

        cells: []Cell,
        mask: usize,
        capacity: usize,
        tail: Atomic(usize) align(std.atomic.cache_line) = .init(0),
        head: Atomic(usize) align(std.atomic.cache_line) = .init(0),
        /// Places taken, counted before a push and after a pop: it makes the bound exact although
        /// the ring has a power of two of cells, and it is what others look at.
        len: Atomic(usize) align(std.atomic.cache_line) = .init(0),

        pub fn init(gpa: std.mem.Allocator, capacity: usize) !Self {
            assert(capacity > 0);
            // Two cells at least: with one, "full" and "free again" have the same sequence number.
            const size = @max(2, std.math.ceilPowerOfTwo(usize, capacity) catch return error.OutOfMemory);
            const cells = try gpa.alloc(Cell, size);
            for (cells, 0..) |*cell, i| cell.* = .{ .sequence = .init(i), .item = undefined };
            return .{ .cells = cells, .mask = size - 1, .capacity = capacity };
        }

        pub fn deinit(self: *Self, gpa: std.mem.Allocator) void {
            assert(self.depth() == 0);
            gpa.free(self.cells);
        }

        pub fn depth(self: *const Self) usize {
            return self.len.load(.seq_cst);
        }

        /// The new depth, or null if the queue is full.
        pub fn push(self: *Self, item: *T) ?usize {
            assert(self.cells.len == self.mask + 1 and self.cells.len >= self.capacity);
            const taken = self.len.fetchAdd(1, .seq_cst);
            if (taken >= self.capacity) {
                _ = self.len.fetchSub(1, .seq_cst);
                return null;
            }
            var position = self.tail.load(.monotonic);
            while (true) {
                const cell = &self.cells[position & self.mask];
                // Acquire pairs with the release of the pop that freed the cell.
                const sequence = cell.sequence.load(.acquire);
                const distance: isize = @bitCast(sequence -% position);
                if (distance == 0) {
                    position = self.tail.cmpxchgWeak(position, position +% 1, .monotonic, .monotonic) orelse {
                        cell.item = item;
                        // Release pairs with the acquire in `pop`.
                        cell.sequence.store(position +% 1, .release);
                        return taken + 1;
                    };
                } else {
                    // Behind: a pop has counted itself out but not freed its cell yet, or the
                    // position is stale. `len` promises that a cell becomes free.
                    std.atomic.spinLoopHint();
                    position = self.tail.load(.monotonic);
                }
            }
        }

        pub fn popOwner(self: *Self) ?*T {
            return self.pop();
        }

        /// Takes at most `out.len`, oldest first, at most half of the queue (rounded up).
        pub fn steal(self: *Self, out: []*T) usize {
            assert(out.len > 0);
            const wanted = @min(out.len, (self.depth() + 1) / 2);
            for (out[0..wanted], 0..) |*slot, i| slot.* = self.pop() orelse return i;
            return wanted;
        }

        fn pop(self: *Self) ?*T {
            if (self.depth() == 0) return null;
            var position = self.head.load(.monotonic);
            while (true) {
                const cell = &self.cells[position & self.mask];
                // Acquire pairs with the release in `push`.
                const sequence = cell.sequence.load(.acquire);
                const distance: isize = @bitCast(sequence -% (position +% 1));
                if (distance == 0) {
                    position = self.head.cmpxchgWeak(position, position +% 1, .monotonic, .monotonic) orelse {
                        const item = cell.item;
                        // Release pairs with the acquire in `push`: the item was read.
                        cell.sequence.store(position +% self.mask +% 1, .release);
                        _ = self.len.fetchSub(1, .seq_cst);
                        return item;
                    };
                } else if (distance < 0) {
                    return null; // Empty, or the oldest push has not written its cell yet.
                } else {
                    position = self.head.load(.monotonic);
                }
            }
        }
    };
}
