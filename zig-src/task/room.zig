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

    pub const Waiter = struct {
        task: *Task,
        link: LinkType(Waiter) = .{},
        /// Told in place of the task, under the lock.
        told: ?*const fn (*Waiter) void = null,
    };

    /// Look for room afterwards: what left the queue before is not told. `waiter` stays the caller's,
    /// until it was told or has left.
    pub fn join(self: *Room, waiter: *Waiter) void {
        self.lock.lock();
        defer self.lock.unlock();
        self.waiters.pushBack(waiter);
        _ = self.waiting.fetchAdd(1, .seq_cst);
    }

    /// False: it was told, or never joined.
    pub fn leave(self: *Room, waiter: *Waiter) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (!waiter.link.linked) return false;
        self.waiters.remove(waiter);
        _ = self.waiting.fetchSub(1, .seq_cst);
        return true;
    }

    pub fn isWanted(self: *const Room) bool {
        return self.waiting.load(.seq_cst) > 0;
    }

    /// There is room for so many.
    pub fn tell(self: *Room, free: usize, wake: *const fn (*Task) void) void {
        self.lock.lock();
        defer self.lock.unlock();
        for (0..free) |_| {
            const waiter = self.waiters.popFront() orelse return;
            std.debug.assert(!waiter.link.linked);
            _ = self.waiting.fetchSub(1, .seq_cst);
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
    try std.testing.expect(room.leave(&waiters[3]));
    try std.testing.expect(!room.isWanted());
    room.tell(1, S.wake);
}
