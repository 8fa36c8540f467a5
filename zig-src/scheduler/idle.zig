//! What a shard does when it has nothing to run: spin a moment, then sleep in the kernel until a
//! completion, a bell, a timer or the backstop. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const errors = @import("../base/errors.zig");
const clock = @import("../base/clock.zig");
const limits = @import("../base/limits.zig");
const platform = @import("../base/platform.zig");
const Internal = @import("../ring/user_data.zig").Internal;
const Sqe = @import("../ring/ring.zig").Sqe;
const Shard = @import("shard.zig").Shard;
const steal = @import("steal.zig");

pub const Idle = struct {
    /// How long to spin before the next park; grows while spinning pays, shrinks to 0 otherwise.
    spin_ns: u64 = 0,
    /// Short parks since the last try of a spin, and how many it takes for the next one.
    short_parks: u32 = 0,
    parks_per_try: u32 = 1,
    check_interrupts: bool = false,
    checked_ns: u64 = 0,
    /// A pipe that the interpreter's signal handlers write to, on whatever thread they run; -1: there is none.
    signal_fd: i32 = -1,
    signal_armed: bool = false,
    signal_bytes: [64]u8 = undefined,
};

/// A spin shorter than this is not worth it.
const spin_least_ns = 2 * std.time.ns_per_us;
/// A park that something ended so soon might have been a spin: what wakes a thread takes some of it.
const short_park_ns = 100 * std.time.ns_per_us;
/// A spin gives way after so many looks, a microsecond or two.
const looks_per_yield = 8;
/// Spins that never pay are tried again after so many short parks.
const parks_per_try_max = 64;

pub fn wait(shard: *Shard) void {
    assert(shard.isHere() and shard.current_task == null);
    defer checkInterrupts(shard);
    if (shard.interruptible and shard.idle.check_interrupts) return;
    switch (shard.scheduler.options.idle()) {
        .spin => {
            shard.submit();
            shard.account();
            std.atomic.spinLoopHint();
        },
        .yield => {
            shard.submit();
            shard.account();
            _ = platform.system.sched_yield();
        },
        .sleep => park(shard, clock.nowNs() + shard.scheduler.options.idle_sleep_ns),
        .park => {
            if (spin(shard)) return;
            park(shard, std.math.maxInt(u64));
        },
    }
}

/// True if something came up. Not if another shard would have to answer on the same CPU. It yields
/// its CPU now and then: the thread that answers may need it.
fn spin(shard: *Shard) bool {
    assert(!shard.hasReady());
    const idle = &shard.idle;
    if (shard.scheduler.info.usable_cpus == 1 and shard.scheduler.shards.len > 1) return false;
    if (idle.spin_ns == 0) {
        if (idle.short_parks < idle.parks_per_try) return false;
        idle.spin_ns = limits.spin_beside_others_ns_max;
    }
    idle.short_parks = 0;
    if (shard.ring.hasUnsubmitted()) shard.submit();
    shard.counters.spins.add(1);
    if (!hasSomething(shard)) { // What was done at once says nothing about a spin.
        if (!spinUntilSomething(shard, idle.spin_ns)) {
            idle.spin_ns = if (idle.spin_ns <= spin_least_ns) 0 else idle.spin_ns / 2;
            if (idle.spin_ns == 0) idle.parks_per_try = @min(idle.parks_per_try * 2, parks_per_try_max);
            return false;
        }
        idle.spin_ns = @min(idle.spin_ns * 2, limits.spin_beside_others_ns_max);
    }
    idle.parks_per_try = 1;
    shard.counters.spin_hits.add(1);
    if (!shard.hasWork()) shard.submit();
    return true;
}

/// False if nothing came up in that time.
fn spinUntilSomething(shard: *Shard, longest_ns: u64) bool {
    const began = clock.nowNs();
    var looks: u32 = 1;
    while (true) : (looks += 1) {
        const spent_ns = clock.nowNs() - began;
        if (spent_ns >= longest_ns or (spent_ns >= limits.spin_ns_max and !othersAwake(shard))) return false;
        for (0..8) |_| std.atomic.spinLoopHint();
        if (hasSomething(shard)) return true;
        if (looks % looks_per_yield == 0) _ = platform.system.sched_yield();
    }
}

