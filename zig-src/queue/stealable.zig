//! The stealable queue of a shard behind one interface: the backend is chosen at run time.

const std = @import("std");
const Backend = @import("../base/options.zig").QueueBackend;
const MutexDequeType = @import("mutex_deque.zig").MutexDequeType;
const LockFreeType = @import("lock_free.zig").LockFreeType;

pub fn StealableType(comptime T: type) type {
    return struct {
        const Self = @This();

        // One of the two is made. No union: a look at its tag may read all of it, beside the threads
        // that write there.
        backend: Backend,
        mutex: MutexDequeType(T) = undefined,
        lock_free: LockFreeType(T) = undefined,

        pub fn init(gpa: std.mem.Allocator, backend: Backend, capacity: usize) !Self {
            return switch (backend) {
                .mutex => .{ .backend = backend, .mutex = try .init(gpa, capacity) },
                .lock_free => .{ .backend = backend, .lock_free = try .init(gpa, capacity) },
            };
        }

        pub fn deinit(self: *Self, gpa: std.mem.Allocator) void {
            switch (self.backend) {
                inline else => |backend| @field(self, @tagName(backend)).deinit(gpa),
            }
        }

        /// Any thread. The new depth, or null if the queue is full.
        pub fn push(self: *Self, item: *T) ?usize {
            return switch (self.backend) {
                inline else => |backend| @field(self, @tagName(backend)).push(item),
            };
        }

        /// The owning shard only.
        pub fn popOwner(self: *Self) ?*T {
            return switch (self.backend) {
                inline else => |backend| @field(self, @tagName(backend)).popOwner(),
            };
        }

        /// Any other shard: at most `out.len` tasks and at most half of the queue.
        pub fn steal(self: *Self, out: []*T) usize {
            return switch (self.backend) {
                inline else => |backend| @field(self, @tagName(backend)).steal(out),
            };
        }

        pub fn depth(self: *const Self) usize {
            return switch (self.backend) {
                inline else => |backend| @field(self, @tagName(backend)).depth(),
            };
        }
    };
}

const Item = struct { n: usize, taken: std.atomic.Value(u32) = .init(0) };

test "the bound is exact, the owner takes the oldest" {
    inline for (.{ Backend.mutex, Backend.lock_free }) |backend| {
        for ([_]usize{ 1, 2, 3, 5, 8 }) |capacity| {
            var queue = try StealableType(Item).init(std.testing.allocator, backend, capacity);
            defer queue.deinit(std.testing.allocator);
            var items: [9]Item = undefined;
            for (&items, 0..) |*item, n| item.* = .{ .n = n };
            for (0..3) |_| {
                for (items[0..capacity], 1..) |*item, depth| {
                    try std.testing.expectEqual(depth, queue.push(item).?);
                }
                try std.testing.expectEqual(null, queue.push(&items[capacity]));
                for (0..capacity) |n| try std.testing.expectEqual(n, queue.popOwner().?.n);
                try std.testing.expectEqual(null, queue.popOwner());
            }
        }
    }
}

test "a thief takes at most half" {
    inline for (.{ Backend.mutex, Backend.lock_free }) |backend| {
        var queue = try StealableType(Item).init(std.testing.allocator, backend, 8);
        defer queue.deinit(std.testing.allocator);
        var items: [5]Item = undefined;
        for (&items, 0..) |*item, n| {
            item.* = .{ .n = n };
            _ = queue.push(item).?;
        }
        var out: [8]*Item = undefined;
        try std.testing.expectEqual(3, queue.steal(&out));
        const first: usize = if (backend == .mutex) 2 else 0;
        for (out[0..3], first..) |item, n| try std.testing.expectEqual(n, item.n);
        try std.testing.expectEqual(1, queue.steal(out[0..1]));
        try std.testing.expectEqual(1, queue.steal(&out));
        try std.testing.expectEqual(0, queue.steal(&out));
    }
}

test "producers, owner and thieves: each item once" {
    const count = 20_000;
    const Shared = struct {
        queue: StealableType(Item),
        items: []Item,
        taken: std.atomic.Value(usize) = .init(0),

        fn produce(self: *@This(), half: usize) void {
            for (self.items[half * count ..][0..count]) |*item| {
                while (self.queue.push(item) == null) std.atomic.spinLoopHint();
            }
        }

        fn take(self: *@This(), item: *Item) void {
            _ = item.taken.fetchAdd(1, .monotonic);
            _ = self.taken.fetchAdd(1, .monotonic);
        }

        fn thieve(self: *@This()) void {
            var out: [4]*Item = undefined;
            while (self.taken.load(.monotonic) < 2 * count) {
                for (out[0..self.queue.steal(&out)]) |item| self.take(item);
            }
        }
    };
    inline for (.{ Backend.mutex, Backend.lock_free }) |backend| {
        const items = try std.testing.allocator.alloc(Item, 2 * count);
        defer std.testing.allocator.free(items);
        for (items, 0..) |*item, n| item.* = .{ .n = n };
        var shared: Shared = .{
            .queue = try .init(std.testing.allocator, backend, 64),
            .items = items,
        };
        defer shared.queue.deinit(std.testing.allocator);
        var threads: [4]std.Thread = undefined;
        for (threads[0..2], 0..) |*thread, half| {
            thread.* = try std.Thread.spawn(.{}, Shared.produce, .{ &shared, half });
        }
        for (threads[2..]) |*thread| thread.* = try std.Thread.spawn(.{}, Shared.thieve, .{&shared});
        while (shared.taken.load(.monotonic) < 2 * count) {
            if (shared.queue.popOwner()) |item| shared.take(item);
        }
        for (threads) |thread| thread.join();
        for (items) |*item| try std.testing.expectEqual(1, item.taken.load(.monotonic));
    }
}
