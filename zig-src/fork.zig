//! A forked child shares the parent's rings but has none of its threads: a runtime knows the
//! generation it was made in and refuses to work in another.

const std = @import("std");

var generation_now: std.atomic.Value(u32) = .init(0);
var watching: std.atomic.Value(bool) = .init(false);

extern "c" fn pthread_atfork(
    prepare: ?*const fn () callconv(.c) void,
    parent: ?*const fn () callconv(.c) void,
    child: ?*const fn () callconv(.c) void,
) c_int;

/// From the first runtime on; the library is never unloaded after that.
pub fn watch() void {
    if (watching.swap(true, .seq_cst)) return;
    _ = pthread_atfork(null, null, inChild); // Fails only without memory; then forks go unnoticed.
}

fn inChild() callconv(.c) void {
    _ = generation_now.fetchAdd(1, .monotonic);
}

pub fn generation() u32 {
    return generation_now.load(.monotonic);
}
