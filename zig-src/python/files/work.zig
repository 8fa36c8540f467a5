//! Work on a whole tree in one call: count it, or remove it. The calls block, so they are not for a
//! shard's thread.

const std = @import("std");
const linux = std.os.linux;
const gpa = @import("../../base/memory.zig").gpa;
const tree_module = @import("tree.zig");
const Identity = tree_module.Identity;
const Tree = tree_module.Tree;

pub const Stop = std.atomic.Value(bool);

pub const WorkEnd = enum { done, stopped, failed };

pub const Sums = struct {
    files: u64 = 0,
    directories: u64 = 0,
    symlinks: u64 = 0,
    apparent_bytes: u64 = 0,
    disk_bytes: u64 = 0,
    errors: u64 = 0,
};

pub const Count = struct {
    sums: Sums = .{},
    one_file_system: bool,
    links_once: bool,
    counted: std.AutoHashMapUnmanaged(Identity, void) = .empty,

    pub fn run(self: *Count, tree: *Tree, stop: *Stop) !WorkEnd {
        defer self.counted.deinit(gpa);
        var info: linux.Statx = undefined;
        const wanted: linux.STATX = .{ .TYPE = true, .NLINK = true, .INO = true, .SIZE = true, .BLOCKS = true };
        _ = linux.statx(tree.fd(), "", linux.AT.EMPTY_PATH, wanted, &info);
        const device = tree_module.identityIn(&info).device;
        _ = try self.add(&info, tree);
        const flags: u32 = if (tree.options.follow) 0 else linux.AT.SYMLINK_NOFOLLOW;
        // acquire: pairs with the release store in the walker's stop().
        while (!stop.load(.acquire)) {
            const entry = switch (try tree.next() orelse return .done) {
                .entry => |entry| entry,
                .failure => {
                    self.sums.errors += 1;
                    continue;
                },
                .left => continue,
            };
            if (linux.errno(linux.statx(tree.fd(), entry.name, flags, wanted, &info)) != .SUCCESS) {
                self.sums.errors += 1;
                if (entry.kind == linux.DT.DIR) tree.skip();
                continue;
            }
            const directory = linux.S.ISDIR(info.mode);
            const other = self.one_file_system and tree_module.identityIn(&info).device != device;
            if (directory and (other or !try self.add(&info, tree))) tree.skip() else if (!directory)
                _ = try self.add(&info, tree);
        }
        return .stopped;
    }

    /// False: it was counted before.
    fn add(self: *Count, info: *const linux.Statx, tree: *Tree) !bool {
        const directory = linux.S.ISDIR(info.mode);
        const several = tree.options.follow or (!directory and info.nlink > 1);
        if (several and (self.links_once or directory)) {
            const found = try self.counted.getOrPut(gpa, tree_module.identityIn(info));
            if (found.found_existing) return false;
        }
        if (directory) {
            self.sums.directories += 1;
        } else if (linux.S.ISLNK(info.mode)) {
            self.sums.symlinks += 1;
        } else self.sums.files += 1;
        self.sums.apparent_bytes += info.size;
        self.sums.disk_bytes += info.blocks * 512;
        return true;
    }
};

