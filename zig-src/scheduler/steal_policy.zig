//! When a shard without work looks at others, which ones it looks at, and whether a move pays:
//! plain state and arithmetic of one shard, no queue and no clock, so that each rule can be tested.
//!
//! The gate: estimated time saved > estimated migration cost + locality margin. The time saved is
//! how long the newest queued task of the victim would still wait: depth x its usual task time +
//! the time that the victim has spent in its present task. The cost grows with each low-value scan
//! in a row.

const std = @import("std");
const assert = std.debug.assert;
const limits = @import("../base/limits.zig");
const Options = @import("../base/options.zig").Options;

pub const View = struct {
    depth: usize,
    /// Usual time of one task there, ns; 0 before the first.
    task_ns: u64,
    /// How long it has been in its present task, ns; 0 between tasks.
    stuck_ns: u64,
    /// It is in a task now.
    in_poll: bool = true,
    /// Only that time counts: its tasks need a lock that the thief would need as well, or the thief
    /// has work of its own.
    stuck_only: bool,
};

pub const Policy = struct {
    shard: u16,
    shards: u16,
    stride: u32,
    probe_count: u32,
    batch_size: u32,
    margin_ns: u64,
    fail_cost_ns: u64,
    backoff_min: u32,
    backoff_max: u32,

    cursor: u32 = 0,
    backoff: u32,
    failed_streak: u32 = 0,
    not_before_ns: u64 = 0,

    pub fn init(options: *const Options, shard: u16) Policy {
        return .{
            .shard = shard,
            .shards = @intCast(options.shards),
            .stride = options.steal_victim_stride,
            .probe_count = options.steal_victim_probe_count,
            .batch_size = options.steal_batch_size,
            .margin_ns = @as(u64, options.steal_locality_margin) * std.time.ns_per_us,
            .fail_cost_ns = @as(u64, options.steal_fail_cost) * std.time.ns_per_us,
            .backoff_min = options.steal_backoff_min,
            .backoff_max = options.steal_backoff_max,
            .backoff = options.steal_backoff_min,
            .cursor = shard,
        };
    }

    /// The `n`th victim of this scan: never the shard itself, none twice.
    pub fn victim(self: *const Policy, n: u32) u16 {
        assert(self.shards > 1 and n < self.probes());
        const others = self.shards - 1;
        const index = (self.cursor + n) % others;
        return @intCast((self.shard + 1 + index) % self.shards);
    }

    /// Victims looked at in one scan.
    pub fn probes(self: *const Policy) u32 {
        return @min(self.probe_count, self.shards - 1);
    }

    /// After a scan: the next one starts `steal_victim_stride` further on.
    pub fn rotate(self: *Policy) void {
        self.cursor +%= self.stride;
    }

    pub fn savedNs(view: View) u64 {
        if (view.stuck_only) return view.stuck_ns;
        return view.depth * view.task_ns + view.stuck_ns;
    }

    pub fn worth(self: *const Policy, view: View) bool {
        assert(view.depth > 0);
        return savedNs(view) > self.neededNs(view);
    }

    fn neededNs(self: *const Policy, view: View) u64 {
        const base: u64 = if (view.stuck_only) limits.steal_locked_interpreter_ns else limits.steal_migration_ns;
        const cost = base + self.fail_cost_ns * @min(self.failed_streak, limits.steal_streak_counted_max);
        return cost + self.margin_ns;
    }

    /// Only the victim's present task counts, and it has not taken long enough: how long until it has. A look
    /// after the usual pause would mostly miss it, because tasks of a millisecond are over by then.
    pub fn untilWorthNs(self: *const Policy, view: View) ?u64 {
        if (!view.stuck_only or !view.in_poll or view.depth == 0 or self.worth(view)) return null;
        // If tasks are mostly short, this one is over as well: a wake-up for nothing.
        if (view.task_ns != 0 and view.task_ns < limits.steal_locked_interpreter_ns / 2) return null;
        // One more failure is counted by then.
        return self.neededNs(view) + self.fail_cost_ns - view.stuck_ns + 1;
    }

    /// A scan took something: scan again whenever there is nothing to do.
    pub fn succeeded(self: *Policy) void {
        self.failed_streak = 0;
        self.backoff = self.backoff_min;
        self.not_before_ns = 0;
    }

    /// After `failed`: a victim is worth a look at that time, though the pause may not be over.
    pub fn lookAgain(self: *Policy, at_ns: u64) void {
        self.not_before_ns = @min(self.not_before_ns, at_ns);
    }

    /// A scan took nothing: the pause doubles, within its bounds.
    pub fn failed(self: *Policy, now_ns: u64) void {
        self.failed_streak +|= 1;
        self.not_before_ns = now_ns + @as(u64, self.backoff) * limits.steal_tick_ns;
        self.backoff = @min(self.backoff * 2, self.backoff_max);
    }

    pub fn cooling(self: *const Policy, now_ns: u64) bool {
        return now_ns < self.not_before_ns;
    }
};

