//! A ring without io_uring: the queues of a `Ring` in our memory, and what does the kernel's part. The
//! epoll backend and the simulation do it. The contract:
//!
//! - `enter` is called on the ring's thread only, wherever the kernel would be: at each submission and wait.
//! - It takes the SQEs that are queued (`takeSubmission`), in order; each is a copy, and its slot is free then.
//!   What it leaves stays queued.
//! - For each it posts the CQEs that the kernel would (`postCompletion`), with the same results and flags. If
//!   the queue is full it keeps them, in order, until there is room: none is lost.
//! - With a deadline it returns when a completion is there, when something ended the wait, or at that time.
//!   Without one it does not wait.
//! - An SQE with IOSQE_BUFFER_SELECT takes its buffer from `Ring.buffers`, where the kernel would know it.
//! - `destroy` is the last call.

const std = @import("std");
const assert = std.debug.assert;
const Cqe = @import("ring.zig").Cqe;
const Ring = @import("ring.zig").Ring;
const Sqe = @import("ring.zig").Sqe;
const Wake = @import("ring.zig").Wake;

/// Does the kernel's part if io_uring is not available: it takes SQEs from the same queue and posts
/// CQEs to the same other one, so that nothing above the ring knows the difference. Called on the
/// ring's thread only.
pub const StandIn = struct {
    ctx: *anyopaque,
    /// Takes what is queued, posts what is complete; with a deadline it waits for a completion.
    enter: *const fn (ctx: *anyopaque, ring: *Ring, deadline_ns: ?u64) Wake,
    destroy: *const fn (ctx: *anyopaque) void,
};

/// Queues in our memory, for a stand-in. `descriptor` becomes the ring's.
pub fn makeRing(entries: u32, descriptor: i32, stand_in: StandIn) error{OutOfMemory}!Ring {
    const head_bytes = 64; // The four words of each queue.
    const cq_entries = entries * 4;
    const pages = try anonymous(head_bytes + cq_entries * @sizeOf(Cqe));
    errdefer std.posix.munmap(pages);
    const sqe_pages = try anonymous(entries * @sizeOf(Sqe));
    const words: [*]u32 = @ptrCast(pages.ptr);
    return .{
        .uring = .{
            .fd = descriptor,
            .flags = 0,
            .features = 0,
            .sq = .{
                .head = &words[0],
                .tail = &words[1],
                .flags = &words[2],
                .dropped = &words[3],
                .mask = entries - 1,
                .array = &.{},
                .sqes = @as([*]Sqe, @ptrCast(sqe_pages.ptr))[0..entries],
                .mmap = pages,
                .mmap_sqes = sqe_pages,
            },
            .cq = .{
                .head = &words[4],
                .tail = &words[5],
                .overflow = &words[6],
                .mask = cq_entries - 1,
                .cqes = @as([*]Cqe, @ptrCast(@alignCast(pages.ptr + head_bytes)))[0..cq_entries],
            },
        },
        .stand_in = stand_in,
    };
}

fn anonymous(bytes: usize) error{OutOfMemory}![]align(std.heap.page_size_min) u8 {
    return std.posix.mmap(
        null,
        bytes,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true },
        -1,
        0,
    ) catch error.OutOfMemory;
}

/// A stand-in's side: the next SQE, if there is one.
pub fn takeSubmission(self: *Ring) ?Sqe {
    assert(self.stand_in != null);
    const sq = &self.uring.sq;
    const head = sq.head.*;
    if (head == sq.tail.*) return null;
    const sqe = sq.sqes[head & sq.mask];
    sq.head.* = head +% 1;
    return sqe;
}

/// A stand-in's side: false if the queue is full.
pub fn postCompletion(self: *Ring, cqe: Cqe) bool {
    assert(self.stand_in != null);
    const cq = &self.uring.cq;
    const tail = cq.tail.*;
    if (tail -% cq.head.* > cq.mask) return false;
    cq.cqes[tail & cq.mask] = cqe;
    @atomicStore(u32, cq.tail, tail +% 1, .release);
    return true;
}
