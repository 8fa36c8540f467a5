//! DirEntry: a name in a directory. It is immutable, so any thread may use it. It makes its path at
//! the first use; two threads that are first at the same time each make one.

const std = @import("std");
const linux = std.os.linux;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const Object = api.Object;
const py = &api.py;

/// Makes a Metadata of its numbers; borrowed from the first walker that is asked for them.
pub var metadata_class: ?*Object = null;

pub const DirEntry = struct {
    name: ?*Object,
    /// The directory, with the slash before the name.
    prefix: ?*Object,
    /// A tuple of numbers, or null: it was not asked for.
    numbers: ?*Object,
    inode: u64,
    kind: u8,

    pub const Type = object.TypeOf(DirEntry);

    /// Takes over `name` and `numbers`.
    pub fn make(name: *Object, prefix: *Object, numbers: ?*Object, inode: u64, kind: u8) ?*Object {
        const instance = Type.createBare() orelse {
            py.Py_DecRef(name);
            if (numbers) |n| py.Py_DecRef(n);
            return null;
        };
        Type.body(instance).* = .{
            .name = name,
            .prefix = api.ref(prefix),
            .numbers = numbers,
            .inode = inode,
            .kind = kind,
        };
        return instance;
    }

    fn getName(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        return api.ref(Type.body(instance).name.?);
    }

    fn getPath(instance: *Object, _: ?*anyopaque) callconv(.c) ?*Object {
        const self = Type.body(instance);
        return py.PyUnicode_Concat(self.prefix.?, self.name.?);
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
