//! How handles show themselves: whose they are and how far they have come.

const std = @import("std");
const api = @import("api.zig");
const errors = @import("../errors.zig");
const PyTask = @import("task.zig").PyTask;
const shard_none = @import("../task.zig").shard_none;
const Object = api.Object;
const py = &api.py;

pub fn ofTask(handle: *Object) callconv(.c) ?*Object {
    const self = PyTask.Type.body(handle);
    var buffer: [api.clip_bytes + 64]u8 = undefined;
    const task = &self.task;
    const state = if (!task.isDone())
        ""
    else if (task.status == @backingInt(errors.Code.cancelled))
        " cancelled"
    else if (self.failed)
        " failed"
    else
        " done";
    var name: []const u8 = "";
    if (self.name) |given| {
        var size: isize = 0;
        const text = py.PyUnicode_AsUTF8AndSize(given, &size) orelse return null;
        name = api.clipped(text[0..@intCast(size)]);
    }
    const quote = if (self.name == null) "" else "'";
    const space = if (self.name == null) "" else " ";
    const id = task.home_id.load(.acquire);
    const words = if (id == shard_none)
        std.fmt.bufPrint(&buffer, "<JoinHandle{s}{s}{s}{s}{s}>", .{
            space, quote, name, quote, if (task.isDone()) state else " queued",
        })
    else
        std.fmt.bufPrint(&buffer, "<JoinHandle{s}{s}{s}{s}{s} on shard {d}>", .{
            space, quote, name, quote, if (task.isDone()) state else " begun", id,
        });
    return api.string(words catch unreachable); // The name is clipped.
}

/// The error that a coroutine gets which awaited something foreign; null with another one set.
pub fn foreign(value: *Object) ?*Object {
    const class = py.PyObject_Type(value);
    defer py.Py_DecRef(class);
    const name = py.PyObject_GetAttrString(class, "__name__") orelse return null;
    defer py.Py_DecRef(name);
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(name, &size) orelse return null;
    _ = api.raiseFormat(
        py.PyExc_RuntimeError.*,
        "a spargio task awaited something that yields {s}: only awaitables of spargio can be awaited here",
        .{api.clipped(text[0..@intCast(size)])},
    );
    return api.takeException();
}
