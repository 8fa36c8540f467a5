//! A log-linear histogram of durations: 1 ns to 1 hour, three significant digits. The buckets are
//! those of HdrHistogram(1, 3600e9, 3), so that its tools read them. Plain arithmetic and counters:
//! one writer, or many by atomic adds. Any thread may read it.

const std = @import("std");
const assert = std.debug.assert;
const memory = @import("../base/memory.zig");
const Counter = @import("stats.zig").Counter;

/// Longer durations are counted as this one, and by `too_long`.
pub const longest_ns = 3600 * std.time.ns_per_s;

/// Values below twice this have a bucket each; from there on each power of two has so many.
const half = 1024;
const half_bits = std.math.log2_int(u64, half);

pub const bucket_count = indexOf(longest_ns) + 1;

pub fn indexOf(ns: u64) u32 {
    const value: u64 = @min(ns, longest_ns);
    if (value < 2 * half) return @intCast(value);
    const shift: u6 = @intCast(63 - half_bits - @clz(value));
    return (@as(u32, shift) << half_bits) + @as(u32, @intCast(value >> shift));
}

/// The least value that the bucket counts.
pub fn lowestOf(index: u32) u64 {
    assert(index < bucket_count);
    if (index < 2 * half) return index;
    const shift: u6 = @intCast((index >> half_bits) - 1);
    return @as(u64, half + (index & (half - 1))) << shift;
}

/// The greatest value that the bucket counts.
pub fn highestOf(index: u32) u64 {
    assert(index < bucket_count);
    if (index < 2 * half) return index;
    const shift: u6 = @intCast((index >> half_bits) - 1);
    return lowestOf(index) + (@as(u64, 1) << shift) - 1;
}

/// How many threads write to a histogram.
pub const Writers = enum { one, many };

pub const Histogram = struct {
    /// Fresh pages: a bucket costs memory only once something near it was counted.
    buckets: []Counter,
    /// Bit n: some bucket from n * 1024 on, of 1024, is not empty. A reader looks at no others.
    octaves: Counter = .{},
    sum_ns: Counter = .{},
    max_ns: Counter = .{},
    /// The complement of the least value, so that 0 means none.
    min_complement: Counter = .{},
    too_long: Counter = .{},

    pub fn init() error{OutOfMemory}!Histogram {
        return .{ .buckets = try memory.zeroedPages(Counter, bucket_count) };
    }

    pub fn deinit(self: *Histogram) void {
        memory.freePages(Counter, self.buckets);
    }

    pub fn record(self: *Histogram, comptime writers: Writers, ns: u64) void {
        self.count(writers, indexOf(ns), 1);
        add(writers, &self.sum_ns, ns);
        raise(writers, &self.max_ns, ns);
        raise(writers, &self.min_complement, ~ns);
        if (ns > longest_ns) add(writers, &self.too_long, 1);
    }

    fn count(self: *Histogram, comptime writers: Writers, index: u32, n: u64) void {
        const octave = @as(u64, 1) << @intCast(index >> half_bits);
        if (self.octaves.get() & octave == 0) switch (writers) {
            .one => self.octaves.add(octave),
            .many => _ = self.octaves.value.fetchOr(octave, .monotonic), // Relaxed, as all of these.
        };
        add(writers, &self.buckets[index], n);
    }

    /// Also those that could not begin while this one took longer than `interval_ns`: the values
    /// `ns - interval_ns`, `ns - 2 * interval_ns` and so on, down to `interval_ns`.
    pub fn recordCorrected(self: *Histogram, comptime writers: Writers, ns: u64, interval_ns: u64) void {
        self.record(writers, ns);
        if (interval_ns == 0) return;
        var value = @min(ns, longest_ns) -| interval_ns;
        if (value < interval_ns) return;
        raise(writers, &self.min_complement, ~(interval_ns + value % interval_ns));
        while (value >= interval_ns) {
            // All that fall into one bucket at once: an hour in steps of a nanosecond has 10^12 values.
            const index = indexOf(value);
            const steps = (value - @max(lowestOf(index), interval_ns)) / interval_ns + 1;
            self.count(writers, index, steps);
            const first = value - (steps - 1) * interval_ns;
            add(writers, &self.sum_ns, @truncate(@as(u128, steps) * (@as(u128, first) + value) / 2));
            value = first - interval_ns;
        }
    }

    /// Adds what `other` counted. `self` may have many writers; `other` has none any more.
    pub fn addAll(self: *Histogram, other: *const Histogram) void {
        var used: Buckets = .{ .octaves = other.octaves.get() };
        while (used.next()) |index| {
            const n = other.buckets[index].get();
            if (n > 0) self.count(.many, index, n);
        }
        add(.many, &self.sum_ns, other.sum_ns.get());
        add(.many, &self.too_long, other.too_long.get());
        raise(.many, &self.max_ns, other.max_ns.get());
        raise(.many, &self.min_complement, other.min_complement.get());
    }
};

