//! A read that finds all its bytes in the page cache ends after one system call, without an
//! operation of the ring and without a turn of the executor. If bytes are missing, the ring does
//! the whole read.

const std = @import("std");
const linux = std.os.linux;
const Shard = @import("../../scheduler/shard.zig").Shard;

/// What is longer is copied outside of the interpreter's lock, by the ring.
const bytes_max = 16 * 1024;
/// A task that reads on and on goes by the ring once in so many, where others get their turn.
const in_a_row_max = 32;
/// Reads that go to the ring after one that was not in the cache, before the next try.
const pause = 32;

/// What a descriptor's earlier reads say about the next one. A hint; any thread.
pub const Hint = struct {
    /// How many more go to the ring untried.
    skip: std.atomic.Value(u32) = .init(unasked),

    const unasked = std.math.maxInt(u32);
    const never = unasked - 1;

    fn wantsTry(self: *Hint, fd: i32) bool {
        const skip = self.skip.load(.monotonic);
        if (skip == 0) return true;
        if (skip == never) return false;
        if (skip == unasked) {
            self.skip.store(if (goesPastTheCache(fd)) never else 0, .monotonic);
            return self.skip.load(.monotonic) == 0;
        }
        self.skip.store(skip - 1, .monotonic);
        return false;
    }

    fn missed(self: *Hint, errno: linux.E) void {
        // EOPNOTSUPP: a file system without such reads (preadv2(2), RWF_NOWAIT).
        self.skip.store(if (errno == .OPNOTSUPP) never else pause, .monotonic);
    }
};

/// O_DIRECT: the call would wait for the disk.
fn goesPastTheCache(fd: i32) bool {
    const flags = linux.fcntl(fd, linux.F.GETFL, 0);
    const direct: usize = 1 << @bitOffsetOf(linux.O, "DIRECT");
    return linux.errno(flags) != .SUCCESS or flags & direct != 0;
}

/// Number of bytes read: as many as there is room for, or 0 at the end of the file. Null: the ring has
/// to do it, and says what is wrong if something is.
pub fn readAt(shard: *Shard, hint: *Hint, fd: i32, room: []u8, offset: u64) ?usize {
    return switch (attempt(shard, hint, fd, room, offset)) {
        .count => |count| count,
        .ring, .turn => null,
    };
}

pub const Answer = union(enum) {
    count: usize,
    ring,
    /// Not tried: others get their turn first.
    turn,
};

/// The same for a task that has more to read, and can come back after a turn.
pub fn attempt(shard: *Shard, hint: *Hint, fd: i32, room: []u8, offset: u64) Answer {
    if (room.len > bytes_max or !hint.wantsTry(fd)) return .ring;
    if (!shard.mayEndAtOnce(in_a_row_max)) return .turn;
    const vector = [1]std.posix.iovec{.{ .base = room.ptr, .len = room.len }};
    const rc = linux.preadv2(fd, &vector, 1, @intCast(offset), linux.RWF.NOWAIT);
    const errno = linux.errno(rc);
    if (errno != .SUCCESS) {
        hint.missed(errno);
        return .ring;
    }
    if (rc > 0 and rc < room.len) return .ring; // The end of the file, or of what is cached.
    shard.counters.reads_at_once.add(1);
    return .{ .count = rc };
}
