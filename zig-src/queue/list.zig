//! Intrusive first-in first-out list of one thread. `T` has a field `next: ?*T`; an element is in
//! at most one list or inbox at a time.

const std = @import("std");
const assert = std.debug.assert;

pub fn ListType(comptime T: type) type {
    return struct {
        const Self = @This();

        head: ?*T = null,
        tail: ?*T = null,
        len: usize = 0,

        pub fn pushBack(self: *Self, item: *T) void {
            assert(item.next == null);
            assert((self.head == null) == (self.tail == null));
            if (self.tail) |tail| tail.next = item else self.head = item;
            self.tail = item;
            self.len += 1;
        }

        pub fn popFront(self: *Self) ?*T {
            const item = self.head orelse return null;
            assert(self.len > 0);
            self.head = item.next;
            if (self.head == null) self.tail = null;
            item.next = null;
            self.len -= 1;
            return item;
        }
    };
}

test "first in, first out" {
    const Item = struct { next: ?*@This() = null, n: u8 };
    var list: ListType(Item) = .{};
    var items = [_]Item{ .{ .n = 1 }, .{ .n = 2 }, .{ .n = 3 } };
    for (&items) |*item| list.pushBack(item);
    try std.testing.expectEqual(3, list.len);
    for (1..4) |n| try std.testing.expectEqual(n, list.popFront().?.n);
    try std.testing.expectEqual(null, list.popFront());
    list.pushBack(&items[1]);
    try std.testing.expectEqual(2, list.popFront().?.n);
}
