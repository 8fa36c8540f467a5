//! Monotonic time in nanoseconds. Everything that measures or waits reads this clock.

const std = @import("std");
const linux = std.os.linux;
const platform = @import("platform.zig");

pub fn nowNs() u64 {
    if (comptime platform.simulated) return platform.machine.nowNs();
    var ts: std.c.timespec = undefined;
    // libc reaches the vDSO; the call cannot fail for CLOCK_MONOTONIC.
    _ = std.c.clock_gettime(.MONOTONIC, &ts);
    return @as(u64, @intCast(ts.sec)) * std.time.ns_per_s + @as(u64, @intCast(ts.nsec));
}

/// `now + duration_ns`, or the end of time if that does not fit.
pub fn deadlineNs(duration_ns: u64) u64 {
    return nowNs() +| duration_ns;
}

pub fn toTimespec(ns: u64) linux.timespec {
    return .{
        .sec = @intCast(@min(ns / std.time.ns_per_s, std.math.maxInt(i32))),
        .nsec = @intCast(ns % std.time.ns_per_s),
    };
}

test "deadlines saturate" {
    try std.testing.expectEqual(std.math.maxInt(u64), deadlineNs(std.math.maxInt(u64)));
    try std.testing.expect(deadlineNs(1) > 0);
}
