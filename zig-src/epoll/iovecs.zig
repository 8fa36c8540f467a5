//! Lists of buffers after a transfer has moved a part of them.

const std = @import("std");
const limits = @import("../base/limits.zig");

/// Pieces of one transfer.
pub const pieces_max = limits.vectors_max;

/// How many bytes a transfer is for: the kernel moves no more at a time.
pub fn total(vectors: anytype) u32 {
    var bytes: usize = 0;
    for (vectors) |vector| bytes +|= vector.len;
    return @intCast(@min(bytes, limits.transfer_max));
}

/// `given` without the first `skip` bytes of its `total`.
pub fn remaining(comptime T: type, out: *[pieces_max]T, given: []const T, skip: u32) []T {
    var skipped: usize = skip;
    var left: usize = total(given) - skip;
    var count: usize = 0;
    for (given) |vector| {
        if (skipped >= vector.len) {
            skipped -= vector.len;
            continue;
        }
        if (left == 0 or count == out.len) break;
        const len = @min(vector.len - skipped, left);
        out[count] = .{ .base = vector.base + skipped, .len = len };
        skipped = 0;
        left -= len;
        count += 1;
    }
    return out[0..count];
}

test "what remains is the rest, and no more than the kernel moves" {
    var bytes: [8]u8 = undefined;
    const T = std.posix.iovec;
    var out: [pieces_max]T = undefined;
    const few = [_]T{ .{ .base = &bytes, .len = 3 }, .{ .base = &bytes, .len = 0 }, .{ .base = &bytes, .len = 5 } };
    try std.testing.expectEqual(8, total(&few));
    const tail: T = .{ .base = bytes[1..].ptr, .len = 2 };
    try std.testing.expectEqualSlices(T, &.{ tail, few[2] }, remaining(T, &out, &few, 1));
    const last: T = .{ .base = bytes[2..].ptr, .len = 3 };
    try std.testing.expectEqualSlices(T, &.{last}, remaining(T, &out, &few, 5));
    try std.testing.expectEqual(0, remaining(T, &out, &few, 8).len);
    const huge = [_]T{ .{ .base = &bytes, .len = std.math.maxInt(usize) }, few[2] };
    try std.testing.expectEqual(limits.transfer_max, total(&huge));
    const left = remaining(T, &out, &huge, 4);
    try std.testing.expectEqual(1, left.len);
    try std.testing.expectEqual(limits.transfer_max - 4, left[0].len);
}
