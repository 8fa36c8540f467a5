//! Whole files that the kernel has at hand: opened, read and closed by the shard's thread itself, a
//! group at a time, apart from the interpreter, whose lock other shards have meanwhile. That is half
//! of what the ring costs, of which a small file feels the operations more than their work. On the
//! first file that the kernel would have to wait for the group ends, and the ring goes on with it.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const clock = @import("../../base/clock.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Shard = @import("../../scheduler/shard.zig").Shard;

/// Files of a group.
pub const files_max = 64;
/// What is longer is read by the ring, into its place at once.
const bytes_max = 16 * 1024;
/// Room for the files of a group.
const scratch_bytes = 256 * 1024;
/// Others of the shard wait for so long. A few files may be read after it.
const group_ns = 250 * std.time.ns_per_us;
const files_per_look = 8;

/// How many bytes the results of an operation may have; one file may always be in memory.
pub const Budget = struct {
    bytes: usize,
    taken: usize = 0,

    /// Whether there is room for so many more; they are taken then.
    pub fn fits(self: *Budget, more: usize) bool {
        if (self.taken > 0 and more > self.bytes -| self.taken) return false;
        self.taken +|= more;
        return true;
    }
};

pub const File = struct {
    index: usize,
    path: [*:0]const u8,
    /// In the shard's scratch memory, until the next group.
    data: []const u8 = &.{},
    errno: linux.E = .SUCCESS,
};

pub const Stop = union(enum) {
    /// All are read, or others get their turn.
    none,
    /// The budget has no room for the next one.
    full,
    /// The ring has to read the next one; it may be open.
    ring: ?i32,
};

/// Reads the first `count` of the files. On the shard's thread, detached from the interpreter.
pub fn readGroup(shard: *Shard, files: []File, count: *usize, budget: *Budget) Stop {
    assert(count.* == 0 and files.len > 0);
    if (shard.scratch.len == 0) shard.scratch = gpa.alloc(u8, scratch_bytes) catch return .{ .ring = null };
    const memory = shard.scratch;
    const end_ns = clock.nowNs() + group_ns;
    var used: usize = 0;
    for (files) |*file| {
        if (memory.len - used <= bytes_max) break;
        if (count.* > 0 and count.* % files_per_look == 0 and clock.nowNs() >= end_ns) break;
        const stop = readOne(file, memory[used..][0 .. bytes_max + 1], budget);
        if (stop != .none) return stop;
        used += file.data.len;
        count.* += 1;
    }
    assert(count.* > 0 and used <= memory.len);
    return .none;
}

fn readOne(file: *File, into: []u8, budget: *Budget) Stop {
    const opened = openCached(file.path);
    switch (linux.errno(opened)) {
        .SUCCESS => {},
        .NOENT, .NOTDIR, .ACCES, .LOOP => |errno| {
            file.errno = errno;
            return .none;
        },
        else => return .{ .ring = null },
    }
    const fd: i32 = @intCast(opened);
    var filled: usize = 0;
    while (true) {
        const vector = [1]std.posix.iovec{.{ .base = into[filled..].ptr, .len = into.len - filled }};
        const rc = linux.preadv2(fd, &vector, 1, @intCast(filled), linux.RWF.NOWAIT);
        switch (linux.errno(rc)) {
            .SUCCESS => {},
            .ISDIR => {
                _ = linux.close(fd);
                file.errno = .ISDIR;
                return .none;
            },
            else => return forRing(fd),
        }
        filled += rc;
        if (rc == 0) break; // Only that is the end: a file system may hand out a page at a time.
        if (filled == into.len) return forRing(fd);
    }
    // A file system with such reads has no work to do at the end of one.
    _ = linux.close(fd);
    if (!budget.fits(filled + 1)) return .full;
    file.data = into[0..filled];
    return .none;
}

/// As the ring opens first: by what is known of the names, and without waiting for another end.
fn openCached(path: [*:0]const u8) usize {
    const How = extern struct { flags: u64, mode: u64, resolve: u64 };
    const resolve_cached = 0x20;
    const flags: u32 = @bitCast(linux.O{ .ACCMODE = .RDONLY, .CLOEXEC = true, .NONBLOCK = true });
    const how: How = .{ .flags = flags, .mode = 0, .resolve = resolve_cached };
    const cwd: usize = @bitCast(@as(isize, linux.AT.FDCWD));
    return linux.syscall4(.openat2, cwd, @intFromPtr(path), @intFromPtr(&how), @sizeOf(How));
}

/// It waits for data from now on.
fn forRing(fd: i32) Stop {
    _ = linux.fcntl(fd, linux.F.SETFL, 0);
    return .{ .ring = fd };
}
