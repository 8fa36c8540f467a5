//! Settings that the standard library reads from a root file; each root of the library passes them
//! on.

const std = @import("std");
const builtin = @import("builtin");
const linux = std.os.linux;

/// The standard library would keep a signal stack of 256 KiB in thread-local memory: each thread of
/// the whole program would carry it, and AddressSanitizer would unmap a part of it.
pub const std_options: std.Options = .{ .signal_stack_size = null };

/// The usual handler reads debug information, which the fast build has not: it would be half of the
/// library, and half of the time to compile it.
pub const panic = std.debug.FullPanic(if (builtin.optimize == .fast) sayAndAbort else std.debug.defaultPanic);

fn sayAndAbort(message: []const u8, _: ?usize) noreturn {
    @branchHint(.cold);
    for ([_][]const u8{ message, "\n" }) |text| _ = linux.write(linux.STDERR_FILENO, text.ptr, text.len);
    std.c.abort();
}

/// Whether a name may be missing where the library is linked: Zig's own linker is not asked for such.
pub const weak_names = builtin.zig_backend == .stage2_llvm and !builtin.is_test;
