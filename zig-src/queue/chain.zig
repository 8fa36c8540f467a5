//! Intrusive first-in first-out list that an element may leave from anywhere, in one step. `T` has
//! a field `link: Link(T)`; the user of the list guards it.

const std = @import("std");
const assert = std.debug.assert;

pub fn LinkType(comptime T: type) type {
    return struct { prev: ?*T = null, next: ?*T = null, linked: bool = false };
}

pub fn ChainType(comptime T: type) type {
    return struct {
        const Self = @This();

        head: ?*T = null,
        tail: ?*T = null,
        len: usize = 0,

        pub fn pushBack(self: *Self, item: *T) void {
            assert(!item.link.linked);
            item.link = .{ .prev = self.tail, .linked = true };
            if (self.tail) |tail| tail.link.next = item else self.head = item;
            self.tail = item;
            self.len += 1;
        }

        /// It must be in this list.
        pub fn remove(self: *Self, item: *T) void {
            assert(item.link.linked);
            if (item.link.prev) |prev| prev.link.next = item.link.next else self.head = item.link.next;
            if (item.link.next) |next| next.link.prev = item.link.prev else self.tail = item.link.prev;
            item.link = .{};
            self.len -= 1;
        }

        pub fn popFront(self: *Self) ?*T {
            const item = self.head orelse return null;
            self.remove(item);
            return item;
        }
    };
}

test "first in, first out, and out of turn" {
    const Item = struct { link: LinkType(@This()) = .{}, n: u8 };
    var list: ChainType(Item) = .{};
    var items = [_]Item{ .{ .n = 0 }, .{ .n = 1 }, .{ .n = 2 }, .{ .n = 3 }, .{ .n = 4 } };
    for (&items) |*item| list.pushBack(item);
    for ([_]usize{ 0, 2, 4 }) |n| list.remove(&items[n]);
    try std.testing.expectEqual(2, list.len);
    list.pushBack(&items[2]);
    for ([_]u8{ 1, 3, 2 }) |n| try std.testing.expectEqual(n, list.popFront().?.n);
    try std.testing.expectEqual(null, list.popFront());
    try std.testing.expectEqual(null, list.tail);
}
