//! A walk as Python sees it. Its methods block, so they are for threads of a pool, one at a time.
//! They release the interpreter during system calls, and return whole blocks of entries. `stop` may
//! be called by any thread.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const tree_module = @import("tree.zig");
const work = @import("work.zig");
const DirEntry = @import("entry.zig").DirEntry;
const entry_module = @import("entry.zig");
const Tree = tree_module.Tree;
const Object = api.Object;
const py = &api.py;

/// Entries in a block: some 200 us of the interpreter's time.
const entries_max = 1000;

/// A block with something in it is handed back after so long, though it is not full.
const block_ns = 3 * std.time.ns_per_ms;

const option_deep = 1;
const option_follow = 2;
const option_metadata = 4;
const option_whole = 8;
const option_no_link = 16;

/// What was found, before it becomes objects.
const Record = struct {
    name_start: u32,
    name_end: u32,
    /// Which of the block's directories.
    directory: u32,
    /// An error: of that directory; there is no name.
    errno: linux.E = .SUCCESS,
    kind: u8 = 0,
    looked: bool = false,
    inode: u64 = 0,
};

const Walker = struct {
    tree: Tree,
    metadata: bool,
    no_link: bool,
    opened: bool,
    /// A thread is in it.
    busy: std.atomic.Value(bool),
    stopping: work.Stop,
    path: ?*Object,
    records: std.ArrayList(Record),
    infos: std.ArrayList(linux.Statx),
    bytes: std.ArrayList(u8),
    /// Ends of the directories' names; they begin where the one before ends.
    directories: std.ArrayList([2]u32),

    pub const Type = object.TypeOf(Walker);

    /// False with the exception set.
    fn enter(self: *Walker) bool {
        // acquire, release: one thread's use is before the next one's.
        if (!self.busy.swap(true, .acquire)) return true;
        _ = api.raise(py.PyExc_RuntimeError.*, "a walk is used by two threads at a time");
        return false;
    }

    fn leave(self: *Walker) void {
        self.busy.store(false, .release);
    }

    /// Detached from the interpreter.
    fn open(self: *Walker) !linux.E {
        if (self.opened) return .SUCCESS;
        const text = py.PyBytes_AsString(self.path.?).?[0..@intCast(py.PyBytes_Size(self.path.?))];
        const errno = try self.tree.open(text, self.no_link);
        self.opened = errno == .SUCCESS;
        return errno;
    }

    /// Detached from the interpreter: fills the records. False: there are no more.
    fn collect(self: *Walker) !bool {
        self.records.clearRetainingCapacity();
        self.infos.clearRetainingCapacity();
        self.bytes.clearRetainingCapacity();
        self.directories.clearRetainingCapacity();
        const end = clock.deadlineNs(block_ns);
        var noted: u64 = 0; // The block whose directory is the last of `directories`.
        while (self.records.items.len < entries_max and !self.stopping.load(.acquire)) {
            switch (try self.tree.next() orelse return self.records.items.len > 0) {
                .entry => |entry| {
                    if (noted != self.tree.blocks) try self.noteDirectory(self.tree.directory());
                    noted = self.tree.blocks;
                    try self.note(entry);
                },
                .failure => |errno| {
                    try self.noteDirectory(self.tree.failed.items);
                    noted = 0;
                    const directory: u32 = @intCast(self.directories.items.len - 1);
                    try self.records.append(gpa, .{
                        .name_start = 0,
                        .name_end = 0,
                        .directory = directory,
                        .errno = errno,
                    });
                    return true; // An error is the last of its block.
                },
                .left => {},
            }
            // A block of the kernel is at its end: what follows may take long.
            if (self.tree.block_at < self.tree.block_end) continue;
            if (self.records.items.len > 0 and clock.nowNs() >= end) break;
        }
        return true;
    }

    fn noteDirectory(self: *Walker, name: []const u8) !void {
        const start: u32 = @intCast(self.bytes.items.len);
        try self.bytes.appendSlice(gpa, name);
        try self.directories.append(gpa, .{ start, @intCast(self.bytes.items.len) });
    }

    fn note(self: *Walker, entry: tree_module.Entry) !void {
        const start: u32 = @intCast(self.bytes.items.len);
        try self.bytes.appendSlice(gpa, entry.name);
        var record: Record = .{
            .name_start = start,
            .name_end = @intCast(self.bytes.items.len),
            .directory = @intCast(self.directories.items.len - 1),
            .kind = entry.kind,
            .inode = entry.inode,
        };
        if (self.metadata) {
            const info = try self.infos.addOne(gpa);
            const flags: u32 = if (self.tree.options.follow) 0 else linux.AT.SYMLINK_NOFOLLOW;
            const all: linux.STATX = @bitCast(@as(u32, 0xfff));
            record.looked = linux.errno(linux.statx(self.tree.fd(), entry.name, flags, all, info)) == .SUCCESS;
        }
        try self.records.append(gpa, record);
    }

    /// Attached: a list of DirEntry, and (errno, path) of what went wrong; null with the exception set.
    fn list(self: *Walker) ?*Object {
        const result = py.PyList_New(@intCast(self.records.items.len)) orelse return null;
        var prefix: ?*Object = null;
        defer api.drop(&prefix);
        var of: u32 = std.math.maxInt(u32);
        for (self.records.items, 0..) |*record, i| {
            if (record.directory != of) {
                of = record.directory;
                api.drop(&prefix);
                prefix = self.prefixOf(record);
            }
            const item = if (prefix) |p| self.objectOf(record, i, p) else null;
            if (item == null) {
                py.Py_DecRef(result);
                return null;
            }
            _ = py.PyList_SetItem(result, @intCast(i), item.?);
        }
        return result;
    }

    fn prefixOf(self: *Walker, record: *const Record) ?*Object {
        const at = self.directories.items[record.directory];
        const name = self.bytes.items[at[0]..at[1]];
        const decoded = decode(name) orelse return null;
        if (record.errno != .SUCCESS or (name.len > 0 and name[name.len - 1] == '/')) return decoded;
        defer py.Py_DecRef(decoded);
        const slash = api.string("/") orelse return null;
        defer py.Py_DecRef(slash);
        return py.PyUnicode_Concat(decoded, slash);
    }

    fn objectOf(self: *Walker, record: *const Record, i: usize, prefix: *Object) ?*Object {
        if (record.errno != .SUCCESS) {
            const pair = py.PyTuple_New(2) orelse return null;
            const number = py.PyLong_FromLongLong(@backingInt(record.errno)) orelse {
                py.Py_DecRef(pair);
                return null;
            };
            _ = py.PyTuple_SetItem(pair, 0, number);
            _ = py.PyTuple_SetItem(pair, 1, api.ref(prefix));
            return pair;
        }
        const name = decode(self.bytes.items[record.name_start..record.name_end]) orelse return null;
        var numbers: ?*Object = null;
        if (record.looked) {
            numbers = numbersOf(&self.infos.items[self.infoOf(i)]) orelse {
                py.Py_DecRef(name);
                return null;
            };
        }
        return DirEntry.make(name, prefix, numbers, record.inode, record.kind);
    }

    /// Records of errors have none.
    fn infoOf(self: *Walker, i: usize) usize {
        if (self.infos.items.len == self.records.items.len) return i;
        var before: usize = 0;
        for (self.records.items[0..i]) |*record| before += @intFromBool(record.errno == .SUCCESS);
        return before;
    }

    /// block(): the next entries, a list; empty at the end.
    fn block(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (!self.enter()) return null;
        defer self.leave();
        const state = py.PyEval_SaveThread();
        const errno = self.open();
        const more: anyerror!bool = if (errno) |e| if (e == .SUCCESS) self.collect() else true else |_| true;
        py.PyEval_RestoreThread(state);
        const why = errno catch return py.PyErr_NoMemory();
        if (why != .SUCCESS) return raiseAbout(why, self.path.?);
        _ = more catch return py.PyErr_NoMemory();
        return self.list();
    }

    /// count(one_file_system, links_once): what `Sums` has, as a tuple; None if it was stopped.
    fn count(instance: *Object, arguments: [*]const *Object, given: isize) callconv(.c) ?*Object {
        if (!object.arity("count", given, 2)) return null;
        const one_file_system = object.unsigned(arguments[0], "one_file_system", 1) orelse return null;
        const links_once = object.unsigned(arguments[1], "links_once", 1) orelse return null;
        const self = Type.body(instance);
        if (!self.enter()) return null;
        defer self.leave();
        var counting: work.Count = .{ .one_file_system = one_file_system != 0, .links_once = links_once != 0 };
        const state = py.PyEval_SaveThread();
        const errno = self.open();
        const outcome: anyerror!work.Outcome = if (errno) |e|
            if (e == .SUCCESS) counting.run(&self.tree, &self.stopping) else .failed
        else |_|
            .failed;
        py.PyEval_RestoreThread(state);
        const why = errno catch return py.PyErr_NoMemory();
        if (why != .SUCCESS) return raiseAbout(why, self.path.?);
        if ((outcome catch return py.PyErr_NoMemory()) == .stopped) return api.none();
        const names = @typeInfo(work.Sums).@"struct".field_names;
        const tuple = py.PyTuple_New(names.len) orelse return null;
        inline for (names, 0..) |name, i| {
            if (!putNumber(tuple, i, @field(counting.sums, name))) return null;
        }
        return tuple;
    }

    /// remove(): whether it came to its end, which it does not if it was stopped.
    fn remove(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (!self.enter()) return null;
        defer self.leave();
        var removal: work.Removal = .{};
        defer removal.path.deinit(gpa);
        const state = py.PyEval_SaveThread();
        const errno = self.open();
        const outcome: anyerror!work.Outcome = if (errno) |e|
            if (e == .SUCCESS) removal.run(&self.tree, &self.stopping) else .failed
        else |_|
            .failed;
        py.PyEval_RestoreThread(state);
        const why = errno catch return py.PyErr_NoMemory();
        if (why != .SUCCESS) return raiseAbout(why, self.path.?);
        switch (outcome catch return py.PyErr_NoMemory()) {
            .done => return py.PyBool_FromLong(1),
            .stopped => return py.PyBool_FromLong(0),
            .failed => {
                const path = decode(removal.path.items) orelse return null;
                defer py.Py_DecRef(path);
                return callbacks.raiseErrno(@backingInt(removal.errno), null, path);
            },
        }
    }

    /// stop(): count() and remove() end soon, and block() gives what it has. Any thread.
    fn stop(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        // release: pairs with the acquire loads of the thread in it.
        Type.body(instance).stopping.store(true, .release);
        return api.none();
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        self.tree.close();
        self.records.deinit(gpa);
        self.infos.deinit(gpa);
        self.bytes.deinit(gpa);
        self.directories.deinit(gpa);
        api.drop(&self.path);
        Type.free(instance, false);
    }
};

