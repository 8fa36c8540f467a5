//! The command of the simulation. A child process runs seed after seed; if it fails a check,
//! crashes or hangs, the parent knows its seed and prints how to repeat it.
//!
//!     zig build simulate -- [--seconds N] [--seed S] [--count N] [--file PATH] [--trace 1]

const std = @import("std");
const linux = std.os.linux;
const report = @import("report.zig");
const trial = @import("trial.zig");

pub const panic = std.debug.FullPanic(report.panicked);

const Plan = struct {
    seconds: u64 = 60,
    seed: ?u64 = null,
    count: u64 = std.math.maxInt(u64),
    file: ?[]const u8 = null,
};

/// What both processes see.
const Shared = struct { seed: u64, ran: u64, totals: trial.Totals };

/// No seed takes longer.
const seed_seconds = 60;

pub fn main(init: std.process.Init) !u8 {
    const arguments = try init.minimal.args.toSlice(init.arena.allocator());
    var plan: Plan = .{};
    read(arguments, &plan) catch {
        std.debug.print("simulate [--seconds N] [--seed S] [--count N] [--file PATH] [--trace 1]\n", .{});
        return 2;
    };
    const pages = try std.posix.mmap(
        null,
        @sizeOf(Shared),
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .SHARED, .ANONYMOUS = true },
        -1,
        0,
    );
    const shared: *Shared = @ptrCast(pages.ptr);
    shared.* = .{ .seed = 0, .ran = 0, .totals = .{} };
    const seeds = try readSeeds(init, plan.file);
    const began = std.Io.Timestamp.now(init.io, .awake);
    const child = linux.fork();
    if (linux.errno(child) != .SUCCESS) return error.NoProcess;
    if (child == 0) {
        runAll(init, &plan, seeds, shared);
        std.process.exit(0);
    }
    var status: i32 = 0;
    while (linux.errno(linux.waitpid(@intCast(child), &status, 0)) == .INTR) {}
    const ns = began.durationTo(.now(init.io, .awake)).nanoseconds;
    if (status != 0) {
        std.debug.print("FAILED after {d} seeds. Again: zig build simulate -- --seed {d}\n", .{
            shared.ran, shared.seed,
        });
        return 1;
    }
    summarize(shared, @intCast(ns));
    return 0;
}

fn read(arguments: []const [:0]const u8, plan: *Plan) !void {
    var i: usize = 1;
    while (i < arguments.len) : (i += 2) {
        const name = arguments[i];
        if (i + 1 == arguments.len) return error.Usage;
        const value = arguments[i + 1];
        if (std.mem.eql(u8, name, "--file")) {
            plan.file = value;
            continue;
        }
        const number = try std.fmt.parseInt(u64, value, 0);
        if (std.mem.eql(u8, name, "--seconds")) {
            plan.seconds = number;
        } else if (std.mem.eql(u8, name, "--seed")) {
            plan.seed = number;
        } else if (std.mem.eql(u8, name, "--count")) {
            plan.count = number;
        } else if (std.mem.eql(u8, name, "--trace")) {
            report.tracing = number > 0;
        } else return error.Usage;
    }
}

/// One per line; what comes after it is about it.
fn readSeeds(init: std.process.Init, path: ?[]const u8) ![]u64 {
    const name = path orelse return &.{};
    const arena = init.arena.allocator();
    const text = try std.Io.Dir.cwd().readFileAlloc(init.io, name, arena, .limited(1 << 20));
    var seeds: std.ArrayList(u64) = .empty;
    var lines = std.mem.tokenizeScalar(u8, text, '\n');
    while (lines.next()) |line| {
        if (line[0] == '#') continue;
        var words = std.mem.tokenizeScalar(u8, line, ' ');
        try seeds.append(arena, try std.fmt.parseInt(u64, words.next().?, 10));
    }
    return seeds.items;
}

fn runAll(init: std.process.Init, plan: *const Plan, seeds: []const u64, shared: *Shared) void {
    for (seeds) |seed| runOne(seed, shared);
    const one = plan.seed != null and plan.count == std.math.maxInt(u64);
    if (plan.seed) |seed| if (one) return runOne(seed, shared);
    const began = std.Io.Timestamp.now(init.io, .awake);
    const limit = plan.seconds * std.time.ns_per_s;
    var next: u64 = plan.seed orelse random: {
        var bytes: [4]u8 = undefined;
        _ = linux.getrandom(&bytes, bytes.len, 0);
        break :random @as(u64, std.mem.readInt(u32, &bytes, .little)) << 20;
    };
    var count: u64 = 0;
    std.debug.print("seeds from {d}\n", .{next});
    while (count < plan.count) : (count += 1) {
        if (began.durationTo(.now(init.io, .awake)).nanoseconds > limit) return;
        runOne(next, shared);
        next += 1;
    }
}

fn runOne(seed: u64, shared: *Shared) void {
    shared.seed = seed;
    _ = alarm(seed_seconds);
    trial.run(seed);
    shared.ran += 1;
    shared.totals = trial.totals;
}

extern "c" fn alarm(seconds: c_uint) c_uint;

fn summarize(shared: *const Shared, ns: u64) void {
    const totals = &shared.totals;
    std.debug.print(
        \\{d} seeds in {d} s: {d} tasks, {d} run; {d} points, {d} switches of thread;
        \\{d} bells refused or lost, {d} found by the backstop; {d} tasks stolen; {d} completions over the
        \\queue's end; {d} times no memory; {d} runtimes that did not start
        \\
    , .{
        shared.ran,        ns / std.time.ns_per_s, totals.jobs,
        totals.jobs_run,   totals.steps,           totals.switches,
        totals.lost_bells, totals.backstop_finds,  totals.stolen,
        totals.overflows,  totals.refused_memory,  totals.not_started,
    });
}
