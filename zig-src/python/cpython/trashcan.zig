//! What an object of ours held, dropped without bound: handles and futures may hold one another in a chain
//! of any length, and each link that goes away within the last one's deallocator takes stack. Beyond a depth
//! they wait, on the thread that drops them, for the outermost one.

const std = @import("std");
const api = @import("api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Object = api.Object;
const py = &api.py;

const depth_max = 40;

threadlocal var depth: u32 = 0;
threadlocal var waiting: std.ArrayList(*Object) = .empty;

/// `api.drop` for what may be a link of such a chain.
pub fn drop(place: *?*Object) void {
    const object = place.* orelse return;
    place.* = null;
    // Without memory it takes the stack that there is.
    if (depth >= depth_max) if (waiting.append(gpa, object)) |_| return else |_| {};
    depth += 1;
    py.Py_DecRef(object);
    depth -= 1;
    if (depth > 0) return;
    while (waiting.pop()) |next| {
        depth = 1;
        py.Py_DecRef(next);
        depth = 0;
    }
    waiting.clearAndFree(gpa);
}
