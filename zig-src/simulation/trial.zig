//! One seed: a runtime, threads that spawn work on it, its end, and the checks of the whole run.

const std = @import("std");
const arena = @import("arena.zig");
const c_runtime = @import("../c/runtime.zig");
const c_task = @import("../c/task.zig");
const runtime_handle = @import("../runtime/runtime_handle.zig");
const errors = @import("../base/errors.zig");
const Failure = @import("../base/failure.zig").Failure;
const Job = @import("job.zig").Job;
const joins = &@import("../runtime/native_task.zig").joins;
const selves = &@import("../runtime/native_task.zig").selves;
const kernel = @import("kernel.zig");
const language = @import("language.zig");
const machine = @import("machine.zig");
const mail = @import("mail.zig");
const Options = @import("../base/options.zig").Options;
const report = @import("report.zig");
const Runtime = @import("../runtime/runtime.zig").Runtime;
const trace_check = @import("trace_check.zig");
const Shard = @import("../scheduler/shard.zig").Shard;

const expect = report.expect;
const forever = std.math.maxInt(u64);

pub const shards_max = 8;
pub const producers_max = 4;
pub const senders_max = shards_max + producers_max;
pub const keys = 6;
const jobs_max = 96;
/// After a shutdown began all ends within: what is under way is cancelled, some bells are lost.
const end_limit_ns = 60 * std.time.ns_per_s;

pub var shards: u32 = 1;
pub var handle: u64 = 0;
pub var descriptor: i32 = 1 << 20;
pub var refused: u64 = 0;
/// By sender and shard: the orders given, and the last that started.
pub var spawned: [senders_max][shards_max]u32 = undefined;
pub var started: [senders_max][shards_max]u32 = undefined;
pub var homes: [keys]?u32 = undefined;

var jobs: [jobs_max]Job = undefined;
var job_count: usize = 0;
var jobs_most: usize = 0;
var the_runtime: ?*Runtime = null;
var running = false;
var memory_refused_every: u32 = 0;
/// By producer: whose end it waits for.
var waiting: [producers_max]?*Job = @splat(null);

/// What the seeds did in all.
pub const Totals = struct {
    steps: u64 = 0,
    switches: u64 = 0,
    jobs: u64 = 0,
    jobs_run: u64 = 0,
    lost_bells: u64 = 0,
    backstop_finds: u64 = 0,
    overflows: u64 = 0,
    stolen: u64 = 0,
    refused_memory: u64 = 0,
    not_started: u64 = 0,
};

pub var totals: Totals = .{};

pub fn runtime() *Runtime {
    return the_runtime.?;
}

pub fn newJob() ?*Job {
    if (job_count == jobs_most) return null;
    const job = &jobs[job_count];
    job.* = .{ .number = @intCast(job_count), .prng = .init(machine.random().int(u64)) };
    job_count += 1;
    return job;
}

/// Somebody else's task is cancelled, or its handle given up.
pub fn disturb(prng: *std.Random.DefaultPrng) void {
    if (job_count == 0) return;
    const job = &jobs[prng.random().uintLessThan(usize, job_count)];
    if (!job.accepted) return;
    switch (prng.random().uintLessThan(u8, 4)) {
        0 => return job.signal(),
        1 => return job.postOne(),
        else => {},
    }
    if (prng.random().uintLessThan(u8, 4) > 0) return job.cancel();
    if (c_task.spargio_join_release(job.join) == errors.ok) job.released = true;
}

/// Everything about the machine and the options comes from the seed; a fault is off as often as on.
pub fn run(seed: u64) void {
    arena.reset();
    joins.* = .{};
    selves.* = .{};
    runtime_handle.runtimes = .{};
    mail.reset();
    language.reset(seed % 4 == 3);
    spawned = @splat(@splat(0));
    started = @splat(@splat(0));
    homes = @splat(null);
    job_count = 0;
    refused = 0;
    the_runtime = null;
    running = false;
    waiting = @splat(null);
    machine.observer = observe;
    var nothing: u8 = 0;
    machine.run(seed, main, &nothing);
    totals.steps += machine.steps;
    totals.switches += machine.switches;
    totals.jobs += job_count;
    totals.lost_bells += kernel.lost_total;
    totals.overflows += kernel.overflows;
    totals.refused_memory += arena.refused;
}

