//! What a walk has found: plain memory that a thread fills outside of the interpreter, and that becomes objects
//! later, maybe on another thread.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const tree_module = @import("tree.zig");
const entry_module = @import("entry.zig");
const DirEntry = entry_module.DirEntry;
const Object = api.Object;
const Tree = tree_module.Tree;
const py = &api.py;

const Record = struct {
    name_start: usize,
    inode: u64,
    /// Which of the directories.
    directory: u32,
    name_length: u16,
    kind: u8,
    /// There is a Statx of it.
    looked: bool,
};

/// A piece of `bytes`.
const Span = struct { start: usize, end: usize };

pub const decode = entry_module.decode;

pub const Found = struct {
    records: std.ArrayList(Record) = .empty,
    /// One for each record, if they were asked for.
    infos: std.ArrayList(linux.Statx) = .empty,
    bytes: std.ArrayList(u8) = .empty,
    directories: std.ArrayList(Span) = .empty,
    /// An error that came after all of these: it is about the last directory.
    errno: linux.E = .SUCCESS,

    pub fn deinit(self: *Found) void {
        self.records.deinit(gpa);
        self.infos.deinit(gpa);
        self.bytes.deinit(gpa);
        self.directories.deinit(gpa);
    }

    pub fn count(self: *const Found) usize {
        return self.records.items.len;
    }

    /// What is noted next is in this one.
    pub fn noteDirectory(self: *Found, name: []const u8) !void {
        try self.directories.append(gpa, try self.keep(name));
    }

    pub fn noteError(self: *Found, name: []const u8, errno: linux.E) !void {
        try self.noteDirectory(name);
        self.errno = errno;
    }

    fn keep(self: *Found, text: []const u8) !Span {
        const start = self.bytes.items.len;
        try self.bytes.appendSlice(gpa, text);
        return .{ .start = start, .end = self.bytes.items.len };
    }

    /// In the directory that was noted last, which `tree` is in.
    pub fn note(self: *Found, tree: *Tree, entry: tree_module.Entry, metadata: bool) !void {
        const name = try self.keep(entry.name);
        var record: Record = .{
            .name_start = name.start,
            .name_length = @intCast(entry.name.len),
            .directory = @intCast(self.directories.items.len - 1),
            .kind = entry.kind,
            .inode = entry.inode,
            .looked = false,
        };
        if (metadata) {
            const info = try self.infos.addOne(gpa);
            const flags: u32 = if (tree.options.follow) 0 else linux.AT.SYMLINK_NOFOLLOW;
            const all: linux.STATX = @bitCast(@as(u32, 0xfff));
            record.looked = linux.errno(linux.statx(tree.fd(), entry.name, flags, all, info)) == .SUCCESS;
        }
        try self.records.append(gpa, record);
    }

    /// Attached: the last directory's name.
    pub fn lastDirectory(self: *const Found) ?*Object {
        const span = self.directories.items[self.directories.items.len - 1];
        return decode(self.bytes.items[span.start..span.end]);
    }
};

/// Makes the objects, one after the other. Attached; one thread at a time.
pub const Maker = struct {
    /// Of the directory that the last one was in.
    prefix: ?*Object = null,
    directory: u32 = undefined,

    pub fn deinit(self: *Maker) void {
        api.drop(&self.prefix);
    }

    /// A DirEntry; null with the exception set.
    pub fn make(self: *Maker, found: *const Found, i: usize) ?*Object {
        const record = &found.records.items[i];
        if (self.prefix == null or self.directory != record.directory) {
            self.deinit();
            self.prefix = prefixOf(found, record.directory) orelse return null;
            self.directory = record.directory;
        }
        const name = found.bytes.items[record.name_start..][0..record.name_length];
        const numbers = if (record.looked) numbersOf(&found.infos.items[i]) orelse return null else null;
        return DirEntry.make(name, self.prefix.?, numbers, record.inode, record.kind);
    }

    /// With the slash before the name.
    fn prefixOf(found: *const Found, directory: u32) ?*Object {
        const span = found.directories.items[directory];
        const name = found.bytes.items[span.start..span.end];
        const decoded = decode(name) orelse return null;
        if (name.len > 0 and name[name.len - 1] == '/') return decoded;
        defer py.Py_DecRef(decoded);
        const slash = api.string("/") orelse return null;
        defer py.Py_DecRef(slash);
        return py.PyUnicode_Concat(decoded, slash);
    }
};

/// (errno, path); null with the exception set. Takes over `path`.
pub fn errorPair(errno: linux.E, path: *Object) ?*Object {
    const pair = py.PyTuple_New(2) orelse {
        py.Py_DecRef(path);
        return null;
    };
    _ = py.PyTuple_SetItem(pair, 1, path);
    return if (putNumber(pair, 0, @backingInt(errno))) pair else null;
}

/// False, and the tuple gone, with the exception set.
pub fn putNumber(tuple: *Object, i: usize, value: u64) bool {
    const number = py.PyLong_FromUnsignedLongLong(value) orelse {
        py.Py_DecRef(tuple);
        return false;
    };
    _ = py.PyTuple_SetItem(tuple, @intCast(i), number);
    return true;
}

fn nanoseconds(time: linux.statx_timestamp) i64 {
    return time.sec *% std.time.ns_per_s +% time.nsec;
}

/// In the order of the fields of Metadata.
fn numbersOf(info: *const linux.Statx) ?*Object {
    const tuple = py.PyTuple_New(14) orelse return null;
    const device = deviceOf(info.dev_major, info.dev_minor);
    const numbers = [_]u64{
        info.mode, info.size, info.blocks, info.blksize, info.nlink,
        info.uid,  info.gid,  info.ino,    device,
    };
    for (numbers, 0..) |value, i| if (!putNumber(tuple, i, value)) return null;
    const times = [_]linux.statx_timestamp{ info.atime, info.mtime, info.ctime, info.btime };
    for (times, numbers.len..) |time, i| {
        const known = i < numbers.len + 3 or info.mask.BTIME;
        const value = if (known) py.PyLong_FromLongLong(nanoseconds(time)) else api.none();
        _ = py.PyTuple_SetItem(tuple, @intCast(i), value orelse {
            py.Py_DecRef(tuple);
            return null;
        });
    }
    return if (putNumber(tuple, 13, @as(u32, @bitCast(info.mask)))) tuple else null;
}

/// As makedev(3).
fn deviceOf(major: u64, minor: u64) u64 {
    return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~@as(u64, 0xff)) << 12 | (major & ~@as(u64, 0xfff)) << 32;
}
