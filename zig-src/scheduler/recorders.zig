//! Recorders: latencies under a name, with their outcomes. They belong to the process and live as
//! long as it does, so that a record never finds its recorder gone. Each shard has a tally of its
//! own in each recorder, which only its thread writes; all other threads share one. A reader adds
//! them up. A lock guards the tables, and no record takes it.

const std = @import("std");
const assert = std.debug.assert;
const fork = @import("../base/fork.zig");
const histogram = @import("histogram.zig");
const limits = @import("../base/limits.zig");
const memory = @import("../base/memory.zig");
const sync = @import("../base/sync.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const Counter = @import("stats.zig").Counter;
const Histogram = histogram.Histogram;
const Writers = histogram.Writers;

pub const name_bytes_max = 64;
/// Kinds of errors that a recorder counts apart; the others are the kind "other".
pub const kinds_max = 32;

/// How an operation ended. Numbers from `first_kind` on are the recorder's own kinds of errors.
pub const outcome_ok = 0;
pub const outcome_timeout = 1;
pub const outcome_overloaded = 2;
pub const outcome_error = 3;
pub const first_kind = 4;
pub const outcomes_max = first_kind + kinds_max;

pub const shard_none = std.math.maxInt(u16);

pub const Sample = struct {
    ns: u64,
    outcome: u32 = outcome_ok,
    bytes: u64 = 0,
    operations: u64 = 1,
};

/// What one writer counted.
pub const Tally = struct {
    latency: Histogram,
    outcomes: [outcomes_max]Counter = @splat(.{}),
    bytes: Counter = .{},
    /// Beyond one per record, modulo 2^64: the usual record does not touch it.
    more_operations: Counter = .{},
    /// Whose it is, if that is known.
    shard: u16 = shard_none,
    next: ?*Tally = null,

    pub fn record(self: *Tally, comptime writers: Writers, sample: Sample) void {
        assert(sample.outcome < outcomes_max);
        self.latency.record(writers, sample.ns);
        self.count(writers, sample);
    }

    pub fn recordCorrected(self: *Tally, comptime writers: Writers, sample: Sample, interval_ns: u64) void {
        self.latency.recordCorrected(writers, sample.ns, interval_ns);
        self.count(writers, sample);
    }

    fn count(self: *Tally, comptime writers: Writers, sample: Sample) void {
        histogram.add(writers, &self.outcomes[sample.outcome], 1);
        if (sample.operations != 1) histogram.add(writers, &self.more_operations, sample.operations -% 1);
        if (sample.bytes > 0) histogram.add(writers, &self.bytes, sample.bytes);
    }
};

pub const Recorder = struct {
    /// Its place in each shard's seats.
    index: u32,
    name: [name_bytes_max]u8 = undefined,
    name_size: u8,
    /// Of threads that are no shard, and of shards that are gone.
    outside: Tally,
    /// Those of shards. Under the lock.
    tallies: ?*Tally = null,
    kinds: [kinds_max]Kind = undefined,
    /// Kinds that are complete.
    kind_count: Atomic(u32) = .init(0),

    const Kind = struct { text: [name_bytes_max]u8, size: u8 };

    pub fn nameOf(self: *const Recorder) []const u8 {
        return self.name[0..self.name_size];
    }

    pub fn kindOf(self: *const Recorder, outcome: u32) []const u8 {
        const kind = &self.kinds[outcome - first_kind];
        return kind.text[0..kind.size];
    }

    /// The outcome number of a kind of error. A name is cut after 64 bytes; once there are `kinds_max`, a new
    /// one is "other". Any thread.
    pub fn outcomeOf(self: *Recorder, kind: []const u8) u32 {
        const text = clipped(kind);
        // Acquire: pairs with the release below; kinds before the count are complete.
        const known = self.kind_count.load(.acquire);
        if (self.findKind(text, 0, known)) |found| return found;
        lock.lock();
        defer lock.unlock();
        const count = self.kind_count.load(.monotonic);
        if (self.findKind(text, known, count)) |found| return found;
        if (count == kinds_max) return outcome_error;
        const slot = &self.kinds[count];
        @memcpy(slot.text[0..text.len], text);
        slot.size = @intCast(text.len);
        self.kind_count.store(count + 1, .release);
        return first_kind + count;
    }

    fn findKind(self: *const Recorder, text: []const u8, from: u32, to: u32) ?u32 {
        for (from..to) |i| {
            const kind = &self.kinds[i];
            if (std.mem.eql(u8, kind.text[0..kind.size], text)) return @intCast(first_kind + i);
        }
        return null;
    }
};

/// One tally per recorder: a shard's. The shard's thread alone writes; any thread reads.
pub const Seats = struct {
    taken: [limits.recorders_max]?*Tally = @splat(null),

    /// On the shard's thread.
    pub inline fn of(self: *Seats, recorder: *Recorder) ?*Tally {
        return self.taken[recorder.index] orelse self.take(recorder);
    }

    /// Null without memory.
    fn take(self: *Seats, recorder: *Recorder) ?*Tally {
        @branchHint(.cold);
        const tally = memory.forever.create(Tally) catch return null;
        tally.* = .{ .latency = Histogram.init() catch {
            memory.forever.destroy(tally);
            return null;
        } };
        lock.lock();
        defer lock.unlock();
        tally.next = recorder.tallies;
        recorder.tallies = tally;
        self.taken[recorder.index] = tally;
        return tally;
    }

    /// After the shard's thread has ended: what it counted stays.
    pub fn leave(self: *Seats) void {
        for (&self.taken, 0..) |*seat, index| {
            const tally = seat.* orelse continue;
            lock.lock();
            defer lock.unlock();
            const recorder = table[index].?;
            var link = &recorder.tallies;
            while (link.* != tally) link = &link.*.?.next;
            link.* = tally.next;
            recorder.outside.latency.addAll(&tally.latency);
            for (&recorder.outside.outcomes, &tally.outcomes) |*into, *from| histogram.add(.many, into, from.get());
            histogram.add(.many, &recorder.outside.bytes, tally.bytes.get());
            histogram.add(.many, &recorder.outside.more_operations, tally.more_operations.get());
            tally.latency.deinit();
            memory.forever.destroy(tally);
            seat.* = null;
        }
    }
};

/// Held while a table or a list changes, and while a reader adds up.
pub var lock: sync.Lock = .{};
var table: [limits.recorders_max]?*Recorder = @splat(null);
var table_size: Atomic(u32) = .init(0);
/// Where a reader adds up. Under the lock.
var sums: []u64 = &.{};

pub const OpenError = error{ OutOfMemory, Invalid, Full };

/// The recorder of that name, made if there is none yet. Any thread.
pub fn open(name: []const u8) OpenError!*Recorder {
    if (name.len == 0 or name.len > name_bytes_max or !std.unicode.utf8ValidateSlice(name)) return error.Invalid;
    fork.guard(&lock); // Nothing but a table entry: the lock of a forked child is free.
    lock.lock();
    defer lock.unlock();
    const size = table_size.load(.monotonic);
    for (table[0..size]) |known| if (std.mem.eql(u8, known.?.nameOf(), name)) return known.?;
    if (size == table.len) return error.Full;
    if (sums.len == 0) sums = try memory.zeroedPages(u64, histogram.bucket_count);
    const recorder = try memory.forever.create(Recorder);
    errdefer memory.forever.destroy(recorder);
    recorder.* = .{ .index = size, .name_size = @intCast(name.len), .outside = .{ .latency = try .init() } };
    @memcpy(recorder.name[0..name.len], name);
    table[size] = recorder;
    // Release: pairs with the acquire in `byNumber`.
    table_size.store(size + 1, .release);
    return recorder;
}

/// Any thread. Null: there is none.
pub fn byNumber(number: u32) ?*Recorder {
    // Acquire: pairs with the release in `open`; entries before the size are complete.
    if (number == 0 or number > table_size.load(.acquire)) return null;
    return table[number - 1];
}

pub fn opened() u32 {
    return table_size.load(.acquire); // Acquire: as in `byNumber`.
}

/// All tallies of a recorder added up; good for as long as the caller holds the lock.
pub const Sum = struct {
    buckets: []const u64,
    octaves: u64 = 0,
    present: u64 = 0,
    count: u64 = 0,
    sum_ns: u64 = 0,
    min_ns: u64 = 0,
    max_ns: u64 = 0,
    too_long: u64 = 0,
    outcomes: [outcomes_max]u64 = @splat(0),
    bytes: u64 = 0,
    operations: u64 = 0,

    pub fn of(recorder: *const Recorder) Sum {
        var self: Sum = .{ .buckets = sums };
        var least: u64 = 0;
        self.addFigures(&recorder.outside, &least);
        var tally = recorder.tallies;
        while (tally) |one| : (tally = one.next) self.addFigures(one, &least);
        if (self.max_ns == 0 and least == 0) return self;
        self.min_ns = ~least;
        // What is counted meanwhile in another octave is for the next reader.
        var taken = self.used();
        while (taken.next()) |i| {
            var n = recorder.outside.latency.buckets[i].get();
            tally = recorder.tallies;
            while (tally) |one| : (tally = one.next) n += one.latency.buckets[i].get();
            sums[i] = n;
            self.count += n;
            self.present += @intFromBool(n > 0);
        }
        return self;
    }

    /// Of one tally. Good for as long as the caller holds the lock.
    pub fn ofTally(tally: *const Tally) Sum {
        var self: Sum = .{ .buckets = sums };
        var least: u64 = 0;
        self.addFigures(tally, &least);
        var taken = self.used();
        while (taken.next()) |i| {
            sums[i] = tally.latency.buckets[i].get();
            self.count += sums[i];
        }
        return self;
    }

    fn addFigures(self: *Sum, tally: *const Tally, least: *u64) void {
        self.octaves |= tally.latency.octaves.get();
        self.sum_ns +%= tally.latency.sum_ns.get();
        self.max_ns = @max(self.max_ns, tally.latency.max_ns.get());
        least.* = @max(least.*, tally.latency.min_complement.get());
        self.too_long += tally.latency.too_long.get();
        for (&self.outcomes, &tally.outcomes) |*into, *from| {
            into.* += from.get();
            self.operations +%= from.get();
        }
        self.bytes += tally.bytes.get();
        self.operations +%= tally.more_operations.get();
    }

    /// The buckets that may have something.
    pub fn used(self: *const Sum) histogram.Buckets {
        return .{ .octaves = self.octaves };
    }

    pub fn meanNs(self: *const Sum) u64 {
        return if (self.count == 0) 0 else self.sum_ns / self.count;
    }

    /// The greatest value of the bucket that has it, at most the maximum; `part` of 100,000.
    pub fn percentileNs(self: *const Sum, part: u64) u64 {
        if (self.count == 0) return 0;
        const wanted = @max(1, std.math.divCeil(u64, self.count *| part, 100_000) catch unreachable);
        var seen: u64 = 0;
        var buckets = self.used();
        while (buckets.next()) |i| {
            seen += self.buckets[i];
            if (seen >= wanted) return @min(histogram.highestOf(i), self.max_ns);
        }
        return self.max_ns;
    }
};

fn clipped(text: []const u8) []const u8 {
    if (text.len <= name_bytes_max) return text;
    var end: usize = name_bytes_max;
    while (end > 0 and text[end] & 0xc0 == 0x80) end -= 1;
    return text[0..end];
}

test "shards and other threads add up, and what a shard counted stays" {
    const recorder = try open("a test");
    try std.testing.expectEqual(recorder, try open("a test"));
    var seats: Seats = .{};
    seats.of(recorder).?.record(.one, .{ .ns = 1000, .bytes = 5 });
    recorder.outside.record(.many, .{ .ns = 3000, .outcome = recorder.outcomeOf("ValueError"), .operations = 2 });
    for (0..2) |_| {
        lock.lock();
        defer lock.unlock();
        const sum: Sum = .of(recorder);
        try std.testing.expectEqual(2, sum.count);
        try std.testing.expectEqual(2000, sum.meanNs());
        try std.testing.expectEqual(1000, sum.min_ns);
        try std.testing.expectEqual(1000, sum.percentileNs(50_000));
        try std.testing.expectEqual(3000, sum.percentileNs(99_000));
        try std.testing.expectEqual(5, sum.bytes);
        try std.testing.expectEqual(3, sum.operations);
        try std.testing.expectEqual(1, sum.outcomes[outcome_ok]);
        try std.testing.expectEqual(1, sum.outcomes[first_kind]);
        lock.unlock();
        seats.leave();
        lock.lock();
    }
    try std.testing.expectEqualStrings("ValueError", recorder.kindOf(first_kind));
}

test "names and kinds are bounded" {
    try std.testing.expectError(error.Invalid, open(""));
    try std.testing.expectError(error.Invalid, open(&@as([65]u8, @splat(120))));
    try std.testing.expectError(error.Invalid, open("\xff"));
    const recorder = try open("bounded");
    var text: [8]u8 = undefined;
    for (0..kinds_max) |i| {
        const kind = try std.fmt.bufPrint(&text, "kind{d}", .{i});
        try std.testing.expectEqual(first_kind + i, recorder.outcomeOf(kind));
        try std.testing.expectEqual(first_kind + i, recorder.outcomeOf(kind));
    }
    try std.testing.expectEqual(outcome_error, recorder.outcomeOf("one more"));
}
