//! Operations that the kernel ends as cancelled although nobody cancelled them, because it could
//! make no worker thread. That happens at the limit of threads (RLIMIT_NPROC, the pids of a control
//! group), and in a storm of signals. The shard submits the operation once more, and then does it
//! itself: slow is better than not at all. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const attempts = @import("../epoll/attempt.zig");
const blocking = @import("../epoll/blocking.zig");
const Op = @import("../task/op.zig").Op;
const Pending = @import("../epoll/pending.zig").Pending;
const Shard = @import("shard.zig").Shard;

/// Whether such a result means that. A stand-in has no workers, and what is the caller's own stays as it is.
pub fn isMissing(self: *const Shard, op: *const Op, result: i32) bool {
    return result == errors.negative(.CANCELED) and !op.cancel_sent and !op.is_user_sqe and
        op.on_multishot == null and self.ring.stand_in == null;
}

/// Null: it is under way again.
pub fn retry(self: *Shard, op: *Op, result: i32) ?i32 {
    assert(self.isHere() and op.phase == .flying);
    if (!op.asked_again) {
        op.asked_again = true;
        self.ring.push(&op.sqe) catch return makeHere(self, op, result);
        return null;
    }
    return makeHere(self, op, result);
}

fn makeHere(self: *Shard, op: *Op, result: i32) i32 {
    assert(op.asked_again);
    self.counters.calls_made_here.add(1);
    const sqe = &op.sqe;
    const none = errors.negative(.AGAIN); // As for any thread that cannot be made.
    return switch (sqe.opcode) {
        // These would keep the shard until somebody else does something.
        .OPENAT, .SPLICE, .CONNECT, .ACCEPT => if (blocking.mayLast(sqe)) none else call(sqe),
        .CLOSE => errors.resultOf(linux.close(sqe.fd)),
        .SHUTDOWN => errors.resultOf(linux.shutdown(sqe.fd, @bitCast(sqe.len))),
        .MADVISE => errors.resultOf(linux.madvise(@ptrFromInt(sqe.addr), sqe.len, sqe.rw_flags)),
        .READ, .WRITE, .READ_FIXED, .WRITE_FIXED, .READV, .WRITEV => if (attempts.isFile(sqe.fd))
            transfer(op)
        else
            result,
        else => if (blocking.knows(sqe.opcode)) call(sqe) else result,
    };
}

fn call(sqe: *const linux.io_uring_sqe) i32 {
    return blocking.performCall(sqe, &blocking.wanted_always);
}

fn transfer(op: *Op) i32 {
    var pending: Pending = .{ .sqe = op.sqe, .owner = op };
    return blocking.perform(&pending, &blocking.wanted_always);
}
