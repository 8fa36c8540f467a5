//! Whole directories, several in one call: for a walk whose caller says what is entered. A call that blocks, so for a
//! thread of a pool.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const clock = @import("../../base/clock.zig");
const found_module = @import("found.zig");
const gpa = @import("../../base/memory.zig").gpa;
const object = @import("../cpython/object.zig");
const Found = found_module.Found;
const Maker = found_module.Maker;
const Object = api.Object;
const Tree = @import("tree.zig").Tree;
const py = &api.py;

/// After so many entries, or so long, no further directory is begun.
const entries_enough = 1000;
const time_enough_ns = 3 * std.time.ns_per_ms;

/// Objects that are made before others may have the interpreter: some 200 us.
const objects_at_once = 1000;

const Directory = struct {
    /// Its records.
    start: usize,
    end: usize,
    errno: linux.E,
};

const Listing = struct {
    names: []const []const u8,
    found: Found = .{},
    directories: std.ArrayList(Directory) = .empty,
    made: usize = 0,

    fn deinit(self: *Listing) void {
        self.found.deinit();
        self.directories.deinit(gpa);
    }

    /// Detached from the interpreter.
    fn run(self: *Listing) !void {
        const end_ns = clock.deadlineNs(time_enough_ns);
        for (self.names) |name| {
            const start = self.found.count();
            const errno = try self.one(name);
            try self.directories.append(gpa, .{ .start = start, .end = self.found.count(), .errno = errno });
            if (self.found.count() >= entries_enough or clock.nowNs() >= end_ns) return;
        }
    }

    fn one(self: *Listing, name: []const u8) !linux.E {
        var tree: Tree = .{ .options = .{ .deep = false } };
        defer tree.close();
        const errno = try tree.open(name, false);
        if (errno != .SUCCESS) return errno;
        try self.found.noteDirectory(name);
        while (try tree.next()) |item| switch (item) {
            .entry => |entry| try self.found.note(&tree, entry, false),
            .failure => |why| return why,
            .left => {},
        };
        return .SUCCESS;
    }

    /// Attached; null with the exception set.
    fn list(self: *Listing) ?*Object {
        const result = py.PyList_New(@intCast(self.directories.items.len)) orelse return null;
        var maker: Maker = .{};
        defer maker.deinit();
        for (self.directories.items, self.names[0..self.directories.items.len], 0..) |*directory, name, i| {
            const item = if (directory.errno == .SUCCESS) self.pairOf(directory, &maker) else failed(directory, name);
            if (item == null) {
                py.Py_DecRef(result);
                return null;
            }
            _ = py.PyList_SetItem(result, @intCast(i), item.?);
        }
        return result;
    }

    fn failed(directory: *const Directory, name: []const u8) ?*Object {
        return found_module.errorPair(directory.errno, found_module.decode(name) orelse return null);
    }

    /// (list of directories, list of all else)
    fn pairOf(self: *Listing, directory: *const Directory, maker: *Maker) ?*Object {
        const pair = py.PyTuple_New(2) orelse return null;
        if (self.fill(pair, directory, maker)) return pair;
        py.Py_DecRef(pair);
        return null;
    }

    fn fill(self: *Listing, pair: *Object, directory: *const Directory, maker: *Maker) bool {
        var lists: [2]*Object = undefined;
        for (&lists, 0..) |*slot, i| {
            slot.* = py.PyList_New(0) orelse return false;
            _ = py.PyTuple_SetItem(pair, @intCast(i), slot.*);
        }
        for (directory.start..directory.end) |i| {
            const entry = maker.make(&self.found, i) orelse return false;
            defer py.Py_DecRef(entry);
            const inside = self.found.records.items[i].kind == linux.DT.DIR;
            if (py.PyList_Append(lists[if (inside) 0 else 1], entry) != 0) return false;
            self.made += 1;
            if (self.made % objects_at_once == 0) py.PyEval_RestoreThread(py.PyEval_SaveThread());
        }
        return true;
    }
};

/// Of Python's `native`.
pub const functions = [_]api.MethodDef{
    object.method("list_directories", &listDirectories, api.meth_one, "(names, /)", "What is in each."),
};

/// list_directories(names: list of bytes, /) -> a list, maybe for fewer of the names: what each has as (list of
/// directories, list of all else), or (errno, path). One at the least.
fn listDirectories(_: ?*Object, names: *Object) callconv(.c) ?*Object {
    const count = py.PyList_Size(names);
    if (count < 0) return null;
    const texts = gpa.alloc([]const u8, @intCast(count)) catch return py.PyErr_NoMemory();
    defer gpa.free(texts);
    for (texts, 0..) |*text, i| {
        const name = py.PyList_GetItem(names, @intCast(i)) orelse return null;
        text.* = (py.PyBytes_AsString(name) orelse return null)[0..@intCast(py.PyBytes_Size(name))];
    }
    var listing: Listing = .{ .names = texts };
    defer listing.deinit();
    const state = py.PyEval_SaveThread();
    const outcome = listing.run();
    py.PyEval_RestoreThread(state);
    outcome catch return py.PyErr_NoMemory();
    return listing.list();
}
