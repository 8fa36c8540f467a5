//! Drops what our objects hold, for chains of any length: handles and futures may hold one another,
//! and each link that is freed within the deallocator of the one before takes stack. Beyond a
//! depth, links wait on the thread that drops them until the outermost deallocator frees them.

const std = @import("std");
const api = @import("api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Object = api.Object;
const py = &api.py;

const depth_max = 40;

threadlocal var depth: u32 = 0;
threadlocal var waiting: std.ArrayList(*Object) = .empty;

/// `api.drop` for what may be a link of such a chain.
pub fn drop(reference: *?*Object) void {
    const object = reference.* orelse return;
    reference.* = null;
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
