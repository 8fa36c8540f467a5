//! Signals that can be read: while a signal is watched, the process's handler counts it and writes
//! to the eventfds of its watchers, whatever thread it arrives on. When the last watcher is gone,
//! the earlier handler returns. Any thread; the handler itself only loads, adds and writes
//! (signal-safety(7)). A forked child gets the earlier handlers, and no watch.

const std = @import("std");
const linux = std.os.linux;
const fork = @import("fork.zig");
const sync = @import("sync.zig");
const Atomic = std.atomic.Value;

pub const Error = error{ Invalid, Overloaded };

const Subscription = struct {
    /// 0: free.
    signal: Atomic(u32) = .init(0),
    fd: Atomic(i32) = .init(-1),
    count: Atomic(u32) = .init(0),
    /// Handlers, on any thread, that may be using `fd`.
    handlers: Atomic(u32) = .init(0),
};

const signal_max = 64;

var lock: sync.Lock = .{};
var guarded: Atomic(bool) = .init(false);
/// Keys have it in front of their index: those of a parent mean nothing in its child.
var generation: Atomic(u32) = .init(0);
var subscriptions: [256]Subscription = @splat(.{});
var subscribers: [signal_max + 1]u32 = @splat(0);
var before: [signal_max + 1]linux.Sigaction = undefined;

/// `signal` wakes the eventfd `fd` from now on. Returns the key that `take` and `remove` want.
pub fn add(signal: u32, fd: i32) Error!usize {
    if (signal == 0 or signal > signal_max) return error.Invalid;
    if (signal == @backingInt(linux.SIG.KILL) or signal == @backingInt(linux.SIG.STOP)) return error.Invalid;
    if (!guarded.swap(true, .monotonic)) {
        fork.guard(&lock);
        fork.registerAtfork(forget);
    }
    lock.lock();
    defer lock.unlock();
    for (&subscriptions, 0..) |*subscription, index| {
        if (subscription.signal.load(.monotonic) != 0) continue;
        if (subscribers[signal] == 0) try install(signal);
        subscribers[signal] += 1;
        subscription.count.store(0, .monotonic);
        subscription.fd.store(fd, .monotonic);
        // Release pairs with the second load in the handler: it finds the descriptor.
        subscription.signal.store(signal, .release);
        return @as(usize, generation.load(.monotonic)) * subscriptions.len + index;
    }
    return error.Overloaded;
}

/// In a forked child, where all signals are blocked and no other thread is.
fn forget() void {
    _ = generation.fetchAdd(1, .monotonic);
    for (&subscriptions) |*subscription| {
        subscription.signal.store(0, .monotonic);
        subscription.handlers.store(0, .monotonic); // Of threads that are not here.
    }
    for (&subscribers, &before, 0..) |*count, *action, signal| {
        if (count.* != 0) _ = linux.sigaction(@fromBackingInt(@as(u32, @intCast(signal))), action, null);
        count.* = 0;
    }
}

/// Null for the key of another process.
fn indexOf(key: usize) ?usize {
    return if (key / subscriptions.len == generation.load(.monotonic)) key % subscriptions.len else null;
}

/// How often it came since the last call.
pub fn take(key: usize) error{Forked}!u32 {
    const index = indexOf(key) orelse return error.Forked;
    return subscriptions[index].count.swap(0, .acq_rel);
}

/// Afterwards no handler writes to its descriptor, which may be closed: its number may soon be another's.
pub fn remove(key: usize) void {
    const index = indexOf(key) orelse return;
    lock.lock();
    defer lock.unlock();
    const signal = subscriptions[index].signal.swap(0, .seq_cst);
    if (signal == 0) return; // Nobody's, or given back before.
    // Sequentially consistent, as in `handle`: a handler that still found the signal is seen here. It runs on
    // another thread, and waits for nothing.
    while (subscriptions[index].handlers.load(.seq_cst) != 0) _ = linux.sched_yield();
    subscribers[signal] -= 1;
    if (subscribers[signal] == 0) _ = linux.sigaction(@fromBackingInt(signal), &before[signal], null);
}

