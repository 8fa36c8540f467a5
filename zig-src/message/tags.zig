//! Which message tags are hot (a lane of their own) and which of them only count. This never
//! changes after the start.

const std = @import("std");
const memory = @import("../base/memory.zig");

pub const Class = union(enum) { regular, hot, counter: u8 };

pub const Tags = struct {
    /// By tag: 0 regular, 1 hot, 2 + n counter n. Null if all are regular.
    table: ?[]u8 = null,
    counters: u8 = 0,

    pub fn init(hot: []const u16, coalesced: []const u16) error{OutOfMemory}!Tags {
        if (hot.len == 0 and coalesced.len == 0) return .{};
        const table = try memory.zeroedPages(u8, std.math.maxInt(u16) + 1);
        for (hot) |tag| table[tag] = 1;
        var counters: u8 = 0;
        for (coalesced) |tag| {
            if (table[tag] >= 2) continue; // Named twice.
            table[tag] = 2 + counters;
            counters += 1;
        }
        return .{ .table = table, .counters = counters };
    }

    pub fn deinit(self: *Tags) void {
        if (self.table) |table| memory.freePages(u8, table);
        self.* = .{};
    }

    pub fn of(self: *const Tags, tag: u16) Class {
        const table = self.table orelse return .regular;
        return switch (table[tag]) {
            0 => .regular,
            1 => .hot,
            else => |n| .{ .counter = n - 2 },
        };
    }
};

test "classes" {
    var tags: Tags = try .init(&.{ 3, 65535 }, &.{ 9, 3, 9 });
    defer tags.deinit();
    try std.testing.expectEqual(Class.regular, tags.of(0));
    try std.testing.expectEqual(Class.hot, tags.of(65535));
    try std.testing.expectEqual(Class{ .counter = 0 }, tags.of(9));
    try std.testing.expectEqual(Class{ .counter = 1 }, tags.of(3)); // Both: it only counts.
    try std.testing.expectEqual(2, tags.counters);
    try std.testing.expectEqual(Class.regular, (Tags{}).of(3));
}
