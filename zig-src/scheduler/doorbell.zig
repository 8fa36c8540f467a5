//! How a shard or another thread wakes a shard: by MSG_RING, or by an eventfd that a read of the
//! target's ring waits for, if there is no MSG_RING or the kernel refuses it. The work is in a
//! queue before its bell rings (park_state.zig). Each refusal is counted.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const platform = @import("../base/platform.zig");
const stats = @import("stats.zig");
const Cqe = @import("../ring/ring.zig").Cqe;
const Scheduler = @import("scheduler.zig").Scheduler;
const Internal = @import("../ring/user_data.zig").Internal;
const Shard = @import("shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;

/// A shard's: how it is rung, and how it rings others.
pub const Bell = struct {
    /// Never changes after the start.
    eventfd: i32 = -1,
    eventfd_value: u64 = 0,
    /// The read of it is under way or queued.
    eventfd_armed: bool = false,
    /// In the ring's queue: bells for others, which are not submitted.
    queued: bool = false,
    /// The last poll that rang a bell went on for long after it.
    at_once: bool = false,
    /// When the first bell since the last poll was rung; 0: there is none.
    rang_ns: u64 = 0,
};

fn bellSqe(target: *const Shard) Sqe {
    var sqe = std.mem.zeroes(Sqe);
    sqe.opcode = .MSG_RING;
    sqe.fd = target.ring.fd();
    sqe.off = @backingInt(Internal.doorbell);
    return sqe;
}

/// From this shard to another; goes out before the next task runs (`Shard.bellQueued`).
pub fn ring(self: *Shard, target: *Shard) void {
    assert(Shard.current() == self and target != self);
    if (self.scheduler.usesMsgRing()) {
        var sqe = bellSqe(target);
        // Only a failure is told to the sender; a success is the target's completion.
        sqe.flags = linux.IOSQE_CQE_SKIP_SUCCESS;
        sqe.user_data = @backingInt(Internal.msg_ring) | @as(u64, target.id) << 8;
        if (self.ring.push(&sqe)) |_| {
            self.spawn_counters.ring_msgs_submitted.add(1);
            return self.bellQueued();
        } else |_| countFailure(self, .NOMEM);
    }
    self.spawn_counters.eventfd_wakes.add(1);
    writeEventfd(target);
}

/// From a thread that is no shard of this scheduler.
pub fn ringFromOutside(self: *Scheduler, target: *Shard) void {
    assert(Shard.currentOf(self) == null);
    if (self.usesSendMsgRing()) {
        self.outside.ring_msgs_submitted.addShared(1);
        const sqe = bellSqe(target);
        const rc = platform.system.io_uring_register(-1, .REGISTER_SEND_MSG_RING, &sqe, 1);
        const errno = linux.errno(rc);
        if (errno == .SUCCESS) return;
        self.outside.ring_msgs_failed.addShared(1);
        self.outside_errnos[stats.errnoIndex(errno)].addShared(1);
    }
    self.outside.eventfd_wakes.addShared(1);
    writeEventfd(target);
}

pub fn failed(self: *Shard, cqe: Cqe) void {
    assert(self.isHere());
    countFailure(self, @fromBackingInt(errnoOf(cqe.res)));
    const target = &self.scheduler.shards[@intCast(cqe.user_data >> 8)];
    self.spawn_counters.eventfd_wakes.add(1);
    writeEventfd(target);
}

pub fn countFailure(self: *Shard, errno: linux.E) void {
    assert(self.isHere());
    self.spawn_counters.ring_msgs_failed.add(1);
    self.errno_counters[stats.errnoIndex(errno)].add(1);
}

pub fn errnoOf(result: i32) u16 {
    return if (result < 0) @intCast(-result) else 0;
}

/// Before a park: a shard that is awake is not rung.
pub fn armEventfd(self: *Shard) void {
    assert(self.isHere());
    if (self.bell.eventfd_armed) return;
    var sqe: Sqe = undefined;
    sqe.prep_read(self.bell.eventfd, std.mem.asBytes(&self.bell.eventfd_value), 0);
    sqe.user_data = @backingInt(Internal.eventfd);
    // Without memory for it the backstop stands in for this park; the next one tries again.
    self.bell.eventfd_armed = if (self.ring.push(&sqe)) |_| true else |_| false;
}

pub fn writeEventfd(self: *const Shard) void {
    const one: u64 = 1;
    _ = platform.system.write(self.bell.eventfd, std.mem.asBytes(&one), 8); // Full means: already signalled.
}
