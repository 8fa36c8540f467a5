//! Whole runtimes under load, from several threads at once: spawns, steals, joins, cancels, stops.
//! The test under ThreadSanitizer (`zig build test -Dsanitize-thread`): it takes every path that
//! two threads share, the shutdown included.

const std = @import("std");
const c_ops = @import("../c/ops.zig");
const c_task = @import("../c/task.zig");
const harness = @import("harness.zig");
const runtime_handle = @import("../runtime/runtime_handle.zig");
const errors = @import("../base/errors.zig");
const Kind = @import("../task/task.zig").Kind;
const Options = @import("../base/options.zig").Options;
const joins = &@import("../runtime/native_task.zig").joins;
const Atomic = std.atomic.Value;

const testing = std.testing;

/// What became of the tasks of one runtime.
const Tally = struct {
    runtime: u64,
    began: Atomic(u64) = .init(0),
    accepted: Atomic(u64) = .init(0),
    refused: Atomic(u64) = .init(0),
};

/// One task: what it does, and how often it was started.
const Work = struct {
    tally: *Tally,
    kind: enum { plain, yields, naps, has_child } = .plain,
    step: u32 = 0,
    starts: u32 = 0,
    join: u64 = 0,
    child: ?*Work = null,

    fn poll(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
        const self: *Work = @ptrCast(@alignCast(ctx.?));
        self.step += 1;
        if (self.step == 1) {
            self.starts += 1;
            _ = self.tally.began.fetchAdd(1, .monotonic);
        }
        result.* = self.step;
        return switch (self.kind) {
            .plain => errors.ok,
            .yields => if (self.step < 4) errors.yield else errors.ok,
            .naps => self.nap(),
            .has_child => self.joinChild(),
        };
    }

    fn nap(self: *Work) i32 {
        if (self.step > 3 or c_task.spargio_task_cancelled() == 1) return errors.ok;
        var op: u64 = 0;
        const result = if (self.step == 2) c_ops.spargio_sleep(100_000, &op) else c_ops.spargio_nop(&op);
        return if (result == errors.ok) errors.pending else result;
    }

    fn joinChild(self: *Work) i32 {
        const child = self.child.?;
        if (self.step == 1 and !child.spawn(.stealable, 0)) return errors.ok;
        var result: i64 = 0;
        const said = c_task.spargio_join_poll(child.join, &result);
        return if (said == errors.pending) errors.pending else errors.ok;
    }

    /// True if it was accepted.
    fn spawn(self: *Work, kind: Kind, value: u64) bool {
        const placement: c_task.PlacementC = .{ .kind = @backingInt(kind), .value = value };
        const result = c_task.spargio_spawn(self.tally.runtime, &placement, poll, self, &self.join);
        const counter = if (result == errors.ok) &self.tally.accepted else &self.tally.refused;
        _ = counter.fetchAdd(1, .monotonic);
        return result == errors.ok;
    }
};

/// A thread outside: spawns its part of the work, waits for some of it, cancels some.
fn produce(works: []Work, seed: u64) void {
    var random = std.Random.DefaultPrng.init(seed);
    const r = random.random();
    for (works, 0..) |*work, i| {
        const kind: Kind = @fromBackingInt(r.uintLessThan(u8, 5));
        const value = if (kind == .sticky) r.int(u32) else r.uintLessThan(u64, 2);
        if (!work.spawn(kind, value)) continue;
        switch (r.uintLessThan(u8, 8)) {
            0 => _ = c_task.spargio_join_cancel(work.join),
            1 => _ = c_task.spargio_join_wait(work.join, 2_000_000, null),
            2 => _ = c_task.spargio_join_cancel(works[i / 2].join),
            else => {},
        }
    }
}

test "each accepted task starts at most once while threads spawn, cancel, wait and stop" {
    if (!@import("../ring/probe.zig").probe().sufficient()) return error.SkipZigTest;
    const per_thread = 400;
    const seed = testing.random_seed;
    for (0..12) |round| {
        var options: Options = .init();
        options.shards = 2 + @as(u32, @intCast(round % 3));
        options.stealable_queue_backend = @intCast(round % 2);
        options.stealable_queue_capacity = 64;
        options.flags = @intCast(round / 2 % 2); // Doorbells by MSG_RING, and by eventfd.
        const whole: harness.Whole = try .start(&options);
        var tally: Tally = .{ .runtime = whole.handle };

        const works = try testing.allocator.alloc(Work, 4 * per_thread);
        defer testing.allocator.free(works);
        for (works[0 .. 2 * per_thread], works[2 * per_thread ..], 0..) |*work, *child, i| {
            child.* = .{ .tally = &tally };
            work.* = .{ .tally = &tally, .child = child, .kind = @fromBackingInt(@intCast(i % 4)) };
        }
        var threads: [2]std.Thread = undefined;
        for (&threads, 0..) |*thread, half| {
            const part = works[half * per_thread ..][0..per_thread];
            thread.* = try std.Thread.spawn(.{}, produce, .{ part, seed + round * 2 + half });
        }
        // Every other round stops it while they still spawn.
        if (round % 2 == 0) for (threads) |thread| thread.join();
        while (tally.accepted.load(.monotonic) < per_thread / 4) std.Thread.yield() catch {};
        try whole.shutdown();
        whole.forget();
        if (round % 2 == 1) for (threads) |thread| thread.join();

        for (works) |*work| {
            if (work.join == 0) continue;
            try testing.expectEqual(errors.ok, c_task.spargio_join_release(work.join));
            try testing.expect(work.starts <= 1);
        }
        try testing.expect(tally.began.load(.monotonic) <= tally.accepted.load(.monotonic));
        try testing.expect(tally.accepted.load(.monotonic) > 0);
        try testing.expectEqual(0, joins.open_count.load(.monotonic));
        try testing.expectEqual(0, runtime_handle.runtimes.open_count.load(.monotonic));
    }
}
