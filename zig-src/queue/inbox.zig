//! Many producers, one consumer: the tasks that other threads hand to a shard. A stack that the
//! owner takes whole and reverses, so each producer's order holds. Unbounded; the elements carry
//! the link.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("../base/platform.zig").Atomic;
const ListType = @import("list.zig").ListType;

pub fn InboxType(comptime T: type) type {
    return struct {
        const Self = @This();

        head: Atomic(?*T) = .init(null),

        /// Any thread. Sequentially consistent: it is one half of the doorbell's handshake
        /// (publish, then look whether the shard is parked).
        pub fn push(self: *Self, item: *T) void {
            assert(item.next == null);
            var head = self.head.load(.monotonic);
            while (true) {
                item.next = head;
                head = self.head.cmpxchgWeak(head, item, .seq_cst, .monotonic) orelse return;
            }
        }

        /// Any thread; the owner's is the other half of the handshake (park, then look here).
        pub fn isEmpty(self: *const Self) bool {
            return self.head.load(.seq_cst) == null;
        }

        /// The owner only: moves all to the end of `list`, oldest first. Returns how many.
        pub fn drain(self: *Self, list: *ListType(T)) usize {
            if (self.head.load(.monotonic) == null) return 0;
            // Acquire pairs with the producers' exchange: their writes to the element are seen.
            var newest = self.head.swap(null, .acquire);
            var oldest: ?*T = null;
            while (newest) |item| {
                newest = item.next;
                item.next = oldest;
                oldest = item;
            }
            var count: usize = 0;
            while (oldest) |item| {
                oldest = item.next;
                item.next = null;
                list.pushBack(item);
                count += 1;
            }
            assert(count > 0);
            return count;
        }
    };
}

test "each producer's order holds and nothing is lost" {
    const Item = struct { next: ?*@This() = null, producer: usize, n: usize };
    const count = 5_000;
    const Producer = struct {
        fn run(inbox: *InboxType(Item), items: []Item) void {
            for (items) |*item| inbox.push(item);
        }
    };
    var inbox: InboxType(Item) = .{};
    const items = try std.testing.allocator.alloc(Item, 3 * count);
    defer std.testing.allocator.free(items);
    for (items, 0..) |*item, i| item.* = .{ .producer = i / count, .n = i % count };
    var threads: [3]std.Thread = undefined;
    for (&threads, 0..) |*thread, p| {
        thread.* = try std.Thread.spawn(.{}, Producer.run, .{ &inbox, items[p * count ..][0..count] });
    }
    var next: [3]usize = @splat(0);
    var list: ListType(Item) = .{};
    var seen: usize = 0;
    while (seen < items.len) {
        _ = inbox.drain(&list);
        while (list.popFront()) |item| {
            try std.testing.expectEqual(next[item.producer], item.n);
            next[item.producer] += 1;
            seen += 1;
        }
    }
    for (threads) |thread| thread.join();
    try std.testing.expect(inbox.isEmpty());
}
