//! Starts and spawns that run out of memory at each point in turn, or of descriptors: the error is
//! reported, nothing is left behind, and the next one works.

const std = @import("std");
const linux = std.os.linux;
const c_runtime = @import("../c/runtime.zig");
const c_task = @import("../c/task.zig");
const clock = @import("../base/clock.zig");
const errors = @import("../base/errors.zig");
const AllocationCounter = @import("../base/memory.zig").AllocationCounter;
const harness = @import("harness.zig");
const options_module = @import("../base/options.zig");
const Options = options_module.Options;

const testing = std.testing;

/// Descriptors and threads of the process, and memory of the library.
const Held = struct {
    descriptors: usize,
    threads: usize,
    allocations: i64,

    fn now() !Held {
        return .{
            .descriptors = try count("/proc/self/fd"),
            .threads = try count("/proc/self/task"),
            .allocations = AllocationCounter.live.load(.monotonic),
        };
    }

    fn count(path: [*:0]const u8) !usize {
        const rc = linux.open(path, .{ .DIRECTORY = true, .CLOEXEC = true }, 0);
        if (linux.errno(rc) != .SUCCESS) return error.SkipZigTest;
        const fd: i32 = @intCast(rc);
        defer _ = linux.close(fd);
        var found: usize = 0;
        var buffer: [4096]u8 align(8) = undefined;
        while (true) {
            const size = linux.getdents64(fd, &buffer, buffer.len);
            if (linux.errno(size) != .SUCCESS) return error.SkipZigTest;
            if (size == 0) return found;
            var at: usize = 0;
            while (at < size) : (found += 1) {
                const entry: *align(1) const linux.dirent64 = @ptrCast(&buffer[at]);
                at += entry.reclen;
            }
        }
    }

    /// A joined thread leaves /proc a moment later, as those of earlier tests may do.
    fn expectNow(self: Held) !void {
        const deadline_ns = clock.deadlineNs(10 * std.time.ns_per_s);
        var after = try now();
        while (after.threads > self.threads and clock.nowNs() < deadline_ns) {
            _ = linux.sched_yield();
            after = try now();
        }
        try testing.expect(after.threads <= self.threads);
        try testing.expectEqual(self.descriptors, after.descriptors);
        try testing.expectEqual(self.allocations, after.allocations);
    }
};

/// A task runs on each shard, and all goes down.
fn expectWhole(handle: u64, shards: u32) !void {
    for (0..shards) |shard| {
        try expectSeven(try harness.spawnOn(handle, .pinned, shard, nothing, null));
    }
    try harness.shutdownOf(handle);
}

fn expectSeven(join: u64) !void {
    try testing.expectEqual(7, try harness.joined(join));
}

fn nothing(_: ?*anyopaque, result: *i64) callconv(.c) i32 {
    result.* = 7;
    return errors.ok;
}

/// All that a start can allocate.
fn fullOptions(kind: options_module.Backend, queue: u32) Options {
    const S = struct {
        const hot = [_]u16{7};
        const coalesced = [_]u16{ 8, 9 };
    };
    return .{
        .shards = 3,
        .ring_entries = 8,
        .backend = @backingInt(kind),
        .stealable_queue_backend = queue,
        .flags = options_module.flag_no_msg_ring, // Eventfds.
        .hot_msg_tags = &S.hot,
        .hot_msg_tags_count = S.hot.len,
        .coalesced_hot_msg_tags = &S.coalesced,
        .coalesced_hot_msg_tags_count = S.coalesced.len,
    };
}

/// Also lets the tables of handles grow to what is needed: they keep that.
fn warmUp(options: *const Options) !void {
    var handle: u64 = 0;
    const said = c_runtime.spargio_runtime_start(options, &handle);
    if (said != errors.ok and options.backend == @backingInt(options_module.Backend.io_uring))
        return error.SkipZigTest;
    try testing.expectEqual(errors.ok, said);
    try expectWhole(handle, options.shards);
}

