//! When a closed ring is gone. The kernel ends the operations of a closed ring by a worker of its
//! own, and says so to nobody. But the files that are registered with a ring go last, when no
//! operation is left: one end of a pipe is registered, and the other end shows it. Only the thread
//! that the ring is bound to registers; any thread waits.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const clock = @import("../base/clock.zig");

pub const RingEnd = struct {
    reading: i32 = -1,

    /// Without a descriptor for it, or if the kernel refuses, nobody can wait for the end.
    pub fn watch(self: *RingEnd, ring: i32) void {
        if (self.isWatched()) return;
        var ends: [2]i32 = undefined;
        if (linux.errno(linux.pipe2(&ends, .{ .CLOEXEC = true })) != .SUCCESS) return;
        const rc = linux.io_uring_register(ring, .REGISTER_FILES, &ends[1], 1);
        _ = linux.close(ends[1]);
        if (linux.errno(rc) == .SUCCESS) self.reading = ends[0] else _ = linux.close(ends[0]);
    }

    pub fn isWatched(self: *const RingEnd) bool {
        return self.reading >= 0;
    }

    /// After the ring was closed. False if the deadline passed: a forked process may have it still.
    pub fn wait(self: *const RingEnd, deadline_ns: u64) bool {
        assert(self.isWatched());
        while (true) {
            const left_ns = deadline_ns -| clock.nowNs();
            var ts = clock.toTimespec(left_ns);
            var fds = [1]linux.pollfd{.{ .fd = self.reading, .events = 0, .revents = 0 }};
            const rc = linux.ppoll(&fds, 1, &ts, null);
            if (linux.errno(rc) == .SUCCESS and rc == 1) return true;
            if (left_ns == 0) return false;
        }
    }

    pub fn deinit(self: *RingEnd) void {
        if (self.isWatched()) _ = linux.close(self.reading);
        self.reading = -1;
    }
};