fn perhaps(most: u32) u32 {
    const r = machine.random();
    return if (r.boolean()) 0 else 2 + r.uintLessThan(u32, most);
}

fn drawMachine() void {
    const r = machine.random();
    const steps = [_]u64{ 5, 20, 100, 1000 };
    const switches = [_]u32{ 1, 2, 4, 16, 64 };
    machine.pace = .{
        .step_ns = steps[r.uintLessThan(usize, steps.len)],
        .switch_every = switches[r.uintLessThan(usize, switches.len)],
        .stall_every = if (r.boolean()) 0 else 20 + r.uintLessThan(u32, 1000),
        .early_wake_every = perhaps(20),
        .thread_fails_every = if (r.uintLessThan(u8, 16) == 0) 4 else 0,
    };
    const entries = [_]u32{ 2, 4, 8, 64 };
    kernel.hooks = .{ .touches = touches, .ends = ends };
    kernel.faults = .{
        .entries = entries[r.uintLessThan(usize, entries.len)],
        .deferred = r.uintLessThan(u8, 3) > 0,
        .msg_ring = r.uintLessThan(u8, 4) > 0,
        .send_msg_ring = r.boolean(),
        .part_every = perhaps(10),
        .interrupt_every = perhaps(10),
        .refuse_bell_every = if (r.boolean()) perhaps(10) else 0,
        .lose_bell_every = if (r.boolean()) perhaps(10) else 0,
        .slow_bell_every = perhaps(10),
        .setup_fails_every = if (r.uintLessThan(u8, 32) == 0) 6 else 0,
        .never_every = perhaps(20),
        .at_once_every = 1 + r.uintLessThan(u32, 4),
        .longest_ns = machine.magnitude(50 * std.time.ns_per_ms),
        .odd_every = perhaps(10),
    };
    // An operation whose cancellation there is no memory for goes on until it ends by itself.
    memory_refused_every = if (r.uintLessThan(u8, 4) == 0) 10 + r.uintLessThan(u32, 100) else 0;
    if (memory_refused_every > 0) kernel.faults.never_every = 0;
    if (r.uintLessThan(u8, 32) == 0) arena.refuse_every = memory_refused_every;
}

fn drawOptions() Options {
    const r = machine.random();
    var options: Options = .{
        .shards = 1 + r.uintLessThan(u32, 4),
        .backend = 1,
        .steal_budget = 1 + r.uintLessThan(u32, 8),
        .steal_victim_probe_count = 1 + r.uintLessThan(u32, 3),
        .steal_batch_size = 1 + r.uintLessThan(u32, 4),
        .steal_locality_margin = r.uintLessThan(u32, 2),
        .steal_fail_cost = r.uintLessThan(u32, 2),
        .steal_backoff_max = 1 + r.uintLessThan(u32, 64),
        .stealable_queue_capacity = 1 + r.uintLessThan(u32, 32),
        .stealable_queue_backend = r.uintLessThan(u32, 2),
        .msg_ring_queue_capacity = 1 + r.uintLessThan(u32, 16),
        .hot_counter_wake_threshold = 1 + r.uintLessThan(u64, 200),
        .hot_msg_tags = &mail.hot_tags,
        .hot_msg_tags_count = mail.hot_tags.len,
        .coalesced_hot_msg_tags = &mail.counting_tags,
        .coalesced_hot_msg_tags_count = mail.counting_tags.len,
        .flags = if (r.uintLessThan(u8, 4) == 0) 1 else 0,
    };
    if (r.uintLessThan(u8, 4) == 0) {
        options.idle_strategy = r.uintLessThan(u32, 4);
        machine.pace.step_ns = @max(machine.pace.step_ns, 1000); // A shard that never sleeps takes many steps.
        options.idle_sleep_ns = 1000 + machine.magnitude(std.time.ns_per_ms);
    }
    return options;
}

// ---- the threads ----

