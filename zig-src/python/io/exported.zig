//! Memory of a Python object that is exported for one operation. It lies apart from the operation, because
//! most have none. Attached to the interpreter.

const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const object = @import("../cpython/object.zig");
const Object = api.Object;
const py = &api.py;

/// Null with an exception set. `letGo` ends the export.
pub fn from(source: *Object, flags: c_int) ?*api.Buffer {
    const view = gpa.create(api.Buffer) catch {
        _ = py.PyErr_NoMemory();
        return null;
    };
    view.* = .{};
    if (object.getBuffer(source, view, flags)) return view;
    gpa.destroy(view);
    return null;
}

pub fn bytes(view: *api.Buffer) []u8 {
    const start: [*]u8 = view.buf orelse @ptrCast(view); // NULL only if the length is 0.
    return start[0..@intCast(view.len)];
}

pub fn letGo(view: *?*api.Buffer) void {
    const exported = view.* orelse return;
    view.* = null;
    py.PyBuffer_Release(exported);
    gpa.destroy(exported);
}
