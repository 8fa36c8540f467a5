//! A forked child shares the parent's rings but has none of its threads: a runtime knows the
//! generation it was made in and refuses to work in another.

const std = @import("std");

var generation_now: std.atomic.Value(u32) = .init(0);
var watching: std.atomic.Value(bool) = .init(false);
var forget: *const fn () void = undefined;

extern "c" fn pthread_atfork(
    prepare: ?*const fn () callconv(.c) void,
    parent: ?*const fn () callconv(.c) void,
    child: ?*const fn () callconv(.c) void,
) c_int;

/// From the first runtime on; the library is never unloaded after that. `in_child` runs in each
/// child, on the thread that forked.
pub fn watch(in_child: *const fn () void) void {
    if (watching.swap(true, .seq_cst)) return;
    forget = in_child;
    _ = pthread_atfork(null, null, afterFork); // Fails only without memory; then forks go unnoticed.
}

fn afterFork() callconv(.c) void {
    _ = generation_now.fetchAdd(1, .monotonic);
    forget();
}

pub fn generation() u32 {
    return generation_now.load(.monotonic);
}
