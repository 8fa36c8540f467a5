//! What an error of the kernel means for an operation on a file or socket: it is cancelled, it is tried
//! again, or it has failed.

const errors = @import("../../base/errors.zig");
const PyTask = @import("../task/py_task.zig").PyTask;

pub const Next = enum {
    cancel,
    again,
    /// It waits until the nonblocking socket is ready, and is tried again then.
    poll,
    /// All buffers of the shard are in use: the receive brings memory of its own.
    own_memory,
    fail,
};

pub fn next(errno: i32, me: *const PyTask, may_poll: bool, selects_buffer: bool) Next {
    return switch (errors.ofResult(-errno)) {
        // Without a cancellation of the task it was the close of the descriptor.
        .CANCELED => if (me.cancelReached()) .cancel else .fail,
        .INTR => if (me.cancelWanted()) .cancel else .again,
        // A nonblocking socket, which io_uring does not wait for before 5.19.
        .AGAIN => if (may_poll) .poll else .fail,
        .NOBUFS => if (selects_buffer) .own_memory else .fail,
        else => .fail,
    };
}
