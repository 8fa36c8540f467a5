//! Whether a call on a descriptor would wait: its O_NONBLOCK flag, and its readiness now. Uses
//! system calls on the number alone. Any thread.

const std = @import("std");
const linux = std.os.linux;

/// False also for what is no open descriptor.
pub fn isNonblocking(fd: i32) bool {
    const flags = linux.fcntl(fd, linux.F.GETFL, 0);
    return linux.errno(flags) == .SUCCESS and flags & nonblock != 0;
}

const nonblock: usize = 1 << @bitOffsetOf(linux.O, "NONBLOCK");

/// The flags before; null for what is no open descriptor.
pub fn setNonblocking(fd: i32) ?usize {
    const flags = linux.fcntl(fd, linux.F.GETFL, 0);
    if (linux.errno(flags) != .SUCCESS) return null;
    if (flags & nonblock == 0) _ = linux.fcntl(fd, linux.F.SETFL, flags | nonblock);
    return flags;
}

/// Takes back what `setNonblocking` did, given what it returned.
pub fn restore(fd: i32, flags: usize) void {
    if (flags & nonblock == 0) _ = linux.fcntl(fd, linux.F.SETFL, flags);
}

/// Which of `events` (poll(2)) a call would not wait for now; 0 if none.
pub fn ready(fd: i32, events: u32) u32 {
    var one = [1]linux.pollfd{.{ .fd = fd, .events = @bitCast(@as(u16, @truncate(events))), .revents = 0 }};
    const rc = linux.poll(&one, 1, 0);
    if (linux.errno(rc) != .SUCCESS or rc == 0) return 0;
    return @as(u16, @bitCast(one[0].revents));
}