/// The numbers of the buckets that a set of octaves has.
pub const Buckets = struct {
    octaves: u64,
    index: u32 = 0,

    pub fn next(self: *Buckets) ?u32 {
        while (self.index < bucket_count) {
            const index = self.index;
            if (self.octaves >> @intCast(index >> half_bits) & 1 != 0) {
                self.index += 1;
                return index;
            }
            self.index = (index | (half - 1)) + 1;
        }
        return null;
    }
};

pub fn add(comptime writers: Writers, counter: *Counter, n: u64) void {
    switch (writers) {
        .one => counter.add(n),
        // Relaxed: no order between counters is promised.
        .many => _ = counter.value.fetchAdd(n, .monotonic),
    }
}

fn raise(comptime writers: Writers, counter: *Counter, value: u64) void {
    if (value <= counter.get()) return;
    switch (writers) {
        .one => counter.max(value),
        .many => _ = counter.value.fetchMax(value, .monotonic), // Relaxed, as above.
    }
}

test "every value lies in its bucket, which is at most a thousandth wide" {
    var value: u64 = 0;
    while (value < longest_ns) : (value += 1 + value / 700) {
        const index = indexOf(value);
        try std.testing.expect(lowestOf(index) <= value and value <= highestOf(index));
        try std.testing.expect(highestOf(index) - lowestOf(index) <= value / 1000);
    }
    for (1..bucket_count) |index| {
        try std.testing.expectEqual(highestOf(@intCast(index - 1)) + 1, lowestOf(@intCast(index)));
        try std.testing.expectEqual(index, indexOf(lowestOf(@intCast(index))));
    }
}

test "a corrected record counts what each step would count" {
    const cases = [_][2]u64{ .{ 1000, 10 }, .{ 1_000_000, 999 }, .{ 123_456, 1 }, .{ 50, 60 }, .{ 7, 0 } };
    for (cases) |case| {
        const ns, const interval = case;
        var quick: Histogram = try .init();
        defer quick.deinit();
        quick.recordCorrected(.one, ns, interval);
        var slow: Histogram = try .init();
        defer slow.deinit();
        slow.record(.many, ns);
        var value = ns -| interval;
        while (interval > 0 and value >= interval) : (value -= interval) slow.record(.many, value);
        for (quick.buckets, slow.buckets) |*one, *other| try std.testing.expectEqual(other.get(), one.get());
        try std.testing.expectEqual(slow.sum_ns.get(), quick.sum_ns.get());
        try std.testing.expectEqual(slow.min_complement.get(), quick.min_complement.get());
    }
}

test "what is too long is counted as the longest" {
    var histogram: Histogram = try .init();
    defer histogram.deinit();
    histogram.record(.one, longest_ns + 1);
    try std.testing.expectEqual(1, histogram.buckets[bucket_count - 1].get());
    try std.testing.expectEqual(1, histogram.too_long.get());
}
