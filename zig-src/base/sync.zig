//! A futex lock and futex waits, for the few users that need them: queues, handle tables, and
//! threads outside the runtime that wait for a result. This file does not know shards.

const std = @import("std");
const linux = std.os.linux;
const clock = @import("clock.zig");
const platform = @import("platform.zig");
const Atomic = platform.Atomic;

/// Waits while `word` equals `expected`, at most until `deadline_ns`. May return early.
pub fn wait(word: *const Atomic(u32), expected: u32, deadline_ns: u64) void {
    if (comptime platform.simulated) return platform.machine.futexWait(&word.raw, expected, deadline_ns);
    if (deadline_ns == std.math.maxInt(u64)) {
        _ = linux.futex_4arg(word, .{ .cmd = .WAIT, .private = true }, expected, null);
        return;
    }
    const now = clock.nowNs();
    if (now >= deadline_ns) return;
    const ts = clock.toTimespec(deadline_ns - now);
    _ = linux.futex_4arg(word, .{ .cmd = .WAIT, .private = true }, expected, &ts);
}

pub fn wake(word: *const Atomic(u32), waiters: u32) void {
    if (comptime platform.simulated) return platform.machine.futexWake(&word.raw, waiters);
    _ = linux.futex_3arg(word, .{ .cmd = .WAKE, .private = true }, waiters);
}

/// A lock for sections of a few dozen instructions: spins briefly, then sleeps in the kernel.
pub const Lock = struct {
    const free = 0;
    const held = 1;
    const contended = 2;

    word: Atomic(u32) = .init(free),

    pub fn lock(self: *Lock) void {
        // Acquire pairs with the release in `unlock`.
        if (self.word.cmpxchgWeak(free, held, .acquire, .monotonic) == null) return;
        self.lockSlow();
    }

    /// Whether it was free.
    pub fn tryLock(self: *Lock) bool {
        return self.word.cmpxchgStrong(free, held, .acquire, .monotonic) == null;
    }

    pub fn unlock(self: *Lock) void {
        // Release pairs with the acquires in `lock` and `lockSlow`.
        const before = self.word.swap(free, .release);
        std.debug.assert(before != free);
        if (before == contended) wake(&self.word, 1);
    }

    fn lockSlow(self: *Lock) void {
        @branchHint(.cold);
        for (0..64) |_| {
            if (self.word.load(.monotonic) == free and
                self.word.cmpxchgWeak(free, held, .acquire, .monotonic) == null) return;
            std.atomic.spinLoopHint();
        }
        // From here on the lock is taken as `contended`, so that its unlock wakes the next one.
        while (self.word.swap(contended, .acquire) != free) {
            wait(&self.word, contended, std.math.maxInt(u64));
        }
    }
};

test "the lock excludes" {
    const Shared = struct {
        lock: Lock = .{},
        count: u64 = 0,

        fn add(self: *@This()) void {
            for (0..20_000) |_| {
                self.lock.lock();
                defer self.lock.unlock();
                self.count += 1;
            }
        }
    };
    var shared: Shared = .{};
    var threads: [4]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, Shared.add, .{&shared});
    for (threads) |thread| thread.join();
    try std.testing.expectEqual(80_000, shared.count);
}