fn main(_: *anyopaque) void {
    drawMachine();
    const options = drawOptions();
    shards = options.shards;
    jobs_most = 4 + machine.random().uintLessThan(usize, jobs_max - 4);
    if (!start(&options)) {
        totals.not_started += 1;
        return checkMemory();
    }
    the_runtime = runtime_handle.pinRuntime(handle).?;
    trace_check.begin(&runtime().scheduler, jobs_most % 4 == 0);
    running = true;
    machine.pace.thread_fails_every = 0;
    const r = machine.random();
    var threads: [producers_max]machine.Thread = undefined;
    var made: usize = 0;
    arena.refuse_every = 0;
    for (0..r.uintLessThan(usize, producers_max) + 1) |n| {
        threads[n] = machine.Thread.spawn(.{}, produce, .{n}) catch @panic("no thread");
        made += 1;
    }
    arena.refuse_every = memory_refused_every;
    machine.sleep(machine.magnitude(100 * std.time.ns_per_ms));
    const join_first = r.boolean();
    if (join_first) for (threads[0..made]) |thread| thread.join();
    const began_ns = machine.timeNs();
    while (r.boolean()) _ = c_runtime.spargio_runtime_shutdown(handle, machine.magnitude(5 * std.time.ns_per_ms));
    _ = c_runtime.spargio_runtime_shutdown(handle, forever); // Another thread may have been first.
    running = false;
    expect(machine.timeNs() - began_ns < end_limit_ns, "the shutdown took {d} ns", .{machine.timeNs() - began_ns});
    if (!join_first) for (threads[0..made]) |thread| thread.join();
    checkAtEnd();
}

fn start(options: *const Options) bool {
    if (!language.spoken) return c_runtime.spargio_runtime_start(options, &handle) == errors.ok;
    const owner = runtime_handle.Owner.reserve(&handle) catch return false;
    defer runtime_handle.runtimes.unpin(handle);
    var failure: Failure = .{};
    owner.runtime = Runtime.start(.{ .options = options, .interpreter = &language.interpreter }, &failure) catch {
        expect(runtime_handle.runtimes.close(handle), "a runtime that did not start has no handle", .{});
        return false;
    };
    return true;
}

/// A thread outside that spawns, waits, cancels and sends.
fn produce(number: usize) void {
    const sender = shards_max + number;
    var prng: std.Random.DefaultPrng = .init(machine.random().int(u64));
    const r = prng.random();
    for (0..r.uintLessThan(usize, 40)) |_| {
        switch (r.uintLessThan(u8, 16)) {
            0...7 => if (newJob()) |job| job.spawn(sender),
            8 => waitFor(number, &prng),
            9 => disturb(&prng),
            10, 11, 12 => mail.send(&prng, sender),
            13, 14 => machine.sleep(machine.magnitude(20 * std.time.ns_per_ms)),
            else => if (r.uintLessThan(u8, 32) == 0) {
                _ = c_runtime.spargio_runtime_shutdown(handle, machine.magnitude(std.time.ns_per_ms));
            },
        }
    }
}

fn waitFor(number: usize, prng: *std.Random.DefaultPrng) void {
    if (job_count == 0) return;
    const job = &jobs[prng.random().uintLessThan(usize, job_count)];
    if (!job.accepted) return;
    var result: i64 = -1;
    const limit_ns = machine.magnitude(100 * std.time.ns_per_ms);
    const began_ns = machine.timeNs();
    waiting[number] = job;
    const said = c_task.spargio_join_wait(job.join, limit_ns, &result);
    waiting[number] = null;
    if (said == @backingInt(errors.Code.timeout))
        expect(machine.timeNs() - began_ns >= limit_ns, "a wait ends before its time", .{});
    job.checkOutcome(said, result);
}

// ---- checks ----

fn touches(address: u64) void {
    const offset = address -% @intFromPtr(&jobs);
    if (offset >= @sizeOf(@TypeOf(jobs))) return;
    machine.hush();
    defer machine.unhush();
    const job = &jobs[@intCast(offset / @sizeOf(Job))];
    expect(!job.isDone(), "the kernel writes to the memory of job {d}, which is done", .{job.number});
}

fn ends(ring: usize, user_data: u64) void {
    for (jobs[0..job_count]) |*job| {
        if (job.starts == 0 or job.shard != ring) continue;
        for (&job.slots) |*slot| {
            if (slot.handle == user_data and slot.state != .idle) slot.delivered = true;
        }
    }
}

