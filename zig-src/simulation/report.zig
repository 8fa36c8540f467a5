//! How a seed reports what it found: the first report ends the process; the parent prints the seed.

const std = @import("std");
const machine = @import("machine.zig");

pub fn fail(comptime format: []const u8, arguments: anytype) noreturn {
    std.debug.panic("simulation at {d} ns, step {d}: " ++ format, .{
        machine.timeNs(), machine.steps,
    } ++ arguments);
}

/// With `--trace 1`: what the kernel sees, line by line.
pub var tracing = false;

pub fn trace(comptime format: []const u8, arguments: anytype) void {
    if (tracing) std.debug.print("{d:>12} thread {d}: " ++ format ++ "\n", .{
        machine.timeNs(), machine.currentNumber(),
    } ++ arguments);
}

pub fn expect(ok: bool, comptime format: []const u8, arguments: anytype) void {
    if (!ok) fail(format, arguments);
}

/// Without a trace through the fibers' stacks: what was found is in the words, and a debugger has the rest.
pub fn panicked(words: []const u8, first_address: ?usize) noreturn {
    std.debug.print("{s}\n", .{words});
    std.debug.dumpCurrentStackTrace(.{ .first_address = first_address });
    std.process.abort();
}
