//! Stealable queue, backend `mutex`: a bounded ring under a lock. Any thread pushes; the owner takes
//! the oldest, thieves take the newest, so that both ends keep their order.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("../base/platform.zig").Atomic;
const Lock = @import("../base/sync.zig").Lock;

pub fn MutexDequeType(comptime T: type) type {
    return struct {
        const Self = @This();

        lock: Lock = .{},
        items: []*T,
        head: usize = 0,
        /// Written under the lock, read by anyone: sequentially consistent, because it is what a
        /// parking shard and a thief look at.
        len: Atomic(usize) = .init(0),

        pub fn init(gpa: std.mem.Allocator, capacity: usize) !Self {
            assert(capacity > 0);
            return .{ .items = try gpa.alloc(*T, capacity) };
        }

        pub fn deinit(self: *Self, gpa: std.mem.Allocator) void {
            assert(self.depth() == 0);
            gpa.free(self.items);
        }

        pub fn depth(self: *const Self) usize {
            return self.len.load(.seq_cst);
        }

        /// The new depth, or null if the queue is full.
        pub fn push(self: *Self, item: *T) ?usize {
            self.lock.lock();
            defer self.lock.unlock();
            const len = self.len.load(.monotonic);
            if (len == self.items.len) return null;
            assert(len < self.items.len and self.head < self.items.len);
            self.items[(self.head + len) % self.items.len] = item;
            self.len.store(len + 1, .seq_cst);
            return len + 1;
        }

        pub fn popOwner(self: *Self) ?*T {
            if (self.depth() == 0) return null;
            self.lock.lock();
            defer self.lock.unlock();
            const len = self.len.load(.monotonic);
            if (len == 0) return null;
            assert(len <= self.items.len);
            const item = self.items[self.head];
            self.head = (self.head + 1) % self.items.len;
            self.len.store(len - 1, .seq_cst);
            return item;
        }

        /// Takes at most `out.len` of the newest, oldest of them first; never more than half of the
        /// queue (rounded up), so that the owner keeps work. One attempt at the lock.
        pub fn steal(self: *Self, out: []*T) usize {
            assert(out.len > 0);
            if (self.depth() == 0) return 0;
            self.lock.lock();
            defer self.lock.unlock();
            const len = self.len.load(.monotonic);
            const count = @min(out.len, (len + 1) / 2);
            assert(count <= len);
            for (out[0..count], len - count..) |*slot, i| {
                slot.* = self.items[(self.head + i) % self.items.len];
            }
            self.len.store(len - count, .seq_cst);
            return count;
        }
    };
}
