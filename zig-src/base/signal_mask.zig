//! Signals are for the program's own threads. A library thread that runs no interpreter code is
//! made with all signals blocked, because a thread inherits the mask of its maker. Exceptions are
//! the signals that libc keeps for itself: setuid(2) and its kin reach every thread by one of them,
//! and would wait forever for a thread that blocks it.

const std = @import("std");

/// As large as any libc's, and more than the kernel's.
pub const Set = extern struct { words: [16]c_ulong = @splat(0) };

extern "c" fn sigfillset(set: *Set) c_int;
extern "c" fn pthread_sigmask(how: c_int, set: *const Set, before: ?*Set) c_int;

/// Blocks them for this thread; returns what `restore` wants.
pub fn blockAll() Set {
    var all: Set = .{};
    var before: Set = .{};
    _ = sigfillset(&all); // Without libc's own.
    _ = pthread_sigmask(std.os.linux.SIG.BLOCK, &all, &before);
    return before;
}

/// One of them again.
pub fn unblock(signal: std.os.linux.SIG) void {
    var one: Set = .{};
    const bit = @backingInt(signal) - 1;
    one.words[bit / @bitSizeOf(c_ulong)] = @as(c_ulong, 1) << @intCast(bit % @bitSizeOf(c_ulong));
    _ = pthread_sigmask(std.os.linux.SIG.UNBLOCK, &one, null);
}

pub fn restore(before: *const Set) void {
    _ = pthread_sigmask(std.os.linux.SIG.SETMASK, before, null);
}
