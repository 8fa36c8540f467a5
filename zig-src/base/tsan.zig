//! What ThreadSanitizer of a C program is told of the order between its threads and a runtime's: it sees
//! nothing of the atomics in here. The functions are weak: there without it, nothing is done. Any thread.

const weak_names = @import("root_settings.zig").weak_names;
const platform = @import("platform.zig");
const weak = @import("weak.zig");

const Function = fn (address: *const anyopaque) callconv(.c) void;

// The simulation has one thread.
const possible = weak_names and !platform.simulated;

/// What this thread did so far comes before what follows an `acquire` of the same address.
pub inline fn release(address: *const anyopaque) void {
    if (!possible) return;
    if (weak.function(Function, "__tsan_release")) |call| call(address);
}

pub inline fn acquire(address: *const anyopaque) void {
    if (!possible) return;
    if (weak.function(Function, "__tsan_acquire")) |call| call(address);
}
