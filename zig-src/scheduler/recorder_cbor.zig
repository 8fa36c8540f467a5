//! Recorders as CBOR: the part `recorders` of a snapshot, which docs/stats.cddl describes. Any
//! thread; a recorder is not changed by being read.

const std = @import("std");
const recorders = @import("recorders.zig");
const prefix = "spargio ";
const Writer = @import("../base/cbor.zig").Writer;

/// Percentiles that the snapshot names, in 1/100,000.
const percentiles = .{
    .{ "p50_ns", 50_000 },
    .{ "p90_ns", 90_000 },
    .{ "p95_ns", 95_000 },
    .{ "p99_ns", 99_000 },
    .{ "p999_ns", 99_900 },
};

/// Bytes that the recorders may grow by while they are written a second time.
pub fn slack() usize {
    return 4096 * @as(usize, recorders.opened());
}

/// An array of all recorders of the process.
pub fn write(w: *Writer) void {
    const count = recorders.opened();
    w.array(count);
    for (1..count + 1) |number| writeOne(w, recorders.byNumber(@intCast(number)).?);
}

pub fn writeOne(w: *Writer, recorder: *recorders.Recorder) void {
    recorders.lock.lock();
    defer recorders.lock.unlock();
    // Before the sum, which takes the same room.
    const by_shard = std.mem.startsWith(u8, recorder.nameOf(), prefix);
    w.map(10 + percentiles.len + @intFromBool(by_shard));
    if (by_shard) writeShards(w, recorder);
    const sum: recorders.Sum = .of(recorder);
    w.text("name");
    w.text(recorder.nameOf());
    w.pair("count", sum.count);
    w.pair("sum_ns", sum.sum_ns);
    w.pair("min_ns", sum.min_ns);
    w.pair("max_ns", sum.max_ns);
    w.pair("mean_ns", sum.meanNs());
    inline for (percentiles) |one| w.pair(one[0], sum.percentileNs(one[1]));
    w.pair("bytes", sum.bytes);
    w.pair("operations", sum.operations);
    w.text("outcomes");
    writeOutcomes(w, recorder, &sum);
    w.text("buckets");
    w.map(sum.present);
    var used = sum.used();
    while (used.next()) |i| {
        if (sum.buckets[i] == 0) continue;
        w.uint(i);
        w.uint(sum.buckets[i]);
    }
}

fn writeShards(w: *Writer, recorder: *recorders.Recorder) void {
    var count: u64 = 0;
    var tally = recorder.tallies;
    while (tally) |one| : (tally = one.next) count += 1;
    w.text("shards");
    w.array(count);
    tally = recorder.tallies;
    while (tally) |one| : (tally = one.next) {
        const sum: recorders.Sum = .ofTally(one);
        w.map(5);
        w.pair("shard", one.shard);
        w.pair("count", sum.count);
        w.pair("p50_ns", sum.percentileNs(50_000));
        w.pair("p99_ns", sum.percentileNs(99_000));
        w.pair("max_ns", sum.max_ns);
    }
}

fn writeOutcomes(w: *Writer, recorder: *recorders.Recorder, sum: *const recorders.Sum) void {
    const counts = &sum.outcomes;
    w.map(4);
    w.pair("ok", counts[recorders.outcome_ok]);
    w.pair("timeout", counts[recorders.outcome_timeout]);
    w.pair("overloaded", counts[recorders.outcome_overloaded]);
    w.text("errors");
    var present: u64 = 0;
    for (counts[recorders.outcome_error..]) |n| present += @intFromBool(n > 0);
    w.map(present);
    for (counts[recorders.outcome_error..], recorders.outcome_error..) |n, outcome| {
        if (n == 0) continue;
        w.pair(if (outcome == recorders.outcome_error) "other" else recorder.kindOf(@intCast(outcome)), n);
    }
}
