//! The allocator of the whole library. libc's: thread-safe, known to valgrind and sanitizers, and
//! it never relies on thread-local storage of a library that was loaded late. Built with
//! -Dchecking-allocator it is Zig's own, which finds what is freed twice or never.

const std = @import("std");
const checking = @import("build_options").checking_allocator;

pub const gpa = if (checking) debug.allocator() else std.heap.c_allocator;

/// For tables that stay for the life of the process.
pub const forever = std.heap.c_allocator;

var debug: std.heap.DebugAllocator(.{ .safety = true, .thread_safe = true }) = .init;
var watched: std.atomic.Value(bool) = .init(false);

const leaked_exit_code = 97;

extern fn atexit(function: *const fn () callconv(.c) void) c_int;

/// Before the first allocation that is to be checked at the end of the process.
pub fn watch() void {
    if (!checking) return;
    if (watched.swap(true, .acq_rel)) return;
    _ = atexit(reportLeaks);
}

fn reportLeaks() callconv(.c) void {
    const count = debug.detectLeaks();
    if (count == 0) return;
    std.debug.print("spargio: {d} allocations were not freed\n", .{count});
    std.os.linux.exit_group(leaked_exit_code);
}

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
