//! Bells and direct messages that the kernel refuses: each is counted by its error number, its
//! target wakes all the same, by its eventfd, and no message is lost. Refusals are real if this
//! kernel produces them (a descriptor that is closed, or not a ring); the others are completions
//! that the test has the kernel post on the sender's ring.

const std = @import("std");
const linux = std.os.linux;
const c_messages = @import("../c/messages.zig");
const errors = @import("../base/errors.zig");
const harness = @import("harness.zig");
const messages = @import("../scheduler/messages.zig");
const stats = @import("../scheduler/stats.zig");
const Internal = @import("../ring/user_data.zig").Internal;
const Options = @import("../base/options.zig").Options;
const Shard = @import("../scheduler/shard.zig").Shard;
const Atomic = std.atomic.Value;

const testing = std.testing;
const rounds = 3;
const closed_descriptor = 1 << 20;

const Refusal = union(enum) {
    /// The kernel's own, of a MSG_RING to this descriptor.
    of_descriptor: i32,
    /// A completion with this error.
    posted: linux.E,
};

/// Shard 0 sends, shard 1 listens.
const RefusedBell = struct {
    whole: harness.Whole,
    refusal: Refusal,
    received: Atomic(u32) = .init(0),
    in_order: bool = true,
    sent: u32 = 0,
    mark: u64 = 0,
    held: Atomic(bool) = .init(false),
    let_go: Atomic(bool) = .init(false),

    fn shard(self: *RefusedBell, number: usize) *Shard {
        return self.whole.shard(number);
    }

    fn spawn(self: *RefusedBell, number: u64, poll: harness.Poll) !u64 {
        return self.whole.spawn(number, poll, self);
    }

    /// Posted where the kernel's refusal would have come.
    fn post(self: *RefusedBell, errno: linux.E, user_data: u64) !void {
        try self.whole.post(0, errno, user_data);
    }

    fn of(ctx: ?*anyopaque) *RefusedBell {
        return @ptrCast(@alignCast(ctx.?));
    }
};

fn listen(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
    const trial = RefusedBell.of(ctx);
    result.* = 0;
    while (trial.received.load(.monotonic) < rounds) {
        var message: messages.Message = undefined;
        const said = c_messages.spargio_msg_next(&message);
        if (said != errors.ready) return said;
        const before = trial.received.load(.monotonic);
        if (message.value != before) trial.in_order = false;
        trial.received.store(before + 1, .release);
    }
    return errors.ok;
}

/// One message per round, published as `send` does it, and a bell that does not get through.
fn ring(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
    const trial = RefusedBell.of(ctx);
    const target = trial.shard(1);
    result.* = 0;
    const received = trial.received.load(.acquire);
    if (received == rounds) return errors.ok;
    if (received < trial.sent or !target.park_state.isParked()) return errors.yield;
    const message: messages.Message = .{ .from = 0, .tag = 1, .value = trial.sent };
    if (target.mailbox.regular.push(&.{message}) != 1) return @backingInt(errors.Code.overloaded);
    trial.sent += 1;
    if (!target.park_state.notify()) return @backingInt(errors.Code.invalid);
    switch (trial.refusal) {
        .of_descriptor => |number| {
            var unreachable_target: Shard = undefined; // Only its target and its sender are read.
            unreachable_target.id = target.id;
            unreachable_target.ring.uring.fd = number;
            trial.shard(0).ringBell(&unreachable_target);
        },
        .posted => |errno| {
            const user_data = @backingInt(Internal.msg_ring) | @as(u64, target.id) << 8;
            trial.post(errno, user_data) catch return @backingInt(errors.Code.invalid);
        },
    }
    return errors.yield;
}

fn started() !RefusedBell {
    const info = @import("../ring/probe.zig").probe();
    if (!info.sufficient() or !info.can().send_msg_ring) return error.SkipZigTest; // Linux 6.13 posts.
    var options: Options = .init();
    options.shards = 2;
    options.backend = 1;
    return .{ .whole = try .start(&options), .refusal = undefined };
}

fn checkCounts(trial: *RefusedBell, errno: linux.E) !void {
    try trial.whole.shutdown();
    const sender = trial.shard(0);
    try testing.expectEqual(rounds, trial.received.load(.acquire));
    try testing.expect(trial.in_order);
    try testing.expectEqual(rounds, sender.spawn_counters.ring_msgs_failed.get());
    try testing.expectEqual(rounds, sender.errno_counters[stats.errnoIndex(errno)].get());
    try testing.expect(stats.errnoIndex(errno) < stats.doorbell_errnos.len); // Told apart from others.
}