fn testPolicy(change: anytype) Policy {
    var options: Options = .{ .shards = 5 };
    inline for (@typeInfo(@TypeOf(change)).@"struct".field_names) |name| {
        @field(options, name) = @field(change, name);
    }
    return .init(&options, 1);
}

test "a scan sees probe_count different victims, the next starts a stride further" {
    var policy = testPolicy(.{ .steal_victim_probe_count = 9, .steal_victim_stride = 2 });
    try std.testing.expectEqual(4, policy.probes());
    var seen: [5]u8 = @splat(0);
    for (0..4) |n| seen[policy.victim(@intCast(n))] += 1;
    try std.testing.expectEqualSlices(u8, &.{ 1, 0, 1, 1, 1 }, &seen);
    const first = policy.victim(0);
    policy.rotate();
    const second = policy.victim(0);
    try std.testing.expect(first != second);
    policy.rotate(); // 2 x 2 is once round the four others.
    try std.testing.expectEqual(first, policy.victim(0));
    try std.testing.expectEqual(3, testPolicy(.{ .steal_victim_probe_count = 3 }).probes());
}

test "the gate: depth and time count, margin and failures weigh against" {
    const busy: View = .{ .depth = 4, .task_ns = 2_000, .stuck_ns = 0, .stuck_only = false };
    try std.testing.expect(testPolicy(.{}).worth(busy));
    try std.testing.expect(!testPolicy(.{ .steal_locality_margin = 100 }).worth(busy));
    var tired = testPolicy(.{ .steal_fail_cost = 3 });
    for (0..3) |_| tired.failed(0);
    try std.testing.expect(!tired.worth(busy));
    var unmoved = testPolicy(.{ .steal_fail_cost = 0 });
    for (0..3) |_| unmoved.failed(0);
    try std.testing.expect(unmoved.worth(busy));
}

test "under a shared lock only a stuck victim counts" {
    var view: View = .{ .depth = 1000, .task_ns = 100_000, .stuck_ns = 100_000, .stuck_only = true };
    try std.testing.expect(!testPolicy(.{}).worth(view));
    view.stuck_ns = 2 * std.time.ns_per_ms;
    try std.testing.expect(testPolicy(.{}).worth(view));
}

test "a look comes back when the victim's task has taken long enough" {
    var policy = testPolicy(.{ .steal_fail_cost = 1 });
    var view: View = .{ .depth = 3, .task_ns = 0, .stuck_ns = 0, .stuck_only = true };
    const wait_ns = policy.untilWorthNs(view).?;
    policy.failed(1000);
    policy.backoff = 32;
    policy.failed(1000);
    policy.failed_streak = 1;
    policy.lookAgain(1000 + wait_ns);
    try std.testing.expect(policy.cooling(1000 + wait_ns - 1));
    try std.testing.expect(!policy.cooling(1000 + wait_ns));
    view.stuck_ns = wait_ns;
    try std.testing.expect(policy.worth(view));
    try std.testing.expectEqual(null, policy.untilWorthNs(view)); // It is worth it now.
    view.stuck_ns = 0;
    view.task_ns = 100_000;
    try std.testing.expectEqual(null, policy.untilWorthNs(view)); // Tasks there are short.
    view.task_ns = 900_000;
    try std.testing.expect(policy.untilWorthNs(view) != null);
    view.in_poll = false;
    try std.testing.expectEqual(null, policy.untilWorthNs(view));
    view = .{ .depth = 3, .task_ns = 1, .stuck_ns = 0, .stuck_only = false };
    try std.testing.expectEqual(null, policy.untilWorthNs(view)); // Its queue counts, not its task alone.
}

test "a day of scans without result does not make a stuck shard keep its tasks" {
    var policy = testPolicy(.{});
    policy.failed_streak = 45_000_000;
    const stuck: View = .{ .depth = 1, .task_ns = 0, .stuck_ns = std.time.ns_per_ms, .stuck_only = true };
    try std.testing.expect(policy.worth(stuck));
}

test "the pause between scans doubles from backoff_min to backoff_max" {
    var policy = testPolicy(.{ .steal_backoff_min = 2, .steal_backoff_max = 7 });
    const pauses = [_]u64{ 2, 4, 7, 7 };
    for (pauses) |ticks| {
        policy.failed(1000);
        try std.testing.expectEqual(1000 + ticks * limits.steal_tick_ns, policy.not_before_ns);
        try std.testing.expect(policy.cooling(1000 + ticks * limits.steal_tick_ns - 1));
        try std.testing.expect(!policy.cooling(1000 + ticks * limits.steal_tick_ns));
    }
    policy.succeeded();
    try std.testing.expect(!policy.cooling(1000));
    policy.failed(0);
    try std.testing.expectEqual(2 * limits.steal_tick_ns, policy.not_before_ns);
}
