//! A counter that is cheaper to read than the clock, for stamps that are converted when they are read:
//! the CPU's time stamp counter if the kernel keeps its time by it (so it is the same on all CPUs and
//! never stops), else the clock itself. Any thread.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;
const clock = @import("clock.zig");
const platform = @import("platform.zig");

const has_counter = builtin.cpu.arch == .x86_64 and !platform.simulated;

var use_counter: std.atomic.Value(bool) = .init(false);

/// Once, before the first stamp. Later calls change nothing.
pub fn prepare() void {
    if (has_counter) use_counter.store(kernelKeepsTimeByIt(), .monotonic);
}

pub inline fn now() u64 {
    if (has_counter and use_counter.load(.monotonic)) return counter();
    return clock.nowNs();
}

inline fn counter() u64 {
    var low: u32 = undefined;
    var high: u32 = undefined;
    asm volatile ("rdtsc"
        : [low] "={eax}" (low),
          [high] "={edx}" (high),
    );
    return @as(u64, high) << 32 | low;
}

fn kernelKeepsTimeByIt() bool {
    const path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    const rc = linux.open(path, .{ .CLOEXEC = true }, 0);
    if (linux.errno(rc) != .SUCCESS) return false;
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    var text: [4]u8 = undefined;
    return linux.read(fd, &text, text.len) >= 3 and std.mem.eql(u8, text[0..3], "tsc");
}

/// Two readings of both, from which all others follow.
pub const Pair = struct {
    ticks: u64,
    ns: u64,

    pub fn take() Pair {
        // The counter between two looks at the clock: of a few, those that nothing came between.
        var best: Pair = undefined;
        var best_ns: u64 = std.math.maxInt(u64);
        for (0..5) |_| {
            const before_ns = clock.nowNs();
            const ticks = now();
            const after_ns = clock.nowNs();
            if (after_ns - before_ns >= best_ns) continue;
            best_ns = after_ns - before_ns;
            best = .{ .ticks = ticks, .ns = before_ns + best_ns / 2 };
        }
        return best;
    }
};

/// From stamps to nanoseconds of the monotonic clock.
pub const Scale = struct {
    from: Pair,
    to: Pair,

    /// Of hours to a few nanoseconds, and in the order of the stamps.
    pub fn toNs(self: Scale, ticks: u64) u64 {
        const span: f64 = @floatFromInt(@as(i64, @intCast(self.to.ticks -| self.from.ticks)));
        const span_ns: f64 = @floatFromInt(@as(i64, @intCast(self.to.ns -| self.from.ns)));
        if (span == 0) return self.from.ns;
        const after: f64 = @floatFromInt(@as(i64, @intCast(ticks -| self.from.ticks)));
        return self.from.ns + @as(u64, @intFromFloat(after * (span_ns / span)));
    }
};

test "stamps become the clock's time" {
    prepare();
    const from: Pair = .take();
    const before_ns = clock.nowNs();
    const stamp = now();
    const after_ns = clock.nowNs();
    while (clock.nowNs() < from.ns + 5 * std.time.ns_per_ms) std.atomic.spinLoopHint();
    const scale: Scale = .{ .from = from, .to = .take() };
    const slack_ns = 20 * std.time.ns_per_us;
    try std.testing.expect(scale.toNs(stamp) + slack_ns >= before_ns);
    try std.testing.expect(scale.toNs(stamp) <= after_ns + slack_ns);
}
