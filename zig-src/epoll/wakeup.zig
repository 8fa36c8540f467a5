//! A signal that ends a system call of one of the pool's threads with EINTR. It is SIGURG, which
//! does nothing by default, so a stray one is harmless; if the program uses SIGURG itself, it is
//! another one. Any thread.

const std = @import("std");
const linux = std.os.linux;
const fork = @import("../base/fork.zig");
const sync = @import("../base/sync.zig");

/// None that the program or libc is known to use; the real-time ones from the middle of their range.
const candidates = [_]linux.SIG{ .URG, rt(50), rt(49), rt(48) };

fn rt(number: u32) linux.SIG {
    return @fromBackingInt(number);
}

var lock: sync.Lock = .{};
var guarded: std.atomic.Value(bool) = .init(false);
/// Pools that may send it.
var users: u32 = 0;
var chosen: ?linux.SIG = null;
var before: linux.Sigaction = undefined;

fn nothing(_: linux.SIG) callconv(.c) void {}

/// Each once per pool, before its first thread. Null if all are taken.
pub fn acquire() ?linux.SIG {
    if (!guarded.swap(true, .monotonic)) fork.guard(&lock);
    lock.lock();
    defer lock.unlock();
    if (users == 0) chosen = install();
    users += 1;
    return chosen;
}

/// After the pool's last thread.
pub fn release() void {
    lock.lock();
    defer lock.unlock();
    users -= 1;
    const signal = chosen orelse return;
    if (users == 0 and isOurs(signal)) _ = linux.sigaction(signal, &before, null);
}

fn install() ?linux.SIG {
    for (candidates) |signal| {
        if (linux.errno(linux.sigaction(signal, null, &before)) != .SUCCESS) continue;
        const handler = before.handler.handler;
        const ignored = signal == .URG and handler == linux.SIG.IGN;
        if (handler != linux.SIG.DFL and !ignored) continue;
        const action: linux.Sigaction = .{
            .handler = .{ .handler = nothing },
            .mask = std.mem.zeroes(linux.sigset_t),
            .flags = 0, // Without SA_RESTART: the call is to end.
        };
        if (linux.errno(linux.sigaction(signal, &action, null)) == .SUCCESS) return signal;
    }
    return null;
}

fn isOurs(signal: linux.SIG) bool {
    var now: linux.Sigaction = undefined;
    return linux.errno(linux.sigaction(signal, null, &now)) == .SUCCESS and now.handler.handler == nothing;
}

/// False if the program has taken the signal for itself meanwhile.
pub fn send(thread: i32, signal: linux.SIG) bool {
    if (!isOurs(signal)) return false;
    return linux.errno(linux.tgkill(linux.getpid(), thread, signal)) == .SUCCESS;
}
