//! Operations in words: for their repr, and for the warning about one that was never awaited.

const std = @import("std");
const api = @import("../cpython/api.zig");
const Descriptor = @import("descriptor.zig").Descriptor;
const State = @import("single_await.zig").State;
const Object = api.Object;

pub const room = 128 + api.clip_bytes;

/// "recv of socket 7", "read_at of file 5 '/etc/hosts'", "sleep".
pub fn operation(buffer: *[room]u8, before: []const u8, name: []const u8, descriptor: ?*Object) []const u8 {
    const instance = descriptor orelse
        return std.fmt.bufPrint(buffer, "{s}{s}", .{ before, name }) catch unreachable;
    var text: [Descriptor.words_room]u8 = undefined;
    const words = Descriptor.Type.body(instance).inWords(&text);
    return std.fmt.bufPrint(buffer, "{s}{s} of {s}", .{ before, name, words }) catch unreachable;
}

pub fn ofOperation(comptime class: []const u8, name: []const u8, descriptor: ?*Object, state: State) ?*Object {
    var text: [room]u8 = undefined;
    var whole: [room + 32]u8 = undefined;
    return api.string(std.fmt.bufPrint(&whole, "<{s}{s}>", .{
        operation(&text, class ++ " ", name, descriptor),
        switch (state) {
            .new, .asked => ", not awaited",
            .flying => ", under way",
            .finished => ", ended",
        },
    }) catch unreachable);
}

/// RuntimeError; null, as a function's result.
pub fn raiseAwaitedBefore(name: []const u8, descriptor: ?*Object) ?*Object {
    var text: [room]u8 = undefined;
    return api.raiseFormat(
        api.py.PyExc_RuntimeError.*,
        "an operation can be awaited once: {s} was awaited before, so call it anew",
        .{operation(&text, "", name, descriptor)},
    );
}
