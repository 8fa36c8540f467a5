//! Ends a system call that a thread of the pool is blocked in. Some have no form that does not block and
//! leaves the descriptor as it is: accept(2) of a listener that other processes share, connect(2) to a Unix
//! listener without room, open(2) of a FIFO. They end by a signal to that very thread (EINTR), as a worker
//! of io_uring's does. The signal is a real-time one that nobody in the program has a use for yet; it is
//! let through by the pool's threads alone, and does nothing.

const std = @import("std");
const linux = std.os.linux;
const sync = @import("../sync.zig");

var lock: sync.Lock = .{};
/// 0: not chosen yet.
var chosen: std.atomic.Value(u8) = .init(0);

/// The last three are debuggers' by custom; real-time signals begin at 34, after those of the C library.
const first = 61;
const last = 35;

/// Before the first thread that may be interrupted. Without a free signal nothing can be.
pub fn prepare() void {
    if (chosen.load(.acquire) != 0) return;
    lock.lock();
    defer lock.unlock();
    if (chosen.load(.acquire) != 0) return;
    var number: u8 = first;
    while (number >= last) : (number -= 1) {
        const signal: linux.SIG = @fromBackingInt(number);
        var before: linux.Sigaction = undefined;
        if (linux.errno(linux.sigaction(signal, null, &before)) != .SUCCESS) continue;
        if (before.handler.handler != linux.SIG.DFL) continue;
        // Without SA_RESTART: the call is to end.
        const action: linux.Sigaction = .{
            .handler = .{ .handler = nothing },
            .mask = std.mem.zeroes(linux.sigset_t),
            .flags = 0,
        };
        if (linux.errno(linux.sigaction(signal, &action, null)) != .SUCCESS) continue;
        return chosen.store(number, .release);
    }
}

fn nothing(_: linux.SIG) callconv(.c) void {}

/// This thread can be interrupted.
pub fn admit() void {
    const number = chosen.load(.acquire);
    if (number == 0) return;
    var set = std.mem.zeroes(linux.sigset_t);
    linux.sigaddset(&set, @fromBackingInt(number));
    _ = linux.sigprocmask(linux.SIG.UNBLOCK, &set, null);
}

/// Once may be too early, just before the call: it is repeated until that has ended.
pub fn send(thread: i32) void {
    const number = chosen.load(.acquire);
    if (number != 0) _ = linux.tgkill(linux.getpid(), thread, @fromBackingInt(number));
}
