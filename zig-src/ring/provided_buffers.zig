//! Buffers that the kernel picks when data has come (a provided buffer ring, 5.19), so that a receive
//! that waits holds no memory. One set per shard, made at the first such receive; the shard's thread
//! only.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const posix = std.posix;
const IoUring = linux.IoUring;

/// Bytes of one, and how many a shard has. Pages that were never filled take no memory.
pub const size = 16 * 1024;
pub const count = 128;

/// The buffer group of our rings.
pub const group = 0;

const page = std.heap.page_size_min;

pub const Buffers = struct {
    /// Null if the kernel has no part in it: then those that are free are kept here.
    ring: ?*align(page) linux.io_uring_buf_ring,
    memory: []align(page) u8,
    free: [count]u8 = undefined,
    free_count: u8 = 0,
    /// Filled, and not given back yet.
    in_use: u32 = 0,

    /// On the thread of the ring `fd`; -1: for a shard without io_uring. Null if the kernel cannot,
    /// or has no memory.
    pub fn init(fd: i32) ?Buffers {
        const memory = posix.mmap(
            null,
            size * count,
            .{ .READ = true, .WRITE = true },
            .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true },
            -1,
            0,
        ) catch return null;
        if (fd < 0) {
            var self: Buffers = .{ .ring = null, .memory = memory };
            for (0..count) |id| self.untake(@intCast(count - 1 - id));
            return self;
        }
        const ring = IoUring.setup_buf_ring(fd, count, group, .{ .inc = false }) catch {
            posix.munmap(memory);
            return null;
        };
        // A forked child must not make the kernel's view of these pages another than ours.
        _ = linux.madvise(@ptrCast(ring), count * @sizeOf(linux.io_uring_buf), linux.MADV.DONTFORK);
        IoUring.buf_ring_init(ring);
        const self: Buffers = .{ .ring = ring, .memory = memory };
        for (0..count) |id| IoUring.buf_ring_add(ring, self.all(@intCast(id)), @intCast(id), mask, @intCast(id));
        IoUring.buf_ring_advance(ring, count);
        return self;
    }

    /// After the ring was closed.
    pub fn deinit(self: *Buffers) void {
        if (self.ring) |given| {
            var ring: []align(page) u8 = undefined;
            ring.ptr = @ptrCast(given);
            ring.len = count * @sizeOf(linux.io_uring_buf);
            posix.munmap(ring);
        }
        posix.munmap(self.memory);
        self.* = undefined;
    }

    pub fn all(self: *const Buffers, id: u16) []u8 {
        assert(id < count);
        return self.memory[@as(usize, id) * size ..][0..size];
    }

    /// The kernel may fill it again.
    pub fn giveBack(self: *Buffers, id: u16) void {
        assert(self.in_use > 0);
        self.in_use -= 1;
        const ring = self.ring orelse return self.untake(id);
        IoUring.buf_ring_add(ring, self.all(id), id, mask, 0);
        IoUring.buf_ring_advance(ring, 1);
    }

    /// In the kernel's place: nothing came into it.
    pub fn untake(self: *Buffers, id: u16) void {
        assert(self.ring == null);
        self.free[self.free_count] = @intCast(id);
        self.free_count += 1;
    }

    /// In the kernel's place: one to fill. Null if all are in hands.
    pub fn take(self: *Buffers) ?u16 {
        assert(self.ring == null);
        if (self.free_count == 0) return null;
        self.free_count -= 1;
        return self.free[self.free_count];
    }
};

const mask = IoUring.buf_ring_mask(count);

/// What a completion says that filled the buffer `id`.
pub fn flagsOf(id: u16) u32 {
    return linux.IORING_CQE_F_BUFFER | @as(u32, id) << linux.IORING_CQE_BUFFER_SHIFT;
}

/// The buffer that a completion names.
pub fn idOf(cqe_flags: u32) ?u16 {
    if (cqe_flags & linux.IORING_CQE_F_BUFFER == 0) return null;
    return @intCast(cqe_flags >> linux.IORING_CQE_BUFFER_SHIFT);
}