/// Removes a tree from within; that others remove the same at the same time is no error. The first other error
/// ends it.
pub const Removal = struct {
    errno: linux.E = .SUCCESS,
    /// What the error is about.
    path: std.ArrayList(u8) = .empty,

    pub fn run(self: *Removal, tree: *Tree, stop: *Stop) !WorkEnd {
        // acquire: pairs with the release store in the walker's stop().
        while (!stop.load(.acquire)) {
            const going = switch (try tree.next() orelse return .done) {
                .entry => |entry| entry.kind == linux.DT.DIR or try self.unlink(tree, entry.name, 0),
                .failure => |errno| try self.failure(tree, errno),
                .left => |name| if (tree.levels.items.len > 0)
                    // Gone, with all above it: somebody else removes them.
                    tree.fd() < 0 or try self.unlink(tree, name, linux.AT.REMOVEDIR)
                else
                    try self.removeFirst(tree),
            };
            if (!going) return .failed;
        }
        return .stopped;
    }

    /// A directory that cannot be entered: it may be gone, or something else by now.
    fn failure(self: *Removal, tree: *Tree, errno: linux.E) !bool {
        switch (errno) {
            .NOENT => return true,
            .NOTDIR, .LOOP => {
                const start = std.mem.lastIndexOfScalar(u8, tree.failed.items, '/').? + 1;
                const name = try gpa.dupeSentinel(u8, tree.failed.items[start..], 0);
                defer gpa.free(name);
                return self.unlink(tree, name, 0);
            },
            else => return self.fail(errno, tree.failed.items, ""),
        }
    }

    fn unlink(self: *Removal, tree: *Tree, name: [:0]const u8, flags: u32) !bool {
        return switch (linux.errno(linux.unlinkat(tree.fd(), name, flags))) {
            .SUCCESS, .NOENT => true,
            else => |errno| self.fail(errno, tree.directory(), name),
        };
    }

    fn removeFirst(self: *Removal, tree: *Tree) !bool {
        return switch (linux.errno(linux.unlinkat(tree.above, tree.bare, linux.AT.REMOVEDIR))) {
            .SUCCESS, .NOENT => true,
            else => |errno| self.fail(errno, tree.directory(), ""),
        };
    }

    fn fail(self: *Removal, errno: linux.E, directory: []const u8, name: []const u8) !bool {
        self.errno = errno;
        try self.path.appendSlice(gpa, directory);
        if (name.len > 0) {
            if (self.path.getLastOrNull() != '/') try self.path.append(gpa, '/');
            try self.path.appendSlice(gpa, name);
        }
        return false;
    }
};

test "a branch that is deeper than what is kept open is walked, counted and removed" {
    const t = std.testing;
    const depth = 50;
    var room: [64]u8 = undefined;
    const top = try std.fmt.bufPrintSentinel(&room, "/tmp/spargio-tree-{d}", .{linux.gettid()}, 0);
    var at: i32 = linux.AT.FDCWD;
    for (0..depth) |n| {
        const name: [*:0]const u8 = if (n == 0) top.ptr else "down";
        try t.expectEqual(linux.E.SUCCESS, linux.errno(linux.mkdirat(at, name, 0o700)));
        const below = linux.openat(at, name, .{ .DIRECTORY = true }, 0);
        try t.expectEqual(linux.E.SUCCESS, linux.errno(below));
        if (n > 0) _ = linux.close(at);
        at = @intCast(below);
        const file = linux.openat(at, "file", .{ .ACCMODE = .WRONLY, .CREAT = true }, 0o600);
        try t.expectEqual(linux.E.SUCCESS, linux.errno(file));
        _ = linux.close(@intCast(file));
    }
    _ = linux.close(at);
    var stop: Stop = .init(false);
    {
        var tree: Tree = .{ .options = .{} };
        defer tree.close();
        try t.expectEqual(linux.E.SUCCESS, try tree.open(top, false));
        var count: Count = .{ .one_file_system = false, .links_once = true };
        try t.expectEqual(WorkEnd.done, try count.run(&tree, &stop));
        try t.expectEqual(depth, count.sums.directories);
        try t.expectEqual(depth, count.sums.files);
        try t.expectEqual(0, count.sums.errors);
    }
    var tree: Tree = .{ .options = .{ .whole = true } };
    defer tree.close();
    try t.expectEqual(linux.E.SUCCESS, try tree.open(top, true));
    var removal: Removal = .{};
    defer removal.path.deinit(gpa);
    try t.expectEqual(WorkEnd.done, try removal.run(&tree, &stop));
    var gone: Tree = .{ .options = .{} };
    defer gone.close();
    try t.expectEqual(linux.E.NOENT, try gone.open(top, false));
}
