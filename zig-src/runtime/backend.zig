//! Which backend a runtime gets: io_uring, or epoll(7) and threads if io_uring is not available.

const std = @import("std");
const attempts = @import("../epoll/attempt.zig");
const Failure = @import("../base/failure.zig").Failure;
const options_module = @import("../base/options.zig");
const Options = options_module.Options;
const platform = @import("../base/platform.zig");
const probe = @import("../ring/probe.zig");

pub const Wanted = options_module.Backend;

pub const Chosen = options_module.ChosenBackend;

/// What the options say; if they leave it open, the environment.
pub fn wanted(options: *const Options) Wanted {
    const given: Wanted = @fromBackingInt(@intCast(options.backend));
    return switch (given) {
        .automatic => options_module.environment() orelse .automatic,
        .either => .automatic,
        .io_uring, .epoll => given,
    };
}

/// valgrind (3.19) keeps its lock, which one thread at a time has, while a thread is in io_uring_enter: a
/// shard that sleeps there stops all others forever. So io_uring is used there only on request.
pub fn underValgrind() bool {
    if (comptime platform.simulated) return false;
    return std.valgrind.runningOnValgrind() > 0;
}

/// Says what epoll and the pool can do, without asking io_uring anything.
pub fn epollInfo() probe.Info {
    var info: probe.Info = .{};
    probe.readSystem(&info);
    for (attempts.known) |op| {
        const n = @backingInt(op);
        info.opcodes[n / 64] |= @as(u64, 1) << @intCast(n % 64);
    }
    return info;
}

/// One line on stderr, for programs that have no log of their own: why a runtime has not the backend
/// that it could have.
pub fn tell(failure: *const Failure) void {
    if (failure.errno == 0) return;
    if (failure.call == .valgrind) return say(valgrind_line);
    var buffer: [384]u8 = undefined;
    const number: std.os.linux.E = @fromBackingInt(@as(u16, @intCast(failure.errno)));
    const line = std.fmt.bufPrint(&buffer, "spargio: io_uring is not available ({t} of {t}); using the slower " ++
        "epoll backend instead. {s} SPARGIO_BACKEND=epoll chooses it without this line.\n", .{
        number, failure.call, failure.advice(),
    }) catch return;
    say(line);
}

const valgrind_line = "spargio: valgrind keeps its lock while a thread is in io_uring_enter; using the epoll " ++
    "backend. SPARGIO_BACKEND=epoll chooses it without this line, io_uring works with one shard that spins.\n";

fn say(line: []const u8) void {
    _ = std.os.linux.write(2, line.ptr, line.len);
}

test "each opcode is known once" {
    var seen = @as([256]bool, @splat(false));
    for (attempts.known) |op| {
        try std.testing.expect(!seen[@backingInt(op)]);
        seen[@backingInt(op)] = true;
    }
}
