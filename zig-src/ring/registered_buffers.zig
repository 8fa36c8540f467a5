//! Memory that is registered with a shard's ring: the kernel keeps its pages pinned and mapped, so
//! that a transfer to or from it need not look them up each time. On the shard's thread only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const errors = @import("../base/errors.zig");

/// For a shard without io_uring: the slots are kept here alone, a transfer is an ordinary one.
pub const no_ring = -1;

/// Places in the ring's table of buffers.
pub const slots = 64;

const Region = struct { start: usize = 0, length: usize = 0 };

pub const Fixed = struct {
    regions: [slots]Region = @splat(.{}),
    used: u32 = 0,
    has_table: bool = false,

    /// The slot it got, or -errno: ENOBUFS if all are taken, ENOMEM beyond the memlock limit,
    /// EINVAL before Linux 5.19.
    pub fn register(self: *Fixed, ring: i32, memory: []u8) i32 {
        assert(self.used <= slots);
        if (!self.has_table and ring != no_ring) {
            var table = std.mem.zeroes(linux.io_uring_rsrc_register);
            table.nr = slots;
            table.flags = linux.IORING_RSRC_REGISTER_SPARSE;
            const rc = linux.io_uring_register(ring, .REGISTER_BUFFERS2, &table, @sizeOf(@TypeOf(table)));
            if (linux.errno(rc) != .SUCCESS) return errors.negative(linux.errno(rc));
            self.has_table = true;
        }
        for (&self.regions, 0..) |*region, slot| {
            if (region.length > 0) continue;
            const status = update(ring, @intCast(slot), memory.ptr, memory.len);
            if (status < 0) return status;
            region.* = .{ .start = @intFromPtr(memory.ptr), .length = memory.len };
            self.used += 1;
            return @intCast(slot);
        }
        return errors.negative(.NOBUFS);
    }

    /// Transfers under way keep its pages.
    pub fn unregister(self: *Fixed, ring: i32, slot: usize) void {
        if (self.regions[slot].length == 0) return;
        assert(self.used > 0);
        self.regions[slot] = .{};
        self.used -= 1;
        _ = update(ring, @intCast(slot), null, 0);
    }

    fn update(ring: i32, slot: u32, start: ?[*]u8, length: usize) i32 {
        if (ring == no_ring) return 0;
        const vector = [2]usize{ if (start) |p| @intFromPtr(p) else 0, length }; // A struct iovec.
        const tag: u64 = 0;
        var change = std.mem.zeroes(linux.io_uring_rsrc_update2);
        change.offset = slot;
        change.data = @intFromPtr(&vector);
        change.tags = @intFromPtr(&tag);
        change.nr = 1;
        const rc = linux.io_uring_register(ring, .REGISTER_BUFFERS_UPDATE, &change, @sizeOf(@TypeOf(change)));
        const errno = linux.errno(rc);
        return if (errno == .SUCCESS) 0 else errors.negative(errno);
    }

    /// The slot of the registered memory that all of `memory` lies in.
    pub fn indexOf(self: *const Fixed, memory: []const u8) ?u16 {
        if (self.used == 0) return null;
        const start = @intFromPtr(memory.ptr);
        for (&self.regions, 0..) |*region, slot| {
            if (start >= region.start and start + memory.len <= region.start + region.length) return @intCast(slot);
        }
        return null;
    }
};
