//! Whether a shard sleeps, and which producer wakes it: a 4-state word. Producers publish their
//! payload first, then call `notify`; only the one that moves `parked` to `notified` touches the
//! kernel, so a shard that is awake is never rung. The payload stays in user-space queues: a lost
//! bell costs latency.
//!
//! The handshake (all sequentially consistent): the shard stores `parking` and then looks at its
//! queues; a producer stores into a queue and then looks at the word. One of them sees the other.

const std = @import("std");
const assert = std.debug.assert;
const Atomic = @import("../base/platform.zig").Atomic;

pub const State = enum(u8) { running, parking, parked, notified };

pub const ParkState = struct {
    state: Atomic(State) = .init(.running),

    /// Any thread, after publishing. True: the caller must ring.
    pub fn notify(self: *ParkState) bool {
        while (true) {
            switch (self.state.load(.seq_cst)) {
                // Awake, or rung already: it looks at its queues before it sleeps.
                .running, .notified => return false,
                .parking => if (self.state.cmpxchgStrong(.parking, .notified, .seq_cst, .seq_cst) == null)
                    return false,
                .parked => if (self.state.cmpxchgStrong(.parked, .notified, .seq_cst, .seq_cst) == null)
                    return true,
            }
        }
    }

    pub fn isParked(self: *const ParkState) bool {
        return self.state.load(.seq_cst) == .parked;
    }

    /// Any thread: it sleeps, or is about to, and nobody has rung.
    pub fn sleeps(self: *const ParkState) bool {
        return switch (self.state.load(.seq_cst)) {
            .parking, .parked => true,
            .running, .notified => false,
        };
    }

    /// The shard: announces the park. It must look at every source of work before `commit`.
    pub fn announce(self: *ParkState) void {
        const before = self.state.swap(.parking, .seq_cst);
        assert(before == .running);
    }

    /// The shard: false if a producer came in between; the shard is then running again.
    pub fn commit(self: *ParkState) bool {
        if (self.state.cmpxchgStrong(.parking, .parked, .seq_cst, .seq_cst)) |seen| {
            assert(seen == .notified);
            self.state.store(.running, .seq_cst);
            return false;
        }
        return true;
    }

    /// The shard: back to work, after a wait or instead of one. True if it was rung.
    pub fn resumed(self: *ParkState) bool {
        const before = self.state.swap(.running, .seq_cst);
        assert(before != .running);
        return before == .notified;
    }
};

test "each interleaving of one park and one notify" {
    // Notify before, between and after the steps of a park: the shard never sleeps on a payload
    // without a bell, and never gets a bell while it is awake.
    for (0..4) |moment| {
        var bell: ParkState = .{};
        var payload = false;
        var rung = false;
        const Producer = struct {
            fn publish(b: *ParkState, p: *bool, r: *bool) void {
                p.* = true;
                r.* = b.notify();
            }
        };
        if (moment == 0) Producer.publish(&bell, &payload, &rung);
        bell.announce();
        if (moment == 1) Producer.publish(&bell, &payload, &rung);
        const found = payload;
        if (moment == 2) Producer.publish(&bell, &payload, &rung);
        if (found) {
            _ = bell.resumed();
            try std.testing.expect(!rung);
            continue;
        }
        const asleep = bell.commit();
        if (moment == 3) Producer.publish(&bell, &payload, &rung);
        try std.testing.expectEqual(asleep, rung);
        if (asleep) try std.testing.expect(bell.resumed());
        try std.testing.expectEqual(State.running, bell.state.load(.seq_cst));
    }
}
