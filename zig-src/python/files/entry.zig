//! DirEntry: a name in a directory. It is immutable, so any thread may use it. It makes its path each time that it is
//! asked, and its name too, if that is short: many a program only asks what an entry is, and a string that nobody asks
//! for would be a third of what the entry costs.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const Object = api.Object;
const py = &api.py;

/// Makes a Metadata of its numbers; borrowed from the first walker that is asked for them.
pub var metadata_class: ?*Object = null;

pub const DirEntry = struct {
    /// Null: it is in `short`.
    name: ?*Object,
    /// The directory, with the slash before the name.
    prefix: ?*Object,
    /// A tuple of numbers, or null: it was not asked for.
    numbers: ?*Object,
    inode: u64,
    kind: u8,
    length: u8,
    short: [short_max]u8,

    /// Bytes of a name that an entry has room for; more would make it larger by 16.
    const short_max = 30;

    pub const Type = object.TypeOf(DirEntry);

    /// Takes over `numbers`.
    pub fn make(text: []const u8, prefix: *Object, numbers: ?*Object, inode: u64, kind: u8) ?*Object {
        const instance = make: {
            const name = if (text.len <= short_max) null else decode(text) orelse break :make null;
            const made = Type.createBare() orelse {
                if (name) |long| py.Py_DecRef(long);
                break :make null;
            };
            const self = Type.body(made);
            self.* = .{
                .name = name,
                .prefix = api.ref(prefix),
                .numbers = numbers,
                .inode = inode,
                .kind = kind,
                .length = 0,
                .short = undefined,
            };
            if (name == null) {
                self.length = @intCast(text.len);
                @memcpy(self.short[0..text.len], text);
            }
            break :make made;
        };
        if (instance == null) if (numbers) |owned| py.Py_DecRef(owned);
        return instance;
    }

    fn getName(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const self = Type.body(instance);
        if (self.name) |name| return api.ref(name);
        return decode(self.short[0..self.length]);
    }

    fn getPath(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const name = getName(instance, null) orelse return null;
        defer py.Py_DecRef(name);
        return py.PyUnicode_Concat(Type.body(instance).prefix.?, name);
    }

    fn getInode(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return py.PyLong_FromUnsignedLongLong(Type.body(instance).inode);
    }

    fn path(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return getPath(instance, null);
    }

    fn is(instance: *Object, kind: u8) ?*Object {
        return py.PyBool_FromLong(@intFromBool(Type.body(instance).kind == kind));
    }

    fn isFile(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return is(instance, linux.DT.REG);
    }

    fn isDir(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return is(instance, linux.DT.DIR);
    }

    fn isSymlink(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        return is(instance, linux.DT.LNK);
    }

    fn metadata(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
        const numbers = Type.body(instance).numbers orelse return api.none();
        return py.PyObject_CallObject(metadata_class.?, numbers);
    }

    fn show(instance: *Object) callconv(.c) ?*Object {
        const self = Type.body(instance);
        const name = getPath(instance, null) orelse return null;
        defer py.Py_DecRef(name);
        const shown = py.PyObject_Repr(name) orelse return null;
        defer py.Py_DecRef(shown);
        const start = api.string("<DirEntry ") orelse return null;
        defer py.Py_DecRef(start);
        const both = py.PyUnicode_Concat(start, shown) orelse return null;
        defer py.Py_DecRef(both);
        const end = api.string(switch (self.kind) {
            linux.DT.REG => ", file>",
            linux.DT.DIR => ", directory>",
            linux.DT.LNK => ", symbolic link>",
            else => ">",
        }) orelse return null;
        defer py.Py_DecRef(end);
        return py.PyUnicode_Concat(both, end);
    }

    fn dealloc(instance: *Object) callconv(.c) void {
        const self = Type.body(instance);
        api.drop(&self.name);
        api.drop(&self.prefix);
        api.drop(&self.numbers);
        Type.free(instance, false);
    }
};

/// As os.fsdecode. ASCII is the same in each encoding that a file system's names may have, and has a faster way.
pub fn decode(text: []const u8) ?*Object {
    var bits: u8 = 0;
    for (text) |byte| bits |= byte;
    if (bits < 0x80) return py.PyUnicode_FromKindAndData(1, text.ptr, @intCast(text.len));
    return py.PyUnicode_DecodeFSDefaultAndSize(text.ptr, @intCast(text.len));
}

pub fn define() bool {
    return object.define(DirEntry.Type, "DirEntry", .{
        .doc = "A name in a directory. Its type is the directory's word for it.",
        .methods = &.{
            object.method("is_file", &DirEntry.isFile, api.meth_noargs, "($self, /)", "Whether it is a regular file."),
            object.method("is_dir", &DirEntry.isDir, api.meth_noargs, "($self, /)", "Whether it is a directory."),
            object.method(
                "is_symlink",
                &DirEntry.isSymlink,
                api.meth_noargs,
                "($self, /)",
                "Whether it is a symbolic link, which is neither a file nor a directory.",
            ),
            object.method(
                "metadata",
                &DirEntry.metadata,
                api.meth_noargs,
                "($self, /)",
                "Its Metadata; None unless it was asked for, or if it could not be looked at.",
            ),
            object.method("__fspath__", &DirEntry.path, api.meth_noargs, "($self, /)", "The path."),
        },
        .properties = &.{
            .{ .name = "name", .get = @ptrCast(&DirEntry.getName), .doc = "Its name in the directory." },
            .{
                .name = "path",
                .get = @ptrCast(&DirEntry.getPath),
                .doc = "The directory as it was given, and the name.",
            },
            .{ .name = "inode", .get = @ptrCast(&DirEntry.getInode), .doc = "Its inode number." },
        },
        .repr = &DirEntry.show,
        .dealloc = &DirEntry.dealloc,
    });
}
