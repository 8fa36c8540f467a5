//! First in, first out, as many as come: a list with a head that moves. One thread's.

const std = @import("std");
const gpa = @import("../base/memory.zig").gpa;

pub fn FifoType(comptime T: type) type {
    return struct {
        const Self = @This();

        items: std.ArrayList(T) = .empty,
        /// The first that is left.
        head: usize = 0,

        pub fn deinit(self: *Self) void {
            self.items.deinit(gpa);
        }

        pub fn count(self: *const Self) usize {
            return self.items.items.len - self.head;
        }

        pub fn push(self: *Self, item: T) error{OutOfMemory}!void {
            if (self.head > 0 and self.items.items.len == self.items.capacity) self.moveUp();
            try self.items.append(gpa, item);
        }

        pub fn pop(self: *Self) ?T {
            if (self.count() == 0) return null;
            const item = self.items.items[self.head];
            self.head += 1;
            if (self.count() == 0) {
                self.items.clearRetainingCapacity();
                self.head = 0;
            }
            return item;
        }

        fn moveUp(self: *Self) void {
            const left = self.items.items[self.head..];
            std.mem.copyForwards(T, self.items.items, left);
            self.items.shrinkRetainingCapacity(left.len);
            self.head = 0;
        }
    };
}

test "what comes first leaves first, whatever room there is" {
    var fifo: FifoType(u32) = .{};
    defer fifo.deinit();
    var in: u32 = 0;
    var out: u32 = 0;
    for (0..50) |round| {
        for (0..round % 7 + 3) |_| {
            try fifo.push(in);
            in += 1;
        }
        for (0..round % 5 + 1) |_| {
            try std.testing.expectEqual(out, fifo.pop());
            out += 1;
        }
        try std.testing.expectEqual(in - out, fifo.count());
    }
    while (fifo.pop()) |item| : (out += 1) try std.testing.expectEqual(out, item);
    try std.testing.expectEqual(in, out);
}
