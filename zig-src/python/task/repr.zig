//! The repr of handles: the name and the state of their task.

const std = @import("std");
const api = @import("../cpython/api.zig");
const errors = @import("../../base/errors.zig");
const PyTask = @import("py_task.zig").PyTask;
const shard_none = @import("../../task/task.zig").shard_none;
const Task = @import("../../task/task.zig").Task;
const Object = api.Object;
const py = &api.py;

pub fn ofTask(handle: *Object) callconv(.c) ?*Object {
    const self = PyTask.Type.body(handle);
    return ofHandle("JoinHandle", self.name, &self.task, self.failed);
}

pub fn ofHandle(comptime class: []const u8, named: ?*Object, task: *const Task, failed: bool) ?*Object {
    var buffer: [api.clip_bytes + 64]u8 = undefined;
    const state = if (!task.isDone())
        ""
    else if (task.status == @backingInt(errors.Code.cancelled))
        " cancelled"
    else if (failed or task.status < 0)
        " failed"
    else
        " done";
    var name: []const u8 = "";
    if (named) |given| {
        var size: isize = 0;
        const text = py.PyUnicode_AsUTF8AndSize(given, &size) orelse return null;
        name = api.clipped(text[0..@intCast(size)]);
    }
    const quote = if (named == null) "" else "'";
    const space = if (named == null) "" else " ";
    const id = task.home_id.load(.acquire);
    const words = if (id == shard_none)
        std.fmt.bufPrint(&buffer, "<" ++ class ++ "{s}{s}{s}{s}{s}>", .{
            space, quote, name, quote, if (task.isDone()) state else " queued",
        })
    else
        std.fmt.bufPrint(&buffer, "<" ++ class ++ "{s}{s}{s}{s}{s} on shard {d}>", .{
            space, quote, name, quote, if (task.isDone()) state else " begun", id,
        });
    return api.string(words catch unreachable); // The name is clipped.
}