/// As os.fsdecode. ASCII is the same in each encoding that a file system's names may have, and has a faster way.
fn decode(text: []const u8) ?*Object {
    var bits: u8 = 0;
    for (text) |byte| bits |= byte;
    if (bits < 0x80) return api.string(text);
    return py.PyUnicode_DecodeFSDefaultAndSize(text.ptr, @intCast(text.len));
}

fn raiseAbout(errno: linux.E, path: *Object) ?*Object {
    const text = decode(py.PyBytes_AsString(path).?[0..@intCast(py.PyBytes_Size(path))]) orelse return null;
    defer py.Py_DecRef(text);
    return callbacks.raiseErrno(@backingInt(errno), null, text);
}

/// False, and the tuple gone, with the exception set.
fn putNumber(tuple: *Object, i: usize, value: u64) bool {
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

/// walker(path: bytes, options, metadata class or None, /) -> Walker
pub fn make(_: ?*Object, arguments: [*]const *Object, count: isize) callconv(.c) ?*Object {
    if (!object.arity("walker", count, 3)) return null;
    if (py.PyBytes_AsString(arguments[0]) == null) return null;
    const options = object.unsigned(arguments[1], "options", 31) orelse return null;
    const instance = Walker.Type.create() orelse return null;
    const self = Walker.Type.body(instance);
    self.* = .{
        .tree = .{ .options = .{
            .deep = options & option_deep != 0,
            .follow = options & option_follow != 0,
            .whole = options & option_whole != 0,
        } },
        .metadata = options & option_metadata != 0,
        .no_link = options & option_no_link != 0,
        .opened = false,
        .busy = .init(false),
        .stopping = .init(false),
        .path = api.ref(arguments[0]),
        .records = .empty,
        .infos = .empty,
        .bytes = .empty,
        .directories = .empty,
    };
    if (self.metadata and entry_module.metadata_class == null)
        entry_module.metadata_class = api.ref(arguments[2]);
    return instance;
}

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("walker", &make, api.meth_fastcall, "(path, options, metadata, /)", "A walk."),
};

pub fn define() bool {
    return object.define(Walker.Type, "Walker", .{
        .methods = &.{
            object.method("block", &Walker.block, api.meth_noargs, "($self, /)", "The next entries; [] at the end."),
            object.method(
                "count",
                &Walker.count,
                api.meth_fastcall,
                "($self, one_file_system, links_once, /)",
                "The sums over the tree.",
            ),
            object.method("remove", &Walker.remove, api.meth_noargs, "($self, /)", "Remove the tree."),
            object.method("stop", &Walker.stop, api.meth_noargs, "($self, /)", "End it soon. Any thread."),
        },
        .dealloc = &Walker.dealloc,
    });
}
