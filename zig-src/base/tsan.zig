//! What ThreadSanitizer of a C program is told of the order between its threads and a runtime's: it sees
//! nothing of the atomics in here. The functions are weak: there without it, nothing is done. Any thread.

const weak_names = @import("root_settings.zig").weak_names;
const platform = @import("platform.zig");

const Function = fn (address: *const anyopaque) callconv(.c) void;

// The simulation has one thread.
const possible = weak_names and !platform.simulated;

// Variables: a name that the compiler looks at is never null to it, what the linker made of it may be.
var release_function: ?*const Function = if (possible)
    @extern(?*const Function, .{ .name = "__tsan_release", .linkage = .weak })
else
    null;
var acquire_function: ?*const Function = if (possible)
    @extern(?*const Function, .{ .name = "__tsan_acquire", .linkage = .weak })
else
    null;

/// What this thread did so far comes before what follows an `acquire` of the same address.
pub inline fn release(address: *const anyopaque) void {
    if (!possible) return;
    if (release_function) |function| function(address);
}

pub inline fn acquire(address: *const anyopaque) void {
    if (!possible) return;
    if (acquire_function) |function| function(address);
}
