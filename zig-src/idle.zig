//! What a shard does when it has nothing to run: spin a moment, then sleep in the kernel until a
//! completion, a bell, a timer or the backstop. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const clock = @import("clock.zig");
const limits = @import("limits.zig");
const seam = @import("seam.zig");
const Shard = @import("shard.zig").Shard;
const thief = @import("thief.zig");

pub const Idle = struct {
    /// How long to spin before the next park; grows while spinning pays, shrinks to 0 otherwise.
    spin_ns: u64 = 0,
    /// Parks that another shard ended, since the last try of a spin.
    bells: u32 = 0,
    bells_seen: u64 = 0,
    check_interrupts: bool = false,
    checked_ns: u64 = 0,
};

/// A spin shorter than this is not worth it.
const spin_least_ns = 2 * std.time.ns_per_us;
/// Of so many parks that a bell ended one is tried as a spin, long enough for an answer from a shard
/// that must be woken for it.
const bells_per_try = 16;

pub fn wait(shard: *Shard) void {
    defer checkInterrupts(shard);
    switch (shard.crew.options.idle()) {
        .spin => {
            shard.submit();
            shard.account();
            std.atomic.spinLoopHint();
        },
        .yield => {
            shard.submit();
            shard.account();
            _ = seam.system.sched_yield();
        },
        .sleep => park(shard, clock.nowNs() + shard.crew.options.idle_sleep_ns),
        .park => {
            if (shard.crew.shards.len > 1 and spin(shard)) return;
            park(shard, std.math.maxInt(u64));
        },
    }
}

/// True where something came up. Only what other shards send can be seen from here, so a lone
/// shard does not spin.
fn spin(shard: *Shard) bool {
    const idle = &shard.idle;
    if (idle.spin_ns == 0) {
        if (idle.bells < bells_per_try) return false;
        idle.bells = 0;
        idle.spin_ns = limits.spin_ns_max;
    }
    if (shard.ring.hasUnsubmitted()) shard.submit();
    shard.counters.spins.add(1);
    const began = clock.nowNs();
    while (clock.nowNs() - began < idle.spin_ns) {
        for (0..8) |_| std.atomic.spinLoopHint();
        if (!shard.hasWork() and !shard.ring.hasTaskWork()) continue;
        shard.counters.spin_hits.add(1);
        idle.spin_ns = @min(idle.spin_ns * 2, limits.spin_ns_max);
        if (!shard.hasWork()) shard.submit();
        return true;
    }
    idle.spin_ns = if (idle.spin_ns <= spin_least_ns) 0 else idle.spin_ns / 2;
    return false;
}

fn park(shard: *Shard, not_after_ns: u64) void {
    const crew = shard.crew;
    shard.doorbell.announce();
    crew.setParked(shard.id, true);
    defer crew.setParked(shard.id, false);
    if (shard.hasWork()) {
        _ = shard.doorbell.resumed();
        return;
    }
    const search_ns = thief.nextScanNs(shard);
    if (!shard.doorbell.commit()) return;
    shard.account();
    shard.counters.parks.add(1);
    const longest: u64 = if (shard.interruptible) limits.interruptible_backstop_ns else limits.park_backstop_ns;
    const backstop = shard.accounted_ns + longest;
    const deadline = @min(@min(not_after_ns, backstop), @min(shard.timers.next(), search_ns));
    shard.bells_queued = false;
    const woke = shard.ring.wait(deadline);
    const rung = shard.doorbell.resumed();
    countBell(shard, rung);
    const now = clock.nowNs();
    shard.counters.idle_ns.add(now - shard.accounted_ns);
    shard.accounted_ns = now;
    if (!shard.hasWork()) {
        if (woke == .completions) shard.counters.noop_wakes.add(1);
    } else if (woke == .timeout and deadline == backstop) { // Also where a bell was rung: it got lost.
        shard.counters.backstop_finds.add(1);
    }
    if (woke != .completions) shard.idle.check_interrupts = true;
}

/// Bells that came as completions are counted when they are reaped: after the next pass at the latest.
fn countBell(shard: *Shard, rung: bool) void {
    const seen = shard.counters.ring_msgs_completed.get();
    if (rung or seen != shard.idle.bells_seen) shard.idle.bells +|= 1;
    shard.idle.bells_seen = seen;
}

/// A signal ends a wait early; one that came just before it is found at the backstop.
fn checkInterrupts(shard: *Shard) void {
    if (!shard.interruptible) return;
    const idle = &shard.idle;
    if (!idle.check_interrupts and
        shard.accounted_ns - idle.checked_ns < limits.interruptible_backstop_ns) return;
    idle.check_interrupts = false;
    idle.checked_ns = shard.accounted_ns;
    shard.crew.host.?.interrupted(shard);
}
