//! Results of the C ABI and the one table between them and Zig's errors; the kernel's results beside them.

const std = @import("std");
const linux = std.os.linux;
const errno_text = @import("errno_text.zig");

pub const ok: i32 = 0;
pub const ready: i32 = 0;
pub const pending: i32 = 1;
pub const yield: i32 = 2;

pub const Code = enum(i32) {
    invalid = -1,
    closed = -2,
    nomem = -3,
    overloaded = -4,
    timeout = -5,
    cancelled = -6,
    not_on_shard = -7,
    on_shard = -8,
    invalid_shard = -9,
    buffer = -10,
    unsupported = -11,
    forked = -12,
};

pub const errno_base: i32 = -4096;

/// What the library's own functions fail with. The kernel's error numbers travel as `fromErrno`.
pub const Error = error{
    Invalid,
    Closed,
    OutOfMemory,
    Overloaded,
    Timeout,
    Cancelled,
    NotOnShard,
    OnShard,
    InvalidShard,
    BufferTooSmall,
    Unsupported,
    Forked,
};

pub fn fromError(err: Error) i32 {
    const code: Code = switch (err) {
        error.Invalid => .invalid,
        error.Closed => .closed,
        error.OutOfMemory => .nomem,
        error.Overloaded => .overloaded,
        error.Timeout => .timeout,
        error.Cancelled => .cancelled,
        error.NotOnShard => .not_on_shard,
        error.OnShard => .on_shard,
        error.InvalidShard => .invalid_shard,
        error.BufferTooSmall => .buffer,
        error.Unsupported => .unsupported,
        error.Forked => .forked,
    };
    return @backingInt(code);
}

/// `errno` is positive, as in the C macro SPARGIO_E_ERRNO.
pub fn fromErrno(errno: i32) i32 {
    std.debug.assert(errno > 0);
    return errno_base - errno;
}

pub fn describe(result: i32) [*:0]const u8 {
    if (result == ok) return "done";
    if (result == pending) return "not yet: poll again after the next wake-up";
    if (result == yield) return "run the others, then poll again";
    if (result <= errno_base) return errno_text.of(errno_base - result);
    inline for (@typeInfo(Code).@"enum".field_names) |name| {
        if (result == @backingInt(@field(Code, name))) return text(@field(Code, name));
    }
    return "not a result of spargio";
}

fn text(code: Code) [*:0]const u8 {
    return switch (code) {
        .invalid => "an argument or option is out of range",
        .closed => "the handle is stale, or its runtime is shutting down",
        .nomem => "out of memory",
        .overloaded => "the stealable queue is full: wait for tasks to end, or raise " ++
            "stealable_queue_capacity",
        .timeout => "the time limit passed",
        .cancelled => "the task was cancelled before it ended",
        .not_on_shard => "allowed only inside a poll function of a task",
        .on_shard => "this call would block a shard: not allowed inside a task",
        .invalid_shard => "no shard has this number",
        .buffer => "the buffer is too small",
        .unsupported => "this kernel (5.19 or newer is needed) or the epoll backend lacks something required",
        .forked => "the runtime belongs to the parent of this process: start one after the fork",
    };
}

// ---- the kernel's results: a count or a descriptor, or -errno ----

/// What an operation or a system call that failed with `errno` has as its result.
pub fn negative(errno: linux.E) i32 {
    return -@as(i32, @backingInt(errno));
}

/// The errno of a result that is negative.
pub fn ofResult(result: i32) linux.E {
    std.debug.assert(result < 0);
    return @fromBackingInt(@intCast(@as(u16, @intCast(-result))));
}

/// What a system call returned, as the result of an operation.
pub fn resultOf(rc: usize) i32 {
    return @truncate(@as(isize, @bitCast(rc)));
}

test "each code has a text and a place in the table" {
    inline for (@typeInfo(Code).@"enum".field_names) |name| {
        const code = @field(Code, name);
        try std.testing.expect(std.mem.len(describe(@backingInt(code))) > 5);
    }
    try std.testing.expectEqual(@as(i32, -4), fromError(error.Overloaded));
    try std.testing.expectEqualStrings("EPERM: operation not permitted", std.mem.span(describe(fromErrno(1))));
    try std.testing.expectEqualStrings("not a result of spargio", std.mem.span(describe(-99)));
}