fn hasSomething(shard: *Shard) bool {
    return shard.hasWork() or shard.ring.hasTaskWork();
}

fn othersAwake(shard: *const Shard) bool {
    for (shard.scheduler.shards) |*other| {
        if (other != shard and !other.park_state.isParked()) return true;
    }
    return false;
}

fn park(shard: *Shard, not_after_ns: u64) void {
    assert(shard.isHere() and !shard.hasReady());
    const scheduler = shard.scheduler;
    shard.armEventfd();
    armSignals(shard);
    shard.park_state.announce();
    scheduler.setParked(shard.id, true);
    defer scheduler.setParked(shard.id, false);
    if (shard.hasWork()) {
        shard.search.rung = shard.park_state.resumed();
        return;
    }
    const search_ns = steal.nextScanNs(shard);
    if (!shard.park_state.commit()) {
        shard.search.rung = true;
        return;
    }
    shard.account();
    shard.counters.parks.add(1);
    const longest: u64 = if (shard.interruptible) limits.interruptible_backstop_ns else limits.park_backstop_ns;
    const backstop = shard.accounted_ns + longest;
    const deadline = @min(@min(not_after_ns, backstop), @min(shard.timers.next(), search_ns));
    shard.bell.queued = false;
    const woke = shard.ring.wait(deadline);
    shard.search.rung = shard.park_state.resumed();
    const now = clock.nowNs();
    const slept_ns = now - shard.accounted_ns;
    // Several at once: more is under way than one conversation, and the shard is no wait for anybody.
    if (woke == .completions and slept_ns < short_park_ns and shard.ring.readyCount() <= 1) shard.idle.short_parks += 1;
    shard.counters.idle_ns.add(slept_ns);
    shard.accounted_ns = now;
    if (!shard.hasWork()) {
        if (woke == .completions) shard.counters.noop_wakes.add(1);
    } else if (woke == .timeout and deadline == backstop) { // Also if a bell was rung: it got lost.
        shard.counters.backstop_finds.add(1);
    }
    if (woke != .completions) shard.idle.check_interrupts = true;
}

/// A signal handler that runs on another thread does not end a wait of this one; what it writes does.
fn armSignals(shard: *Shard) void {
    assert(shard.isHere());
    const idle = &shard.idle;
    if (idle.signal_fd < 0 or idle.signal_armed) return;
    var sqe: Sqe = undefined;
    sqe.prep_read(idle.signal_fd, &idle.signal_bytes, 0);
    sqe.user_data = @backingInt(Internal.signal);
    // Without memory for it the backstop stands in for this park; the next one tries again.
    idle.signal_armed = if (shard.ring.push(&sqe)) |_| true else |_| false;
}

pub fn signalled(shard: *Shard, result: i32) void {
    assert(shard.isHere() and shard.idle.signal_armed);
    shard.idle.signal_armed = false;
    shard.idle.check_interrupts = true;
    if (result <= 0 and result != errors.negative(.INTR)) shard.idle.signal_fd = -1;
}

/// A signal ends a wait early; one that came just before it is found at the backstop.
pub fn checkInterrupts(shard: *Shard) void {
    assert(shard.isHere() and shard.current_task == null);
    if (!shard.interruptible) return;
    const idle = &shard.idle;
    if (!idle.check_interrupts and
        shard.accounted_ns - idle.checked_ns < limits.interruptible_backstop_ns) return;
    shard.releaseInterpreter(); // With tasks that are always ready it stays there.
    // What it does may drop a generator, whose clean-up is spawned here and now.
    if (!shard.scheduler.preventStop()) return;
    defer shard.scheduler.allowStop(shard);
    idle.check_interrupts = false;
    idle.checked_ns = shard.accounted_ns;
    shard.scheduler.interpreter.?.interrupted(shard);
}
