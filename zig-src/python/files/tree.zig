//! The entries of a directory, or of a tree, one after the other: by getdents64 in large blocks, which bring the
//! types, and by directory descriptors, so that no name is too long and a tree may be of any depth. At most
//! `open_max` directories of the branch in work are open. Memory: one block, and the names of the directories in
//! one block per level. Calls that block, so not for a shard's thread; one thread at a time.

const std = @import("std");
const assert = std.debug.assert;
const linux = std.os.linux;
const gpa = @import("../../base/memory.zig").gpa;

pub const Error = error{OutOfMemory};

/// Directories of a branch that are open at a time, besides the first.
const open_max = 32;

/// The longest path that one call of the kernel takes, with its closing NUL.
const path_max = 4096;

/// What one getdents64 may bring: some 2,000 entries.
const block_bytes = 64 << 10;

var empty = [0:0]u8{};

pub const Identity = struct { device: u64, inode: u64 };

pub const Entry = struct {
    name: [:0]const u8,
    /// DT_*; never unknown.
    kind: u8,
    inode: u64,
};

/// What comes next.
pub const Item = union(enum) {
    entry: Entry,
    /// A directory could not be read or entered: that of `Tree.failed`.
    failure: linux.E,
    /// All of the last directory was given out; it is `name` in the one above.
    left: [:0]const u8,
};

const Level = struct {
    /// -1 if it is closed for the time being.
    fd: i32,
    /// Of its name in the path, and the end of that.
    name_start: usize,
    end: usize,
    /// Directories in it that are to be entered: names with their NULs.
    pending: std.ArrayList(u8) = .empty,
    pending_at: usize = 0,
    /// Where the next block begins.
    position: i64 = 0,
    /// There is no further block.
    ended: bool = false,
    /// Known if it is needed.
    identity: ?Identity = null,
};

pub const Options = struct {
    /// Enter directories.
    deep: bool = true,
    /// Enter what symbolic links lead to, each directory once.
    follow: bool = false,
    /// Read all of a directory before the first in it is entered.
    whole: bool = false,
};