fn bells(refusal: Refusal, errno: linux.E) !void {
    var trial = try started();
    defer trial.whole.forget();
    trial.refusal = refusal;
    const listener = try trial.spawn(1, listen);
    const ringer = try trial.spawn(0, ring);
    _ = try harness.joined(listener);
    _ = try harness.joined(ringer);
    try checkCounts(&trial, errno);
    const found = trial.shard(1).counters.backstop_finds.get();
    try testing.expectEqual(rounds, trial.shard(0).spawn_counters.eventfd_wakes.get());
    try testing.expect(found < rounds); // A slow machine may be at the backstop first, now and then.
}

test "a refused bell: the eventfd wakes" {
    const no_ring: i32 = @intCast(linux.eventfd(0, linux.EFD.CLOEXEC));
    defer _ = linux.close(no_ring);
    try bells(.{ .of_descriptor = closed_descriptor }, .BADF);
    try bells(.{ .of_descriptor = no_ring }, .BADFD);
    for ([_]linux.E{ .OVERFLOW, .OWNERDEAD, .BADFD }) |errno| try bells(.{ .posted = errno }, errno);
}

/// Shard 1 stays in this poll while its ring is out of reach: it does not look at it itself.
fn hold(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
    const trial = RefusedBell.of(ctx);
    result.* = 0;
    trial.held.store(true, .release);
    while (!trial.let_go.load(.acquire)) std.Thread.yield() catch {};
    return errors.ok;
}

/// Direct messages, none of which gets through; then a flush, which ends when all have arrived.
fn sendDirect(ctx: ?*anyopaque, result: *i64) callconv(.c) i32 {
    const trial = RefusedBell.of(ctx);
    result.* = 0;
    if (trial.sent == rounds) return c_messages.spargio_msg_flush(&trial.mark);
    if (!trial.held.load(.acquire)) return errors.yield;
    const sender = trial.shard(0);
    const target = trial.shard(1);
    for (0..rounds) |n| {
        const message: messages.Message = .{ .from = 0, .tag = 1, .value = @intCast(n) };
        const taken = switch (trial.refusal) {
            .of_descriptor => |number| taken: {
                const descriptor = target.ring.uring.fd;
                target.ring.uring.fd = number;
                defer target.ring.uring.fd = descriptor;
                break :taken messages.sendDirect(sender, target, message);
            },
            .posted => |errno| sendRefused(trial, message, errno),
        };
        if (!taken) return @backingInt(errors.Code.overloaded);
        trial.sent += 1;
    }
    sender.submit();
    trial.let_go.store(true, .release);
    return c_messages.spargio_msg_flush(&trial.mark);
}

/// What `messages.sendDirect` does, with another end.
fn sendRefused(trial: *RefusedBell, message: messages.Message, errno: linux.E) bool {
    const capacity = trial.whole.runtime.scheduler.options.msg_ring_queue_capacity;
    if (!trial.shard(1).mailbox.regular.admit()) return false;
    const sequence = trial.shard(0).mailbox.outbox.add(message, 1, capacity) catch return false;
    trial.post(errno, @backingInt(Internal.message_sent) | @as(u64, sequence) << 8) catch return false;
    return true;
}

fn directs(refusal: Refusal, errno: linux.E) !void {
    var trial = try started();
    defer trial.whole.forget();
    trial.refusal = refusal;
    const listener = try trial.spawn(1, listen);
    const holder = try trial.spawn(1, hold);
    const sender = try trial.spawn(0, sendDirect);
    _ = try harness.joined(sender);
    _ = try harness.joined(listener);
    _ = try harness.joined(holder);
    try checkCounts(&trial, errno);
    const lane = &trial.shard(1).mailbox.regular;
    try testing.expectEqual(0, lane.depth());
    try testing.expectEqual(lane.admitted.load(.monotonic), lane.landed.load(.monotonic));
}

test "a refused direct message goes by the lane" {
    const no_ring: i32 = @intCast(linux.eventfd(0, linux.EFD.CLOEXEC));
    defer _ = linux.close(no_ring);
    try directs(.{ .of_descriptor = closed_descriptor }, .BADF);
    try directs(.{ .of_descriptor = no_ring }, .BADFD);
    for ([_]linux.E{ .OVERFLOW, .OWNERDEAD }) |errno| try directs(.{ .posted = errno }, errno);
}
