//! An operation that a stand-in for io_uring has taken and not ended; or any other call for a pool's thread.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const Buffers = @import("../ring/provided_buffers.zig").Buffers;
const Sqe = @import("../ring/ring.zig").Sqe;

/// A call that is no operation of a ring, as the pool has it.
pub const Call = struct {
    /// On a thread of the pool. Its result is the pending's.
    perform: *const fn (*Pending) i32,
    /// The operation was given up during `perform`, which is over: all that this used is the thread's, and goes.
    /// Null: it is never given up.
    left: ?*const fn (*Pending) void = null,
};

pub const Pending = struct {
    sqe: Sqe = undefined,
    call: ?*const Call = null,
    /// Of a receive that brings no memory.
    buffers: ?*Buffers = null,
    /// Bytes moved by earlier attempts.
    done: u32 = 0,
    /// `more`: no operation, but a connection of one that goes on.
    stage: enum(u8) { trying, waiting, pooled, closing, more } = .trying,
    /// epoll did not take what it waits for, once.
    refused: bool = false,
    /// It can be found by its number, to be cancelled.
    known: bool = false,
    /// While it waits: for what, and for these events of it.
    waiting_on: i32 = -1,
    events: u32 = 0,
    /// connect(2) is under way.
    connecting: bool = false,
    result: i32 = 0,
    cqe_flags: u32 = 0,
    /// How often the thread in its call was signalled to end it.
    told: u16 = 0,
    /// Of the list it is in: operations that wait for a descriptor, the pool's queue, what has
    /// arrived at a shard, or the free ones.
    next: ?*Pending = null,
    /// Of lists that it can leave from anywhere: operations that wait for a descriptor, and the
    /// pool's queue.
    prev: ?*Pending = null,
    /// The ring's own side; the pool gives it back there.
    owner: *anyopaque = undefined,

    pub fn isMultishotAccept(self: *const Pending) bool {
        return self.sqe.opcode == .ACCEPT and self.sqe.ioprio & linux.IORING_ACCEPT_MULTISHOT != 0;
    }

    /// If it ends by an error: what a transfer had moved by then is its result all the same.
    pub fn resultAfter(self: *const Pending, errno: linux.E) i32 {
        return if (self.done > 0) @intCast(self.done) else errors.negative(errno);
    }
};

/// What a call came to.
pub const Outcome = union(enum) {
    /// The result of the operation: a count or a descriptor, or minus an errno.
    done: i32,
    /// Again when `fd` has one of `events`.
    wait: struct { fd: i32, events: u32 },
    /// It may block: a thread of the pool does it.
    block,

    pub fn failure(errno: linux.E) Outcome {
        return .{ .done = errors.negative(errno) };
    }

    /// Of a system call that is no transfer.
    pub fn of(rc: usize) Outcome {
        return .{ .done = errors.resultOf(rc) };
    }
};