pub const Tree = struct {
    options: Options,
    /// The directory that the first one's name is relative to.
    above: i32 = linux.AT.FDCWD,
    /// What `above` calls the first one.
    bare: [:0]u8 = &empty,
    levels: std.ArrayList(Level) = .empty,
    /// Of the last level, as the caller calls it.
    path: std.ArrayList(u8) = .empty,
    /// Directories that were entered, if links are followed.
    entered: std.AutoHashMapUnmanaged(Identity, void) = .empty,
    block: []align(8) u8 = &.{},
    block_end: usize = 0,
    block_at: usize = 0,
    /// Blocks that were read so far.
    blocks: u64 = 0,
    /// Where the last directory of `pending` begins.
    last_pending: usize = 0,
    /// The directory of a failure.
    failed: std.ArrayList(u8) = .empty,
    /// Given out by `left`.
    left_name: std.ArrayList(u8) = .empty,

    /// Opens the first directory, with `flags` besides the usual ones.
    pub fn open(self: *Tree, path: []const u8, nofollow: bool) Error!linux.E {
        assert(self.levels.items.len == 0);
        self.block = try gpa.alignedAlloc(u8, .@"8", block_bytes);
        try self.path.appendSlice(gpa, path);
        const start_errno = try self.reach();
        if (start_errno != .SUCCESS) return start_errno;
        const rc = linux.openat(self.above, self.bare, flagsOf(nofollow), 0);
        if (linux.errno(rc) != .SUCCESS) return linux.errno(rc);
        const first: i32 = @intCast(rc);
        errdefer _ = linux.close(first);
        if (self.options.follow) if (identityOf(first)) |identity| try self.entered.put(gpa, identity, {});
        try self.levels.append(gpa, .{ .fd = first, .name_start = 0, .end = self.path.items.len });
        return .SUCCESS;
    }

    /// Goes down a path that is too long for one call.
    fn reach(self: *Tree) Error!linux.E {
        var rest: []const u8 = self.path.items;
        while (rest.len >= path_max) {
            const cut = std.mem.lastIndexOfScalar(u8, rest[1 .. path_max - 1], '/') orelse break;
            var text: [path_max]u8 = undefined;
            @memcpy(text[0 .. cut + 1], rest[0 .. cut + 1]);
            text[cut + 1] = 0;
            const flags: linux.O = .{ .PATH = true, .DIRECTORY = true, .CLOEXEC = true };
            const rc = linux.openat(self.above, @ptrCast(&text), flags, 0);
            if (linux.errno(rc) != .SUCCESS) return linux.errno(rc);
            self.closeAbove();
            self.above = @intCast(rc);
            rest = std.mem.trimStart(u8, rest[cut + 1 ..], "/");
            if (rest.len == 0) rest = ".";
        }
        self.bare = try gpa.dupeSentinel(u8, rest, 0);
        return .SUCCESS;
    }

    fn closeAbove(self: *Tree) void {
        if (self.above >= 0) _ = linux.close(self.above);
        self.above = linux.AT.FDCWD;
    }

    pub fn close(self: *Tree) void {
        for (self.levels.items) |*level| drop(level);
        self.levels.deinit(gpa);
        self.path.deinit(gpa);
        self.entered.deinit(gpa);
        self.failed.deinit(gpa);
        self.left_name.deinit(gpa);
        gpa.free(self.block);
        if (self.bare.len > 0) gpa.free(self.bare);
        self.closeAbove();
        self.* = .{ .options = self.options };
    }

    fn drop(level: *Level) void {
        if (level.fd >= 0) _ = linux.close(level.fd);
        level.pending.deinit(gpa);
    }

    /// Null: that was all.
    pub fn next(self: *Tree) Error!?Item {
        while (self.levels.items.len > 0) {
            if (self.block_at < self.block_end) {
                if (try self.take()) |entry| return .{ .entry = entry };
                continue;
            }
            const level = self.last();
            const waiting = level.pending_at < level.pending.items.len;
            if (!level.ended and (self.options.whole or !waiting)) {
                const errno = self.readBlock(level);
                if (errno != .SUCCESS) return try self.failure(errno, "");
            } else if (waiting) {
                if (try self.enterNext(level)) |item| return item;
            } else return try self.leave();
        }
        return null;
    }

    pub fn last(self: *Tree) *Level {
        return &self.levels.items[self.levels.items.len - 1];
    }

    /// Of the directory that the entry given out last is in.
    pub fn fd(self: *Tree) i32 {
        return self.last().fd;
    }

    pub fn directory(self: *Tree) []const u8 {
        return self.path.items;
    }

    /// The directory that was given out last is not entered.
    pub fn skip(self: *Tree) void {
        self.last().pending.shrinkRetainingCapacity(self.last_pending);
    }

    /// A directory that was entered is gone: nothing more of it.
    fn forget(level: *Level) void {
        level.pending.clearRetainingCapacity();
        level.pending_at = 0;
        level.ended = true;
    }

    fn readBlock(self: *Tree, level: *Level) linux.E {
        if (level.fd < 0) {
            forget(level);
            return .NOENT;
        }
        while (true) {
            const rc = linux.getdents64(level.fd, self.block.ptr, @intCast(self.block.len));
            switch (linux.errno(rc)) {
                .SUCCESS => {
                    self.block_at = 0;
                    self.blocks += 1;
                    self.block_end = rc;
                    level.ended = rc == 0;
                    return .SUCCESS;
                },
                .INTR => {},
                // Removed meanwhile: it is empty.
                .NOENT => {
                    level.ended = true;
                    return .SUCCESS;
                },
                else => |errno| {
                    level.ended = true;
                    return errno;
                },
            }
        }
    }

    /// The next entry of the block; null for "." and "..".
    fn take(self: *Tree) Error!?Entry {
        const found: *align(8) linux.dirent64 = @ptrCast(@alignCast(self.block.ptr + self.block_at));
        self.block_at += found.reclen;
        assert(self.block_at <= self.block_end);
        const level = self.last();
        level.position = @bitCast(found.off);
        const name = std.mem.span(@as([*:0]const u8, @ptrCast(&found.name)));
        if (name[0] == '.' and (name.len == 1 or (name.len == 2 and name[1] == '.'))) return null;
        var kind = found.type;
        if (kind == linux.DT.UNKNOWN) kind = kindOf(level.fd, name, false) orelse linux.DT.UNKNOWN;
        self.last_pending = level.pending.items.len;
        if (self.options.deep) {
            const leads = kind == linux.DT.DIR or
                (self.options.follow and kind == linux.DT.LNK and kindOf(level.fd, name, true) == linux.DT.DIR);
            if (leads) try level.pending.appendSlice(gpa, name[0 .. name.len + 1]);
        }
        return .{ .name = name, .kind = kind, .inode = found.ino };
    }

    /// Null: it was entered, or need not be.
    fn enterNext(self: *Tree, level: *Level) Error!?Item {
        const name = std.mem.span(@as([*:0]const u8, @ptrCast(level.pending.items.ptr + level.pending_at)));
        const errno = try self.enter(level, name);
        // `level` may be elsewhere by now, and the name with it.
        const above = &self.levels.items[self.levels.items.len - @as(usize, if (errno == .SUCCESS) 2 else 1)];
        const same = std.mem.span(@as([*:0]const u8, @ptrCast(above.pending.items.ptr + above.pending_at)));
        const item = switch (errno) {
            .SUCCESS, .ALREADY => null,
            else => try self.failure(errno, same),
        };
        above.pending_at += same.len + 1;
        if (above.pending_at == above.pending.items.len) {
            above.pending.clearRetainingCapacity();
            above.pending_at = 0;
        }
        return item;
    }

    /// ALREADY: it was entered before, through a link.
    fn enter(self: *Tree, level: *Level, name: [:0]const u8) Error!linux.E {
        const rc = linux.openat(level.fd, name, flagsOf(!self.options.follow), 0);
        if (linux.errno(rc) != .SUCCESS) return linux.errno(rc);
        const below: i32 = @intCast(rc);
        errdefer _ = linux.close(below);
        if (self.options.follow) if (identityOf(below)) |identity| {
            const found = try self.entered.getOrPut(gpa, identity);
            if (found.found_existing) {
                _ = linux.close(below);
                return .ALREADY;
            }
        };
        try self.path.ensureUnusedCapacity(gpa, name.len + 1); // The path may lie elsewhere from here on.
        try self.levels.ensureUnusedCapacity(gpa, 1);
        if (!std.mem.endsWith(u8, self.path.items, "/")) self.path.appendAssumeCapacity('/');
        const start = self.path.items.len;
        self.path.appendSliceAssumeCapacity(name);
        self.levels.appendAssumeCapacity(.{ .fd = below, .name_start = start, .end = self.path.items.len });
        // The first one stays open: it is the way back.
        if (self.levels.items.len > open_max + 1) {
            const old = &self.levels.items[self.levels.items.len - 1 - open_max];
            if (old.fd >= 0) self.closeForNow(old);
        }
        return .SUCCESS;
    }

    fn closeForNow(_: *Tree, level: *Level) void {
        level.identity = identityOf(level.fd) orelse return;
        _ = linux.close(level.fd);
        level.fd = -1;
    }

    fn leave(self: *Tree) Error!Item {
        var level = self.levels.pop().?;
        defer drop(&level);
        self.left_name.clearRetainingCapacity();
        try self.left_name.appendSlice(gpa, self.path.items[level.name_start..]);
        try self.left_name.append(gpa, 0);
        if (self.levels.items.len > 0) {
            const above = self.last();
            self.path.shrinkRetainingCapacity(above.end);
            if (above.fd < 0) self.openAgain(above, level.fd);
            if (above.fd < 0) forget(above);
        }
        return .{ .left = self.left_name.items[0 .. self.left_name.items.len - 1 :0] };
    }

    /// A directory that was closed on the way down.
    fn openAgain(self: *Tree, level: *Level, below: i32) void {
        if (below >= 0 and !self.options.follow) level.fd = openSame(below, "..", level.identity.?);
        if (level.fd < 0) level.fd = self.byNames();
        if (level.fd >= 0) _ = linux.lseek(level.fd, level.position, linux.SEEK.SET);
    }

    /// From the first one, because the one in work is elsewhere by now, or was reached by a link.
    fn byNames(self: *Tree) i32 {
        var at = self.levels.items[0].fd;
        for (self.levels.items[1..]) |*level| {
            var text: [256]u8 = undefined;
            const name = self.path.items[level.name_start..level.end];
            const next_fd = if (level.fd >= 0) level.fd else if (name.len < text.len) blk: {
                @memcpy(text[0..name.len], name);
                text[name.len] = 0;
                break :blk openSame(at, text[0..name.len :0], level.identity orelse return -1);
            } else -1;
            if (at != self.levels.items[0].fd and !self.holds(at)) _ = linux.close(at);
            if (next_fd < 0) return -1;
            at = next_fd;
        }
        return at;
    }

    fn holds(self: *Tree, descriptor: i32) bool {
        for (self.levels.items) |*level| if (level.fd == descriptor) return true;
        return false;
    }

    fn failure(self: *Tree, errno: linux.E, name: []const u8) Error!Item {
        self.failed.clearRetainingCapacity();
        try self.failed.appendSlice(gpa, self.path.items);
        if (name.len > 0) {
            if (self.failed.getLastOrNull() != '/') try self.failed.append(gpa, '/');
            try self.failed.appendSlice(gpa, name);
        }
        return .{ .failure = errno };
    }
};

