//! Rings when the kernel has no memory for them (ENOMEM). It counts the rings of all processes of a
//! user against the memlock limit, and returns a closed ring's memory a moment later. So a start
//! waits for a bounded time, and then takes smaller rings. Any thread; this file does not know
//! shards.

const std = @import("std");
const linux = std.os.linux;
const clock = @import("../base/clock.zig");
const Failure = @import("../base/failure.zig").Failure;
const limits = @import("../base/limits.zig");
const probe = @import("probe.zig");
const Options = @import("../base/options.zig").Options;
const Ring = @import("ring.zig").Ring;

const page = 4096;

/// The kernel makes no more (IORING_MAX_CQ_ENTRIES).
const cqes_max = 65536;

/// What the kernel counts for one ring: the SQEs; their order, the CQEs, four times as many, and the heads.
pub fn ringBytes(entries: u64) u64 {
    const sqes = std.mem.alignForward(u64, 64 * entries, page);
    const cqes: u64 = @min(4 * entries, cqes_max); // Named, or its type is too small for the product.
    return sqes + std.mem.alignForward(u64, 64 + 4 * entries + 16 * cqes, page);
}

/// Whether rings of that size would fit if nobody else took anything.
fn fits(entries: u32, shards: u32, limit: u64) bool {
    return ringBytes(entries) *| shards <= limit;
}

/// The next smaller size to try, or null: the largest that the limit allows; if it allowed this one,
/// others take a part that is not known.
pub fn smaller(options: *const Options, limit: u64) ?u32 {
    var entries = options.ring_entries;
    const step: u32 = if (fits(entries, options.shards, limit)) 4 else 2;
    while (entries > limits.ring_entries_min) {
        entries = @max(entries / step, limits.ring_entries_min);
        if (fits(entries, options.shards, limit)) return entries;
    }
    return null;
}

/// A wait for memory that comes back without a word.
const Patience = struct {
    deadline_ns: u64 = 0,
    pause_ns: u64 = std.time.ns_per_ms,

    /// False if the time is over.
    fn wait(self: *Patience) bool {
        const now_ns = clock.nowNs();
        if (self.deadline_ns == 0) self.deadline_ns = now_ns + limits.ring_memory_wait_ns;
        if (now_ns >= self.deadline_ns) return false;
        const ts = clock.toTimespec(self.pause_ns);
        _ = linux.nanosleep(&ts, null);
        self.pause_ns *= 2;
        return true;
    }
};

/// The kernel's answer to a small ring, after a wait if that can help.
pub fn probePatiently(failure: *Failure) probe.Info {
    var patience: Patience = .{};
    while (true) {
        const info = probe.known(failure);
        if (info.setup_errno != @backingInt(linux.E.NOMEM)) return info;
        if (!fits(limits.ring_entries_min, 1, info.memlock_limit) or !patience.wait()) return info;
    }
}

/// The same for a shard's ring.
pub fn makeRing(options: *const Options, info: *const probe.Info, failure: *Failure) Ring.InitError!Ring {
    var patience: Patience = .{};
    while (true) {
        return Ring.init(options, info, failure) catch |err| {
            if (!failure.is(.NOMEM)) return err;
            if (!fits(options.ring_entries, options.shards, info.memlock_limit) or !patience.wait()) return err;
            continue;
        };
    }
}

test "the sizes that a limit allows" {
    const kib = 1024;
    // As Linux 6.18 counts them.
    try std.testing.expectEqual(8 * kib, ringBytes(8));
    try std.testing.expectEqual(12 * kib, ringBytes(64));
    try std.testing.expectEqual(36 * kib, ringBytes(256));
    try std.testing.expectEqual(136 * kib, ringBytes(1024));
    try std.testing.expectEqual((2048 + 1024 + 132) * kib, ringBytes(32768));
    var options: Options = .init();
    options.shards = 4;
    options.ring_entries = 256;
    try std.testing.expectEqual(64, smaller(&options, 64 * kib));
    try std.testing.expectEqual(32, smaller(&options, 32 * kib));
    try std.testing.expectEqual(null, smaller(&options, 31 * kib));
    try std.testing.expectEqual(64, smaller(&options, 8192 * kib)); // Others have most of it.
    options.ring_entries = 8;
    try std.testing.expectEqual(null, smaller(&options, 8192 * kib));
}
