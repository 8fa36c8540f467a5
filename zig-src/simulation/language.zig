//! A language of the simulation: its tasks run under one lock that all shards share, as coroutines run
//! under a GIL. A task may leave the lock in the middle of a poll, as C code does, so that its shard is
//! stuck while others run. On shards' threads only.

const std = @import("std");
const machine = @import("machine.zig");
const report = @import("report.zig");
const kernel = @import("kernel.zig");
const Interpreter = @import("../scheduler/interpreter.zig").Interpreter;
const NativeTask = @import("../runtime/native_task.zig").NativeTask;
const Shard = @import("../scheduler/shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

const expect = report.expect;
const never = std.math.maxInt(u64);
/// How long a shard with work keeps the lock while another one waits for it.
const turn_ns = 500 * std.time.ns_per_us;
/// A shard that gives way waits for so long until another one has the lock.
const give_way_ns = std.time.ns_per_ms;
/// By then shards that were woken have looked once, and sleep.
const settled_after_ns = 5 * std.time.ns_per_ms;
/// Idle shards look again within this: the longest pause is 3.2 ms, and they are four at most.
const found_within_ns = 20 * std.time.ns_per_ms;

pub const interpreter: Interpreter = .{
    .locked = true,
    .attach = nothing,
    .detach = nothing,
    .acquire = acquire,
    .release = release,
    .wanted = wanted,
    .last_task = Shard.acquireInterpreter,
    .interrupted = nothing,
    .name = unnamed,
};

fn unnamed(_: *Task, room: []u8) []const u8 {
    return room[0..0];
}

/// Whether this seed has it.
pub var spoken = false;
var holder: ?*Shard = null;
/// Only their addresses count: shards wait here for the lock, or until another one has it.
var lock: u8 = 0;
var entered: u8 = 0;
var waiting: u32 = 0;
/// When the holder first saw that another shard waits; 0: none does.
var pressed_ns: u64 = 0;

pub fn reset(speak: bool) void {
    spoken = speak;
    holder = null;
    waiting = 0;
    pressed_ns = 0;
    NativeTask.vtable.interpreted = speak;
}

pub fn isHeldBy(shard: *const Shard) bool {
    return holder == shard;
}

/// In a task: the shard stands still outside of the lock. Beside shards that sleep its queue must not wait.
pub fn leave(shard: *Shard) void {
    release(shard);
    if (machine.oneIn(2)) {
        machine.stall(machine.magnitude(settled_after_ns));
    } else {
        machine.stall(settled_after_ns);
        const before = Watch.of(shard);
        const began_ns = machine.timeNs();
        machine.stall(found_within_ns);
        if (before) |watch| if (machine.timeNs() - began_ns >= found_within_ns) watch.check(shard);
    }
    acquire(shard);
}

/// Of a shard that is stuck with a queue, while all others sleep.
const Watch = struct {
    scans: u64,

    fn of(shard: *Shard) ?Watch {
        machine.hush();
        defer machine.unhush();
        if (shard.scheduler.shards.len == 1 or shard.stealable.depth() == 0) return null;
        return if (othersSleep(shard)) .{ .scans = scansOf(shard) } else null;
    }

    fn check(self: Watch, shard: *Shard) void {
        machine.hush();
        defer machine.unhush();
        if (shard.stealable.depth() == 0 or !othersSleep(shard)) return;
        expect(scansOf(shard) > self.scans, "nobody looked at the queue of shard {d}, which was stuck", .{shard.id});
    }

    /// In the kernel, and nobody has rung. (A bell of the stuck shard's goes out after its poll.)
    fn othersSleep(shard: *const Shard) bool {
        for (shard.scheduler.shards, 0..) |*other, id| {
            if (other == shard) continue;
            if (!kernel.isAsleep(id) or kernel.isExcused(id) or !other.park_state.isParked()) return false;
        }
        return true;
    }

    fn scansOf(shard: *const Shard) u64 {
        var scans: u64 = 0;
        for (shard.scheduler.shards) |*other| scans += other.counters.steal_scans.get();
        return scans;
    }
};

fn nothing(_: *Shard) void {}

fn acquire(shard: *Shard) void {
    waiting += 1;
    machine.point();
    while (holder != null) _ = machine.wait(&lock, never);
    holder = shard;
    waiting -= 1;
    machine.wakeAll(&entered);
}

fn release(shard: *Shard) void {
    expect(holder == shard, "shard {d} gives up a lock that it has not", .{shard.id});
    const give_way = wanted(shard);
    holder = null;
    pressed_ns = 0;
    machine.wakeAll(&lock);
    if (give_way) _ = machine.wait(&entered, machine.timeNs() + give_way_ns) else machine.point();
}

fn wanted(shard: *Shard) bool {
    if (waiting == 0) {
        pressed_ns = 0;
        return false;
    }
    if (pressed_ns == 0) pressed_ns = shard.now_ns;
    return shard.now_ns - pressed_ns >= turn_ns;
}