/// The process's handler for it is ours.
pub fn isWatched(signal: u32) bool {
    lock.lock();
    defer lock.unlock();
    return subscribers[signal] > 0;
}

fn install(signal: u32) Error!void {
    const action: linux.Sigaction = .{
        .handler = .{ .handler = handle },
        .mask = std.mem.zeroes(linux.sigset_t),
        .flags = linux.SA.RESTART,
    };
    const rc = linux.sigaction(@fromBackingInt(signal), &action, &before[signal]);
    if (linux.errno(rc) != .SUCCESS) return error.Invalid;
}

fn handle(signal: linux.SIG) callconv(.c) void {
    const one: u64 = 1;
    for (&subscriptions) |*subscription| {
        if (subscription.signal.load(.monotonic) != @backingInt(signal)) continue;
        // Sequentially consistent: `remove` sees this handler, or the handler sees that it was removed.
        _ = subscription.handlers.fetchAdd(1, .seq_cst);
        defer _ = subscription.handlers.fetchSub(1, .seq_cst);
        if (subscription.signal.load(.seq_cst) != @backingInt(signal)) continue;
        _ = subscription.count.fetchAdd(1, .acq_rel);
        // A raw system call: errno of the interrupted code stays as it is.
        _ = linux.write(subscription.fd.load(.monotonic), std.mem.asBytes(&one), 8);
    }
}

test "a watch is not given back under a handler that may write to its descriptor" {
    const S = struct {
        var given_back: Atomic(bool) = .init(false);

        fn giveBack(key: usize) void {
            remove(key);
            given_back.store(true, .seq_cst);
        }
    };
    const fd: i32 = @intCast(linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK));
    defer _ = linux.close(fd);
    const key = try add(@backingInt(linux.SIG.USR2), fd);
    const subscription = &subscriptions[indexOf(key).?];
    _ = subscription.handlers.fetchAdd(1, .seq_cst); // As on another thread, between its look and its write.
    const thread = try std.Thread.spawn(.{}, S.giveBack, .{key});
    while (subscription.signal.load(.seq_cst) != 0) _ = linux.sched_yield();
    for (0..1000) |_| {
        _ = linux.sched_yield();
        try std.testing.expect(!S.given_back.load(.seq_cst));
    }
    _ = subscription.handlers.fetchSub(1, .seq_cst);
    thread.join();
    try std.testing.expect(S.given_back.load(.seq_cst));
}

test "a signal is counted, and its old handler comes back" {
    const rc = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
    const fd: i32 = @intCast(rc);
    defer _ = linux.close(fd);
    var old: linux.Sigaction = undefined;
    _ = linux.sigaction(.USR1, null, &old);
    const first = try add(@backingInt(linux.SIG.USR1), fd);
    const second = try add(@backingInt(linux.SIG.USR1), fd);
    _ = linux.tgkill(linux.getpid(), linux.gettid(), .USR1);
    var value: u64 = 0;
    try std.testing.expectEqual(8, linux.read(fd, std.mem.asBytes(&value), 8));
    try std.testing.expectEqual(2, value);
    try std.testing.expectEqual(1, try take(first));
    try std.testing.expectEqual(0, try take(first));
    try std.testing.expect(isWatched(@backingInt(linux.SIG.USR1)));
    remove(first);
    remove(second);
    remove(second);
    try std.testing.expect(!isWatched(@backingInt(linux.SIG.USR1)));
    var after: linux.Sigaction = undefined;
    _ = linux.sigaction(.USR1, null, &after);
    try std.testing.expectEqual(old.handler.handler, after.handler.handler);
    try std.testing.expectError(error.Invalid, add(9, fd));
    try std.testing.expectError(error.Invalid, add(65, fd));
}
