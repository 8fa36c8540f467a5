//! A machine of one thread. The core's threads are fibers, and at each of their atomic operations,
//! clock reads and system calls another fiber may run instead. The seed decides which one, when,
//! and what time it is, so a run can be repeated. Memory is sequentially consistent;
//! ThreadSanitizer and the models cover weaker memory.

const std = @import("std");
const fiber = std.Io.fiber;
const Shard = @import("../scheduler/shard.zig").Shard;
const shard_module = @import("../scheduler/shard.zig");
const arena = @import("arena.zig");
const kernel = @import("kernel.zig");
const report = @import("report.zig");

pub const gpa = arena.allocator;
pub const makeRing = kernel.makeRing;
pub const probe = kernel.probe;

const never = std.math.maxInt(u64);
const fibers_max = 16;
const stack_bytes = 512 * 1024;

/// How this seed schedules.
pub const Pace = struct {
    /// What one point takes.
    step_ns: u64 = 20,
    /// Of so many points one is a switch, on average.
    switch_every: u32 = 10,
    /// Of so many switches one leaves a thread standing for long, on average.
    stall_every: u32 = 200,
    stall_max_ns: u64 = 10 * std.time.ns_per_ms,
    /// Of so many futex waits one ends without a reason.
    early_wake_every: u32 = 20,
    /// Of so many threads one cannot be made; 0: all can.
    thread_fails_every: u32 = 0,
    steps_max: u64 = 20_000_000,
};

/// All stalls of one thread together: below the backstop, so that what the backstop finds was lost.
const stall_budget_ns = 300 * std.time.ns_per_ms;

const Fiber = struct {
    context: fiber.Context = undefined,
    main: *const fn (ctx: *anyopaque) void = undefined,
    ctx: *anyopaque = undefined,
    state: enum { none, ready, waits, ended } = .none,
    /// A wait ends at this time at the latest.
    deadline_ns: u64 = never,
    /// It stands still until then.
    not_before_ns: u64 = 0,
    /// What a wait is for: a word, a ring or a fiber.
    waits_on: ?*const anyopaque = null,
    woken: bool = false,
    stalls_left_ns: u64 = stall_budget_ns,
    shard: ?*Shard = null,
};

var stacks: [fibers_max]?[]align(std.heap.page_size_min) u8 = @splat(null);
var fibers: [fibers_max]Fiber = @splat(.{});
var count: usize = 0;
var current: ?*Fiber = null;
var outer: fiber.Context = undefined;
/// Above 0: the kernel's or the observer's turn, which nobody interrupts.
var quiet: u32 = 0;
var until_switch: u32 = 0;
var now_ns: u64 = 0;
var prng: std.Random.DefaultPrng = undefined;

pub var pace: Pace = .{};
pub var steps: u64 = 0;
pub var switches: u64 = 0;
/// Called when every thread sleeps and time is about to pass.
pub var observer: *const fn () void = undefined;

pub fn random() std.Random {
    return prng.random();
}

pub fn oneIn(n: u32) bool {
    return n > 0 and random().uintLessThan(u32, n) == 0;
}

/// From 1 to `most`, each order of magnitude as likely as the others.
pub fn magnitude(most: u64) u64 {
    const bits = 64 - @clz(most);
    const top = random().uintLessThan(u32, bits) + 1;
    const value = random().uintLessThan(u64, @as(u64, 1) << @intCast(top)) + 1;
    return @min(value, most);
}

/// Runs `main` as the first thread until it and all others have ended.
pub fn run(seed: u64, main: *const fn (ctx: *anyopaque) void, ctx: *anyopaque) void {
    prng = .init(seed);
    pace = .{};
    fibers = @splat(.{});
    count = 0;
    current = null;
    quiet = 0;
    steps = 0;
    switches = 0;
    now_ns = std.time.ns_per_s;
    kernel.reset();
    drawSwitch();
    const first = make(main, ctx).?;
    current = first;
    var contexts: fiber.Switch = .{ .old = &outer, .new = &first.context };
    _ = fiber.contextSwitch(&contexts);
    std.mem.doNotOptimizeAway(&outer);
    current = null;
    for (fibers[0..count]) |*each| if (each.state != .ended) report.fail("a thread was not joined", .{});
}

