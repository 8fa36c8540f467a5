//! One statistics snapshot as CBOR; docs/stats.cddl describes it. The names are those of the
//! counters in stats.zig. Any thread; counters may grow while they are read.

const std = @import("std");
const clock = @import("../base/clock.zig");
const recorder_cbor = @import("recorder_cbor.zig");
const stats = @import("stats.zig");
const Scheduler = @import("scheduler.zig").Scheduler;
const Shard = @import("shard.zig").Shard;
const Writer = @import("../base/cbor.zig").Writer;

/// Raised when the meaning of a key changes; new keys do not raise it.
const format_version = 1;

const option_names = [_][]const u8{
    "shards",                     "steal_budget",            "steal_victim_stride",
    "steal_victim_probe_count",   "steal_batch_size",        "steal_locality_margin",
    "steal_fail_cost",            "steal_backoff_min",       "steal_backoff_max",
    "stealable_queue_capacity",   "stealable_queue_backend", "ring_entries",
    "idle_strategy",              "idle_sleep_ns",           "msg_ring_queue_capacity",
    "hot_counter_wake_threshold", "io_uring_sqpoll_idle_ms", "blocked_threshold_ms",
};

const spawn_names = @typeInfo(stats.SpawnCounters).@"struct".field_names;
const shard_names = @typeInfo(stats.ShardCounters).@"struct".field_names;
const gauge_names = @typeInfo(stats.Gauges).@"struct".field_names;
const errno_count = stats.doorbell_errnos.len + 1;
const queue_names = 3;

pub fn write(scheduler: *Scheduler, version: []const u8, buffer: []u8) usize {
    var w: Writer = .{ .buffer = buffer };
    w.map(9);
    w.pair("version", format_version);
    w.text("library");
    w.text(version);
    w.text("backend");
    w.text(@tagName(scheduler.backend));
    w.pair("time_ns", clock.nowNs());
    w.text("options");
    w.map(option_names.len);
    inline for (option_names) |name| w.pair(name, @field(scheduler.options, name));
    w.text("shards");
    w.array(scheduler.shards.len);
    for (scheduler.shards) |*shard| writeShard(&w, shard);
    w.text("outside");
    w.map(spawn_names.len + 1);
    inline for (spawn_names) |name| w.pair(name, @field(scheduler.outside, name).get());
    writeErrnos(&w, &.{&scheduler.outside_errnos});
    w.text("total");
    writeTotal(&w, scheduler);
    w.text("recorders");
    recorder_cbor.write(&w);
    return w.size;
}

fn writeShard(w: *Writer, shard: *Shard) void {
    w.map(1 + spawn_names.len + shard_names.len + gauge_names.len + queue_names + 1);
    w.pair("shard", shard.id);
    inline for (spawn_names) |name| w.pair(name, @field(shard.spawn_counters, name).get());
    inline for (shard_names) |name| w.pair(name, @field(shard.counters, name).get());
    inline for (gauge_names) |name| w.pair(name, @field(shard.gauges, name).get());
    w.pair("message_queue_depth", messageDepth(shard));
    w.pair("stealable_queue_depth", shard.stealable.depth());
    w.pair("stealable_queue_high_water", shard.high_water.load(.monotonic));
    writeErrnos(w, &.{&shard.errno_counters});
}

fn writeTotal(w: *Writer, scheduler: *Scheduler) void {
    w.map(spawn_names.len + shard_names.len + gauge_names.len + queue_names + 1);
    inline for (spawn_names) |name| {
        var sum = @field(scheduler.outside, name).get();
        for (scheduler.shards) |*shard| sum += @field(shard.spawn_counters, name).get();
        w.pair(name, sum);
    }
    inline for (shard_names) |name| {
        // A streak is a maximum, everything else adds up.
        const is_max = comptime std.mem.endsWith(u8, name, "_max");
        var sum: u64 = 0;
        for (scheduler.shards) |*shard| {
            const value = @field(shard.counters, name).get();
            sum = if (is_max) @max(sum, value) else sum + value;
        }
        w.pair(name, sum);
    }
    inline for (gauge_names) |name| {
        var sum: u64 = 0;
        for (scheduler.shards) |*shard| sum += @field(shard.gauges, name).get();
        w.pair(name, sum);
    }
    var messages: u64 = 0;
    var depth: u64 = 0;
    var high_water: u64 = 0;
    for (scheduler.shards) |*shard| {
        messages += messageDepth(shard);
        depth += shard.stealable.depth();
        high_water = @max(high_water, shard.high_water.load(.monotonic));
    }
    w.pair("message_queue_depth", messages);
    w.pair("stealable_queue_depth", depth);
    w.pair("stealable_queue_high_water", high_water);
    w.text("ring_msgs_failed_by_errno");
    var sums: [errno_count]u64 = @splat(0);
    addErrnos(&sums, &scheduler.outside_errnos);
    for (scheduler.shards) |*shard| addErrnos(&sums, &shard.errno_counters);
    writeSums(w, &sums);
}

fn messageDepth(shard: *const Shard) u64 {
    return shard.mailbox.regular.depth() + shard.mailbox.hot.depth();
}

fn writeErrnos(w: *Writer, sets: []const *const stats.ErrnoCounters) void {
    w.text("ring_msgs_failed_by_errno");
    var sums: [errno_count]u64 = @splat(0);
    for (sets) |set| addErrnos(&sums, set);
    writeSums(w, &sums);
}

fn addErrnos(sums: *[errno_count]u64, set: *const stats.ErrnoCounters) void {
    for (sums, set) |*sum, *counter| sum.* += counter.get();
}

/// Only what happened: a map from error number to count; 0 stands for all others.
fn writeSums(w: *Writer, sums: *const [errno_count]u64) void {
    var present: u64 = 0;
    for (sums) |sum| present += @intFromBool(sum > 0);
    w.map(present);
    for (sums, 0..) |sum, i| {
        if (sum == 0) continue;
        w.uint(if (i < stats.doorbell_errnos.len) @backingInt(stats.doorbell_errnos[i]) else 0);
        w.uint(sum);
    }
}
