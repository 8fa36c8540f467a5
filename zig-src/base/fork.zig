//! A forked child shares the parent's rings but has none of its threads: a runtime knows the
//! generation it was made in and refuses to work in another.

const std = @import("std");
const weak = @import("weak.zig");
const signal_mask = @import("signal_mask.zig");
const Lock = @import("sync.zig").Lock;

var generation_now: std.atomic.Value(u32) = .init(0);
var watching: std.atomic.Value(bool) = .init(false);
/// What each child does first, on the thread that forked.
var in_children: [4]std.atomic.Value(?*const fn () void) = @splat(.init(null));
/// Those of the process: held over a fork, or the child might find one held by a thread it has not.
var locks: [16]std.atomic.Value(?*Lock) = @splat(.init(null));

extern "c" fn pthread_atfork(
    prepare: ?*const fn () callconv(.c) void,
    parent: ?*const fn () callconv(.c) void,
    child: ?*const fn () callconv(.c) void,
) c_int;

/// From the first runtime or watched signal on; the library is never unloaded after that. `in_child` runs
/// in each child, on the thread that forked, before a signal can come there.
pub fn registerAtfork(in_child: *const fn () void) void {
    for (&in_children) |*slot| {
        const there = slot.cmpxchgStrong(null, in_child, .release, .monotonic) orelse break;
        if (there == in_child) break;
    } else unreachable; // There are two.
    if (watching.swap(true, .seq_cst)) return;
    keepLoaded();
    // Fails only without memory; then forks go unnoticed.
    _ = pthread_atfork(beforeFork, inParent, inChild);
}

/// A dlclose of the shared object that holds this code leaves it in memory from here on: nobody can take
/// fork handlers back, and threads may still run in it. Weak, because only a program that has dlopen can
/// unload anything; a static one has not.
pub fn keepLoaded() void {
    const dladdr = weak.function(DlAddr, "dladdr") orelse return;
    const dlopen = weak.function(DlOpen, "dlopen") orelse return;
    var info: DlInfo = undefined;
    if (dladdr(&watching, &info) == 0) return;
    // Null for the program itself, which stays anyway. The reference is never given back.
    _ = dlopen(info.fname, .{ .LAZY = true, .NOLOAD = true, .NODELETE = true });
}

const DlInfo = extern struct { fname: ?[*:0]const u8, fbase: ?*anyopaque, sname: ?[*:0]const u8, saddr: ?*anyopaque };
const DlAddr = fn (address: *const anyopaque, info: *DlInfo) callconv(.c) c_int;
const DlOpen = fn (path: ?[*:0]const u8, mode: std.c.RTLD) callconv(.c) ?*anyopaque;

/// A lock that lives as long as the process, and is never held while another one of these is taken.
pub fn guard(lock: *Lock) void {
    for (&locks) |*slot| {
        const there = slot.cmpxchgStrong(null, lock, .release, .monotonic) orelse return;
        if (there == lock) return;
    }
    unreachable; // Eight locks: five tables of handles, recorders, watched signals, the wake-ups of epoll.
}

fn beforeFork() callconv(.c) void {
    mask = signal_mask.blockAll();
    held = 0;
    for (&locks) |*slot| {
        (slot.load(.acquire) orelse break).lock();
        held += 1;
    }
}

/// By the fork that this thread is in: one that was added meanwhile is not among them.
threadlocal var held: usize = 0;
threadlocal var mask: signal_mask.Set = .{};

fn unlock() void {
    for (locks[0..held]) |*slot| slot.load(.monotonic).?.unlock();
}

fn inParent() callconv(.c) void {
    unlock();
    signal_mask.restore(&mask);
}

fn inChild() callconv(.c) void {
    _ = generation_now.fetchAdd(1, .monotonic);
    unlock();
    for (&in_children) |*slot| (slot.load(.acquire) orelse break)();
    signal_mask.restore(&mask);
}

/// For a thread that has signals blocked for itself only, in the child that it forked just now.
pub fn setMask(program: *const signal_mask.Set) void {
    mask = program.*;
}

pub fn generation() u32 {
    return generation_now.load(.monotonic);
}
