//! Tasks that wait until all other tasks of their shard wait for something, for tests that must not
//! sleep. The shard checks when it would go idle. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const clock = @import("../base/clock.zig");
const Shard = @import("shard.zig").Shard;
const Task = @import("../task/task.zig").Task;

/// Owned by the task that waits, until it was woken or has left.
pub const Waiter = struct {
    task: *Task,
    next: ?*Waiter = null,
    waits: bool = false,
};

pub const Quiet = struct {
    first: ?*Waiter = null,

    pub fn join(self: *Quiet, waiter: *Waiter) void {
        assert(!waiter.waits);
        waiter.next = self.first;
        waiter.waits = true;
        self.first = waiter;
        assert(self.first == waiter);
    }

    pub fn leave(self: *Quiet, waiter: *Waiter) void {
        if (!waiter.waits) return;
        var link = &self.first;
        while (link.*) |found| : (link = &found.next) {
            if (found != waiter) continue;
            link.* = waiter.next;
            break;
        }
        waiter.waits = false;
        waiter.next = null;
    }

    /// The shard has nothing to run. True if it has now: what the kernel did at once, a timer, or those that wait.
    pub fn look(self: *Quiet, shard: *Shard) bool {
        assert(self.first != null);
        assert(!shard.hasReady());
        shard.submit();
        if (shard.hasWork() or shard.ring.hasTaskWork()) return true;
        if (shard.timers.next() <= clock.nowNs()) return true;
        while (self.first) |waiter| {
            self.leave(waiter);
            Shard.wake(waiter.task);
        }
        return true;
    }
};
