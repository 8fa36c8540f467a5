//! A walk as Python sees it. Its methods block, so they are for threads of a pool, one at a time.
//! They release the interpreter during system calls, and return whole blocks of entries. `stop` may
//! be called by any thread.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const found_module = @import("found.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("../cpython/callbacks.zig");
const object = @import("../cpython/object.zig");
const stream = @import("stream.zig");
const work = @import("work.zig");
const entry_module = @import("entry.zig");
const Found = found_module.Found;
const Tree = @import("tree.zig").Tree;
const Object = api.Object;
const py = &api.py;

/// Entries in a block: some 200 us of the interpreter's time, if a list is made of them.
const entries_max = 1000;

/// A block with something in it is handed back after so long, though it is not full.
const block_ns = 3 * std.time.ns_per_ms;

const option_deep = 1;
const option_follow = 2;
const option_metadata = 4;
const option_whole = 8;
const option_no_link = 16;

const Walker = struct {
    tree: Tree,
    metadata: bool,
    no_link: bool,
    opened: bool,
    /// A thread is in it.
    busy: std.atomic.Value(bool),
    stopping: work.Stop,
    path: ?*Object,
    found: Found,

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

    /// Detached from the interpreter: the next entries.
    fn collect(self: *Walker) !void {
        const found = &self.found;
        const end = clock.deadlineNs(block_ns);
        var noted: u64 = 0; // The block whose directory was noted last.
        while (found.count() < entries_max and !self.stopping.load(.acquire)) {
            switch (try self.tree.next() orelse return) {
                .entry => |entry| {
                    if (noted != self.tree.blocks) try found.noteDirectory(self.tree.directory());
                    noted = self.tree.blocks;
                    try found.note(&self.tree, entry, self.metadata);
                },
                .failure => |errno| return found.noteError(self.tree.failed.items, errno),
                .left => {},
            }
            // A block of the kernel is at its end: what follows may take long.
            if (self.tree.block_at < self.tree.block_end) continue;
            if (found.count() > 0 and clock.nowNs() >= end) break;
        }
    }

    /// block(): the next entries; None at the end.
    fn block(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (!self.enter()) return null;
        defer self.leave();
        const state = py.PyEval_SaveThread();
        const errno = self.open();
        const outcome: anyerror!void = if (errno) |e| if (e == .SUCCESS) self.collect() else {} else |_| {};
        py.PyEval_RestoreThread(state);
        const why = errno catch return py.PyErr_NoMemory();
        if (why != .SUCCESS) return raiseAbout(why, self.path.?);
        outcome catch return py.PyErr_NoMemory();
        if (self.found.count() == 0 and self.found.errno == .SUCCESS) return api.none();
        return stream.Block.make(&self.found);
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
        const outcome: anyerror!work.WorkEnd = if (errno) |e|
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
            if (!found_module.putNumber(tuple, i, @field(counting.sums, name))) return null;
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
        const outcome: anyerror!work.WorkEnd = if (errno) |e|
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
                const path = found_module.decode(removal.path.items) orelse return null;
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
        self.found.deinit();
        api.drop(&self.path);
        Type.free(instance, false);
    }
};

fn raiseAbout(errno: linux.E, path: *Object) ?*Object {
    const bytes = py.PyBytes_AsString(path).?[0..@intCast(py.PyBytes_Size(path))];
    const text = found_module.decode(bytes) orelse return null;
    defer py.Py_DecRef(text);
    return callbacks.raiseErrno(@backingInt(errno), null, text);
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
        .found = .{},
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
            object.method("block", &Walker.block, api.meth_noargs, "($self, /)", "The next entries; None at the end."),
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