fn make(main: *const fn (ctx: *anyopaque) void, ctx: *anyopaque) ?*Fiber {
    if (count == fibers_max) return null;
    const stack = stacks[count] orelse std.posix.mmap(
        null,
        stack_bytes,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true },
        -1,
        0,
    ) catch return null;
    stacks[count] = stack;
    const made = &fibers[count];
    count += 1;
    made.* = .{ .main = main, .ctx = ctx, .state = .ready };
    // As if it had been called: a return address lies on an aligned stack.
    const top = @intFromPtr(stack.ptr) + stack.len - 64;
    @as(*usize, @ptrFromInt(top - 8)).* = 0;
    made.context = switch (@import("builtin").cpu.arch) {
        .x86_64 => .{ .rsp = top - 8, .rbp = 0, .rip = @intFromPtr(&begin) },
        .aarch64 => .{ .sp = top, .fp = 0, .pc = @intFromPtr(&begin) },
        else => @compileError("the simulation knows no stack of this architecture"),
    };
    return made;
}

fn begin() callconv(.c) noreturn {
    const self = current.?;
    self.main(self.ctx);
    self.state = .ended;
    wakeAll(self);
    leave();
    unreachable; // Nobody goes back to it.
}

// ---- points ----

/// Here another thread may go on.
pub fn point() void {
    if (quiet > 0 or current == null) return;
    steps += 1;
    now_ns += pace.step_ns;
    until_switch -= 1;
    if (until_switch > 0) return;
    drawSwitch();
    if (steps > pace.steps_max) report.fail("it does not end: {d} steps", .{steps});
    if (oneIn(pace.stall_every)) {
        stall(magnitude(pace.stall_max_ns));
    } else reschedule();
}

fn drawSwitch() void {
    until_switch = 1 + random().uintLessThan(u32, 2 * pace.switch_every);
}

/// The thread stands still, as one that the machine took the processor from.
pub fn stall(duration_ns: u64) void {
    const self = current.?;
    const taken = @min(duration_ns, self.stalls_left_ns);
    self.stalls_left_ns -= taken;
    self.not_before_ns = now_ns + taken;
    reschedule();
}

/// Another thread goes on, or this one.
fn reschedule() void {
    const self = current.?;
    self.shard = shard_module.current_shard;
    const next = pick();
    if (next == self) return;
    switches += 1;
    current = next;
    shard_module.current_shard = next.shard;
    var contexts: fiber.Switch = .{ .old = &self.context, .new = &next.context };
    _ = fiber.contextSwitch(&contexts);
}

fn leave() void {
    const self = current.?;
    const left = for (fibers[0..count]) |*each| {
        if (each.state != .ended) break true;
    } else false;
    const target = if (left) pick() else null;
    current = target;
    shard_module.current_shard = if (target) |next| next.shard else null;
    var contexts: fiber.Switch = .{ .old = &self.context, .new = if (target) |next| &next.context else &outer };
    _ = fiber.contextSwitch(&contexts);
}

fn pick() *Fiber {
    quiet += 1;
    defer quiet -= 1;
    while (true) {
        kernel.advance(now_ns);
        var ready: [fibers_max]*Fiber = undefined;
        var found: usize = 0;
        var next_ns = kernel.nextNs();
        var stalled = false;
        for (fibers[0..count]) |*each| {
            if (each.state == .waits and each.deadline_ns <= now_ns) each.state = .ready;
            if (each.state == .waits) next_ns = @min(next_ns, each.deadline_ns);
            if (each.state != .ready) continue;
            if (each.not_before_ns > now_ns) {
                next_ns = @min(next_ns, each.not_before_ns);
                stalled = true;
                continue;
            }
            ready[found] = each;
            found += 1;
        }
        if (found > 0) return ready[random().uintLessThan(usize, found)];
        if (!stalled) observer();
        if (next_ns == never) report.fail("all threads sleep, and nothing will wake them", .{});
        now_ns = next_ns;
    }
}

/// Until `wakeAll` of the same thing, or the deadline. False: the deadline.
pub fn wait(what: *const anyopaque, deadline_ns: u64) bool {
    const self = current.?;
    self.* = .{
        .context = self.context,
        .main = self.main,
        .ctx = self.ctx,
        .state = .waits,
        .deadline_ns = deadline_ns,
        .waits_on = what,
        .stalls_left_ns = self.stalls_left_ns,
    };
    reschedule();
    self.waits_on = null;
    self.deadline_ns = never;
    return self.woken;
}

pub fn wakeAll(what: *const anyopaque) void {
    _ = wakeSome(what, std.math.maxInt(u32));
}

fn wakeSome(what: *const anyopaque, most: u32) usize {
    var woken: usize = 0;
    for (fibers[0..count]) |*each| {
        if (woken == most) break;
        if (each.state != .waits or each.waits_on != what) continue;
        each.state = .ready;
        each.woken = true;
        woken += 1;
    }
    return woken;
}

