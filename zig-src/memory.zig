//! The allocator of the whole library. libc's: thread-safe, known to valgrind and sanitizers, and
//! it never relies on thread-local storage of a library that was loaded late.

const std = @import("std");

pub const gpa = @import("seam.zig").gpa;

const pages = std.heap.page_allocator;
const page = std.mem.Alignment.fromByteUnits(std.heap.page_size_min);

/// Fresh pages: zero bytes, which cost memory only once they are written.
pub fn zeroedPages(comptime T: type, count: usize) error{OutOfMemory}![]T {
    const bytes = std.math.mul(usize, count, @sizeOf(T)) catch return error.OutOfMemory;
    // Past the typed interface, which fills memory with a pattern in safe builds.
    const start = pages.rawAlloc(bytes, page, @returnAddress()) orelse return error.OutOfMemory;
    return @as([*]T, @ptrCast(@alignCast(start)))[0..count];
}

pub fn freePages(comptime T: type, items: []T) void {
    pages.rawFree(std.mem.sliceAsBytes(items), page, @returnAddress());
}