fn flagsOf(nofollow: bool) linux.O {
    return .{ .DIRECTORY = true, .CLOEXEC = true, .NOFOLLOW = nofollow };
}

fn openSame(above: i32, name: [*:0]const u8, wanted: Identity) i32 {
    const rc = linux.openat(above, name, flagsOf(false), 0);
    if (linux.errno(rc) != .SUCCESS) return -1;
    const found: i32 = @intCast(rc);
    if (identityOf(found)) |identity| if (std.meta.eql(identity, wanted)) return found;
    _ = linux.close(found);
    return -1;
}

pub fn identityOf(fd: i32) ?Identity {
    var info: linux.Statx = undefined;
    const rc = linux.statx(fd, "", linux.AT.EMPTY_PATH, .{ .INO = true }, &info);
    return if (linux.errno(rc) == .SUCCESS) identityIn(&info) else null;
}

pub fn identityIn(info: *const linux.Statx) Identity {
    return .{ .device = @as(u64, info.dev_major) << 32 | info.dev_minor, .inode = info.ino };
}

/// DT_* of a name; null: it cannot be looked at.
fn kindOf(fd: i32, name: [:0]const u8, follow: bool) ?u8 {
    var info: linux.Statx = undefined;
    const flags: u32 = if (follow) 0 else linux.AT.SYMLINK_NOFOLLOW;
    if (linux.errno(linux.statx(fd, name, flags, .{ .TYPE = true }, &info)) != .SUCCESS) return null;
    return @intCast(info.mode >> 12 & 15);
}
