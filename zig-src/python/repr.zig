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