pub fn isAsleep(what: *const anyopaque) bool {
    for (fibers[0..count]) |*each| if (each.state == .waits and each.waits_on == what) return true;
    return false;
}

pub fn sleep(duration_ns: u64) void {
    _ = wait(&now_ns, now_ns + duration_ns);
}

/// Looks at the core's state without letting anybody else go on.
pub fn hush() void {
    quiet += 1;
}

pub fn unhush() void {
    quiet -= 1;
}

// ---- what platform.zig asks for ----

pub fn nowNs() u64 {
    point();
    return now_ns;
}

/// Of the thread that runs; the first one is 0.
pub fn currentNumber() usize {
    const self = current orelse return 0;
    return (@intFromPtr(self) - @intFromPtr(&fibers)) / @sizeOf(Fiber);
}

pub fn timeNs() u64 {
    return now_ns;
}

pub fn futexWait(word: *const u32, expected: u32, deadline_ns: u64) void {
    point();
    if (word.* != expected or oneIn(pace.early_wake_every)) return;
    _ = wait(word, deadline_ns);
}

pub fn futexWake(word: *const u32, waiters: u32) void {
    _ = wakeSome(word, waiters);
    point();
}

pub const Thread = struct {
    fiber: *Fiber,

    pub fn spawn(_: std.Thread.SpawnConfig, comptime function: anytype, args: anytype) std.Thread.SpawnError!Thread {
        const Closure = struct {
            args: @TypeOf(args),

            fn main(ctx: *anyopaque) void {
                const self: *@This() = @ptrCast(@alignCast(ctx));
                defer gpa.destroy(self);
                @call(.auto, function, self.args);
            }
        };
        if (oneIn(pace.thread_fails_every)) return error.SystemResources;
        const closure = try gpa.create(Closure);
        closure.* = .{ .args = args };
        const made = make(Closure.main, closure) orelse {
            gpa.destroy(closure);
            return error.SystemResources;
        };
        point();
        return .{ .fiber = made };
    }

    pub fn join(self: Thread) void {
        while (self.fiber.state != .ended) _ = wait(self.fiber, never);
    }
};

pub const system = struct {
    pub const eventfd = kernel.eventfd;
    pub const write = kernel.write;
    pub const close = kernel.close;
    pub const io_uring_register = kernel.register;

    pub fn sched_yield() usize {
        reschedule();
        return 0;
    }
};

pub fn AtomicType(comptime T: type) type {
    return extern struct {
        raw: T,

        const Self = @This();
        const Order = std.builtin.AtomicOrder;

        pub fn init(value: T) Self {
            return .{ .raw = value };
        }

        /// A relaxed one orders nothing: it counts as a part of what comes before.
        pub inline fn load(self: *const Self, comptime order: Order) T {
            if (order != .monotonic) point();
            return self.raw;
        }

        pub inline fn store(self: *Self, value: T, comptime order: Order) void {
            if (order != .monotonic) point();
            self.raw = value;
        }

        // Of those that change it also the step afterwards may be another's: what is not atomic comes then.

        pub inline fn swap(self: *Self, value: T, comptime _: Order) T {
            point();
            defer point();
            defer self.raw = value;
            return self.raw;
        }

        pub inline fn cmpxchgWeak(self: *Self, old: T, new: T, comptime a: Order, comptime b: Order) ?T {
            return self.cmpxchgStrong(old, new, a, b);
        }

        pub inline fn cmpxchgStrong(self: *Self, old: T, new: T, comptime _: Order, comptime _: Order) ?T {
            point();
            defer point();
            if (self.raw != old) return self.raw;
            self.raw = new;
            return null;
        }

        pub inline fn fetchAdd(self: *Self, value: T, comptime _: Order) T {
            point();
            defer point();
            defer self.raw +%= value;
            return self.raw;
        }

        pub inline fn fetchSub(self: *Self, value: T, comptime _: Order) T {
            point();
            defer point();
            defer self.raw -%= value;
            return self.raw;
        }

        pub inline fn fetchMax(self: *Self, value: T, comptime _: Order) T {
            point();
            defer point();
            defer self.raw = @max(self.raw, value);
            return self.raw;
        }

        pub inline fn fetchAnd(self: *Self, value: T, comptime _: Order) T {
            point();
            defer point();
            defer self.raw &= value;
            return self.raw;
        }

        pub inline fn fetchOr(self: *Self, value: T, comptime _: Order) T {
            point();
            defer point();
            defer self.raw |= value;
            return self.raw;
        }
    };
}
