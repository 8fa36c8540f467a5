//! Tasks that wait until a shard's stealable queue has room again; the one that waits longest goes
//! first. Any thread.

const std = @import("std");
const sync = @import("../base/sync.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const ChainType = @import("../queue/chain.zig").ChainType;
const LinkType = @import("../queue/chain.zig").LinkType;
const Task = @import("task.zig").Task;

pub const Room = struct {
    lock: sync.Lock = .{},
    waiters: ChainType(Waiter) = .{},
    /// Their number, which the shard looks at without the lock.
    waiting: Atomic(u32) = .init(0),
    /// Those that were told and have not come back: so many free places are theirs to try.
    trying: Atomic(u32) = .init(0),

    pub const Waiter = struct {
        task: *Task,
        link: LinkType(Waiter) = .{},
        /// Told in place of the task, under the lock.
        told: ?*const fn (*Waiter) void = null,
        /// It was told and has not come back; under the lock.
        tries: bool = false,
    };

    /// Look for room afterwards: what left the queue before is not reported. `waiter` stays the caller's,
    /// until it has come back or left.
    pub fn join(self: *Room, waiter: *Waiter) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.waiters.pushBack(waiter);
        _ = self.waiting.fetchAdd(1, .seq_cst);
    }

    /// False: it was served, or never joined.
    pub fn leave(self: *Room, waiter: *Waiter) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (!waiter.link.linked) return false;
        self.waiters.remove(waiter);
        _ = self.waiting.fetchSub(1, .seq_cst);
        return true;
    }

    /// One that was told goes on, or gives up. True: it may have left the place to the next, so somebody has to
    /// look again.
    pub fn comeBack(self: *Room, waiter: *Waiter) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (!waiter.tries) return false;
        waiter.tries = false;
        _ = self.trying.fetchSub(1, .seq_cst);
        return self.waiters.head != null;
    }

    pub fn isWanted(self: *const Room) bool {
        return self.waiting.load(.seq_cst) > 0;
    }

    /// Somebody is to be told of a free place that nobody tries.
    pub fn isDue(self: *const Room, free: usize) bool {
        return self.isWanted() and free > self.trying.load(.seq_cst);
    }

    /// There is room for so many, less those that try already.
    pub fn tell(self: *Room, free: usize, wake: *const fn (*Task) void) void {
        self.lock.lock();
        defer self.lock.unlock();
        for (0..free -| self.trying.load(.monotonic)) |_| {
            const waiter = self.waiters.popFront() orelse return;
            std.debug.assert(!waiter.link.linked and !waiter.tries);
            _ = self.waiting.fetchSub(1, .seq_cst);
            waiter.tries = true;
            _ = self.trying.fetchAdd(1, .seq_cst);
            // Under the lock: it cannot vanish before.
            if (waiter.told) |told| told(waiter) else wake(waiter.task);
        }
    }
};

test "as many are told as there is room for, the longest waiting first" {
    const S = struct {
        var tasks: [4]Task = undefined;
        var told: usize = 0;

        fn wake(task: *Task) void {
            std.debug.assert(task == &tasks[1] or task == &tasks[2]);
            told += 1;
        }
    };
    var room: Room = .{};
    var waiters: [4]Room.Waiter = undefined;
    for (&waiters, &S.tasks) |*waiter, *task| {
        waiter.* = .{ .task = task };
        room.join(waiter);
    }
    try std.testing.expect(room.leave(&waiters[0]));
    try std.testing.expect(!room.leave(&waiters[0]));
    room.tell(2, S.wake);
    try std.testing.expectEqual(2, S.told);
    // The two places are theirs, until one says that it is done with its own.
    room.tell(2, S.wake);
    try std.testing.expect(!room.isDue(2));
    try std.testing.expect(!room.comeBack(&waiters[0]));
    try std.testing.expect(room.comeBack(&waiters[1]));
    try std.testing.expect(!room.comeBack(&waiters[1]));
    try std.testing.expect(room.isDue(2));
    try std.testing.expect(room.leave(&waiters[3]));
    try std.testing.expect(!room.isWanted());
    room.tell(1, S.wake);
}
