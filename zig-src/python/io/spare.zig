//! Connections that the kernel has accepted and nobody has taken yet. A consumer of `incoming()`
//! that leaves passes them to its listener, whose next accept returns them first: none is lost.

const std = @import("std");
const linux = std.os.linux;
const FifoType = @import("../../queue/fifo.zig").FifoType;
const closeAside = @import("descriptor.zig").closeAside;
const gpa = @import("../../base/memory.zig").gpa;
const recall_bit = @import("../../task/op.zig").recall_bit;
const sync = @import("../../base/sync.zig");

const AcceptedQueue = struct {
    fifo: FifoType(i32) = .{},

    pub fn create() error{OutOfMemory}!*AcceptedQueue {
        const self = try gpa.create(AcceptedQueue);
        self.* = .{};
        return self;
    }

    pub fn destroy(self: *AcceptedQueue) void {
        while (self.pop()) |fd| closeAside(fd, true);
        self.fifo.deinit();
        gpa.destroy(self);
    }

    pub fn count(self: *const AcceptedQueue) usize {
        return self.fifo.count();
    }

    pub fn push(self: *AcceptedQueue, fd: i32) void {
        self.fifo.push(fd) catch {
            _ = linux.close(fd); // There is no memory to remember it by.
        };
    }

    pub fn pop(self: *AcceptedQueue) ?i32 {
        return self.fifo.pop();
    }
};

/// Those of a listener. Any thread.
pub const Spare = struct {
    pub const Queue = AcceptedQueue;

    lock: sync.Lock = .{},
    queue: ?*Queue = null,

    /// Takes the queue over, and sets the recall bit in the listener's word.
    pub fn give(self: *Spare, given: *Queue, users: *std.atomic.Value(u32)) void {
        self.lock.lock();
        defer self.lock.unlock();
        _ = users.fetchOr(recall_bit, .seq_cst);
        if (self.queue) |queue| {
            while (given.pop()) |fd| queue.push(fd);
            given.destroy();
        } else @atomicStore(?*Queue, &self.queue, given, .release);
    }

    /// Clears the bit with the last one.
    pub fn take(self: *Spare, users: *std.atomic.Value(u32)) ?i32 {
        if (@atomicLoad(?*Queue, &self.queue, .acquire) == null) return null;
        self.lock.lock();
        defer self.lock.unlock();
        const queue = self.queue orelse return null;
        const fd = queue.pop();
        if (queue.count() == 0) {
            @atomicStore(?*Queue, &self.queue, null, .release);
            _ = users.fetchAnd(~recall_bit, .seq_cst);
            queue.destroy();
        }
        return fd;
    }

    pub fn isEmpty(self: *const Spare) bool {
        return @atomicLoad(?*Queue, &self.queue, .acquire) == null;
    }

    /// When the listener is closed, or no more ours: as the kernel does with its backlog.
    pub fn closeAll(self: *Spare, users: *std.atomic.Value(u32)) void {
        while (self.take(users)) |fd| closeAside(fd, true);
    }
};

test "what was accepted comes out in its order, however much it is" {
    var queue: AcceptedQueue = .{};
    defer queue.fifo.deinit();
    var next: i32 = 1000;
    var expected: i32 = 1000;
    for (0..50) |round| {
        for (0..40) |_| {
            queue.push(next);
            next += 1;
        }
        for (0..if (round == 49) queue.count() else 39) |_| {
            try std.testing.expectEqual(expected, queue.pop().?);
            expected += 1;
        }
    }
    try std.testing.expectEqual(null, queue.pop());
    try std.testing.expectEqual(next, expected);
}
