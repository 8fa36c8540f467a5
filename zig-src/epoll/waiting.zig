//! The wait of epoll(7) with a deadline in nanoseconds, on kernels that know milliseconds too. Any thread.

const std = @import("std");
const linux = std.os.linux;
const clock = @import("../base/clock.zig");

/// epoll_pwait2(2) was answered with ENOSYS. // any thread
var lacks_pwait2: std.atomic.Value(bool) = .init(false);

/// Reports of one call.
pub const events_max = 128;

/// epoll_pwait2(2), 5.11, takes nanoseconds; before, the wait is rounded up to a millisecond.
pub fn waitFor(epoll: i32, events: *[events_max]linux.epoll_event, deadline_ns: u64) usize {
    const left_ns = if (deadline_ns == 0) 0 else deadline_ns -| clock.nowNs();
    const ts = clock.toTimespec(left_ns);
    const fd: usize = @intCast(epoll);
    // Monotonic: who does not see it yet asks once in vain.
    if (!lacks_pwait2.load(.monotonic)) {
        const rc = linux.syscall6(.epoll_pwait2, fd, @intFromPtr(events), events.len, @intFromPtr(&ts), 0, 0);
        switch (linux.errno(rc)) {
            .SUCCESS, .INTR => return rc,
            .NOSYS => lacks_pwait2.store(true, .monotonic), // An old kernel, or valgrind, which says so each time.
            else => {}, // A seccomp filter may say anything.
        }
    }
    const ms = std.math.divCeil(u64, left_ns, std.time.ns_per_ms) catch unreachable;
    return linux.epoll_wait(epoll, events, events.len, @intCast(@min(ms, std.math.maxInt(i32))));
}
