//! Completions that found the ring's queue full, as the kernel keeps them: they go first when there is room.
//! On the ring's thread.

const std = @import("std");
const linux = std.os.linux;
const gpa = @import("../base/memory.zig").gpa;
const Cqe = @import("../ring/ring.zig").Cqe;
const Ring = @import("../ring/ring.zig").Ring;

pub const Overflow = struct {
    list: std.ArrayList(Cqe) = .empty,
    /// The first that is left.
    start: usize = 0,

    pub fn deinit(self: *Overflow) void {
        self.list.deinit(gpa);
    }

    pub fn post(self: *Overflow, ring: *Ring, cqe: Cqe) void {
        if (self.list.items.len == 0 and ring.postCompletion(cqe)) return;
        self.list.append(gpa, cqe) catch
            @panic("spargio: no memory to keep a completion");
        mark(ring, true);
    }

    /// What did not fit goes before all that is new.
    pub fn flush(self: *Overflow, ring: *Ring) void {
        if (self.list.items.len == 0) return;
        while (self.start < self.list.items.len) : (self.start += 1) {
            if (!ring.postCompletion(self.list.items[self.start])) return;
        }
        self.list.clearRetainingCapacity();
        self.start = 0;
        mark(ring, false);
    }

    fn mark(ring: *Ring, value: bool) void {
        const bit: u32 = linux.IORING_SQ_CQ_OVERFLOW;
        const flags = ring.uring.sq.flags;
        flags.* = if (value) flags.* | bit else flags.* & ~bit;
    }
};