fn startsWithoutMemory(kind: options_module.Backend, queue: u32) !void {
    const options = fullOptions(kind, queue);
    try warmUp(&options);
    const before = try Held.now();
    defer AllocationCounter.until_failure.store(-1, .monotonic);
    var failures: u32 = 0;
    for (0..1000) |point| {
        AllocationCounter.until_failure.store(@intCast(point), .monotonic);
        var handle: u64 = 0;
        const said = c_runtime.spargio_runtime_start(&options, &handle);
        const reached = AllocationCounter.until_failure.swap(-1, .monotonic) < 0;
        if (said == errors.ok) {
            // If a shard's first operation was refused memory, it was tried again.
            try expectWhole(handle, options.shards);
        } else {
            failures += 1;
            try testing.expectEqual(errors.fromError(error.OutOfMemory), said);
            try testing.expectEqual(0, handle);
        }
        try before.expectNow();
        if (!reached) break;
    } else return error.TestUnexpectedResult;
    try testing.expect(failures > 10); // There were so many points.
}

test "a start without memory at any point is an error and leaves nothing" {
    for ([_]u32{ 0, 1 }) |queue| {
        try startsWithoutMemory(.epoll, queue);
        try startsWithoutMemory(.io_uring, queue);
        // Another backend could not help: it is an error all the same.
        try startsWithoutMemory(.automatic, queue);
    }
}

test "a start without a descriptor at any point is an error and leaves nothing" {
    var limit: linux.rlimit = undefined;
    try testing.expectEqual(0, linux.getrlimit(.NOFILE, &limit));
    defer _ = linux.setrlimit(.NOFILE, &limit);
    for ([_]options_module.Backend{ .epoll, .io_uring, .automatic }) |kind| {
        const options = fullOptions(kind, 0);
        try warmUp(&options);
        const before = try Held.now();
        var failures: u32 = 0;
        for (0..before.descriptors + 16) |most| {
            // Only the start is limited: the test itself opens things.
            try testing.expectEqual(0, linux.setrlimit(.NOFILE, &.{ .cur = most, .max = limit.max }));
            var handle: u64 = 0;
            const said = c_runtime.spargio_runtime_start(&options, &handle);
            try testing.expectEqual(0, linux.setrlimit(.NOFILE, &limit));
            if (said == errors.ok) {
                try expectWhole(handle, options.shards);
            } else {
                failures += 1;
                try testing.expectEqual(errors.fromErrno(@backingInt(linux.E.MFILE)), said);
            }
            try before.expectNow();
        }
        try testing.expect(failures > 5 and failures < before.descriptors + 16);
    }
}

test "a spawn without memory at any point is an error, and its runtime goes on" {
    const options = fullOptions(.automatic, 0);
    try warmUp(&options);
    const before = try Held.now();
    for ([_]u32{ 0, 3 }) |kind| { // Pinned and stealable.
        var handle: u64 = 0;
        try testing.expectEqual(errors.ok, c_runtime.spargio_runtime_start(&options, &handle));
        const placement: c_task.PlacementC = .{ .kind = kind };
        defer AllocationCounter.until_failure.store(-1, .monotonic);
        for (0..100) |point| {
            var join: u64 = 0;
            AllocationCounter.until_failure.store(@intCast(point), .monotonic);
            const said = c_task.spargio_spawn(handle, &placement, nothing, null, &join);
            const reached = AllocationCounter.until_failure.swap(-1, .monotonic) < 0;
            if (said == errors.ok) {
                try expectSeven(join);
            } else {
                try testing.expectEqual(errors.fromError(error.OutOfMemory), said);
                try testing.expectEqual(0, join);
            }
            if (!reached) {
                try testing.expect(point > 0);
                break;
            }
        } else return error.TestUnexpectedResult;
        try expectWhole(handle, options.shards);
    }
    try before.expectNow();
}