/// All threads sleep: nobody may sleep on something that is there.
fn observe() void {
    if (!running) return;
    machine.hush();
    defer machine.unhush();
    for (runtime().scheduler.shards, 0..) |*shard, id| {
        if (!kernel.isAsleep(id) or isExcused(shard)) continue;
        if (workOf(shard)) |what| report.fail("shard {d} sleeps on {s}, its doorbell is {t}", .{
            id, what, shard.park_state.state.raw,
        });
    }
    const all_sleep = for (0..runtime().scheduler.shards.len) |id| {
        if (!kernel.isAsleep(id)) break false;
    } else true;
    if (all_sleep) mail.checkAsleep(runtime().scheduler.shards);
    for (waiting) |waited| if (waited) |job|
        expect(!job.isDone(), "a thread sleeps on the end of job {d}", .{job.number});
    for (jobs[0..job_count]) |*job| {
        if (job.starts == 0 or !kernel.isAsleep(job.shard)) continue;
        if (isExcused(&runtime().scheduler.shards[job.shard])) continue;
        job.checkAsleep();
    }
}

/// Its bell was lost by the kernel, or there was no memory for it.
fn isExcused(shard: *Shard) bool {
    const unrung = arena.refused > 0 and shard.park_state.state.raw == .notified;
    return unrung or kernel.isExcused(shard.id);
}

/// The simulation's own opinion: that of the shard is what is to be checked.
fn workOf(shard: *Shard) ?[]const u8 {
    const scheduler = shard.scheduler;
    if (shard.native.head != null or shard.interpreted.head != null) return "a task that is ready";
    if (shard.inbox.head.raw != null) return "a task in its inbox";
    if (shard.posted.head.raw != null) return "the end of an operation";
    if (shard.stealable.depth() > 0) return "a stealable task";
    if (shard.ring.ready() or shard.ring.hasTaskWork()) return "a completion";
    if (shard.ring.hasUnsubmitted()) return "what was not submitted";
    if (shard.timers.next() < machine.timeNs()) return "a timer";
    if (scheduler.stop.raw != 0) return "the stop";
    if (scheduler.cancel_rounds.raw != shard.rounds_seen.cancel) return "a cancellation of all";
    return null;
}

fn checkAtEnd() void {
    machine.hush();
    defer machine.unhush();
    const scheduler = &runtime().scheduler;
    for (jobs[0..job_count]) |*job| {
        expect(job.starts <= 1, "job {d} started {d} times", .{ job.number, job.starts });
        expect(!job.polling, "job {d} is still running", .{job.number});
        totals.jobs_run += job.starts;
        if (!job.accepted) continue;
        expect(job.starts == @intFromBool(job.ended), "job {d} started and never ended", .{job.number});
        if (job.released) continue;
        const native = joins.pin(job.join).?;
        expect(native.task.isDone(), "job {d} was accepted and is not done", .{job.number});
        job.checkOutcome(native.task.status, native.task.result);
        expect(native.task.status != errors.ok or job.starts == 1, "job {d} never ran", .{job.number});
        joins.unpin(job.join);
        expect(c_task.spargio_join_release(job.join) == errors.ok, "a handle is gone", .{});
    }
    expect(scheduler.liveTasks() == 0, "{d} tasks are left", .{scheduler.liveTasks()});
    var granted: u32 = 0; // One that was woken for a search may have found the end instead.
    for (scheduler.shards) |*shard| granted += @intFromBool(shard.search.granted.raw);
    expect(scheduler.searchers.raw == granted, "{d} shards search after the end", .{scheduler.searchers.raw});
    expect(scheduler.ringing.raw == 0, "somebody still rings", .{});
    for (scheduler.shards) |*shard| {
        const found = shard.counters.backstop_finds.get();
        const excused = kernel.lost_total + arena.refused > 0;
        expect(found == 0 or excused, "the backstop found work, and no bell was lost", .{});
        expect(shard.counters.stale_completions.get() == 0, "a completion of nothing", .{});
        totals.backstop_finds += found;
        totals.stolen += shard.counters.stealable_stolen.get();
    }
    trace_check.atEnd(scheduler);
    mail.checkAtEnd(scheduler.shards);
    runtime_handle.runtimes.unpin(handle);
    the_runtime = null;
    checkMemory();
}

/// What is left belongs to the tables of handles, which are kept.
fn checkMemory() void {
    const kept = joins.slab_count + selves.slab_count + runtime_handle.runtimes.slab_count;
    expect(arena.live_count == kept, "{d} pieces of memory are left", .{arena.live_count - kept});
    const open = joins.open_count.raw + selves.open_count.raw + runtime_handle.runtimes.open_count.raw;
    expect(open == 0, "{d} handles are left", .{open});
    expect(kernel.descriptors_open == 0, "{d} descriptors are left", .{kernel.descriptors_open});
}
