//! The allocator of the whole library. libc's: thread-safe, known to valgrind and sanitizers, and
//! it never relies on thread-local storage of a library that was loaded late. Built with
//! -Dchecking-allocator it is Zig's own, which finds double frees and leaks.

const std = @import("std");
const builtin = @import("builtin");
const Alignment = std.mem.Alignment;
const Allocator = std.mem.Allocator;

const checking = @import("build_options").checking_allocator;

pub const gpa = if (checking) debug.allocator() else forever;

/// For tables that stay for the life of the process.
pub const forever = if (builtin.is_test) counted(&standard) else standard;

const standard = @import("platform.zig").gpa;
var debug: std.heap.DebugAllocator(.{ .safety = true, .thread_safe = true }) = .init;
var asked_to_report: std.atomic.Value(bool) = .init(false);

const leaked_exit_code = 97;

extern fn atexit(function: *const fn () callconv(.c) void) c_int;

/// Before the first allocation that is to be checked at the end of the process.
pub fn armLeakReport() void {
    if (!checking) return;
    if (asked_to_report.swap(true, .acq_rel)) return;
    _ = atexit(reportLeaks);
}

fn reportLeaks() callconv(.c) void {
    const count = debug.detectLeaks();
    if (count == 0) return;
    std.debug.print("spargio: {d} allocations were not freed\n", .{count});
    std.os.linux.exit_group(leaked_exit_code);
}

const pages = if (builtin.is_test) counted(&std.heap.page_allocator) else std.heap.page_allocator;
const page = Alignment.fromByteUnits(std.heap.page_size_min);

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

/// Of the unit tests: what is allocated and not freed yet, and which allocation from now fails. Any thread.
pub const AllocationCounter = struct {
    pub var live: std.atomic.Value(i64) = .init(0);
    /// 0: the next one; below: none.
    pub var until_failure: std.atomic.Value(i64) = .init(-1);

    fn refuses() bool {
        if (until_failure.load(.monotonic) < 0) return false;
        return until_failure.fetchSub(1, .monotonic) == 0;
    }
};

fn counted(comptime inner: *const Allocator) Allocator {
    const S = struct {
        fn alloc(_: *anyopaque, bytes: usize, alignment: Alignment, address: usize) ?[*]u8 {
            if (AllocationCounter.refuses()) return null;
            const memory = inner.rawAlloc(bytes, alignment, address) orelse return null;
            _ = AllocationCounter.live.fetchAdd(1, .monotonic);
            return memory;
        }

        fn resize(_: *anyopaque, memory: []u8, alignment: Alignment, bytes: usize, address: usize) bool {
            return inner.rawResize(memory, alignment, bytes, address);
        }

        fn remap(_: *anyopaque, memory: []u8, alignment: Alignment, bytes: usize, address: usize) ?[*]u8 {
            if (AllocationCounter.refuses()) return null;
            return inner.rawRemap(memory, alignment, bytes, address);
        }

        fn free(_: *anyopaque, memory: []u8, alignment: Alignment, address: usize) void {
            _ = AllocationCounter.live.fetchSub(1, .monotonic);
            inner.rawFree(memory, alignment, address);
        }

        const vtable: Allocator.VTable = .{ .alloc = alloc, .resize = resize, .remap = remap, .free = free };
    };
    return .{ .ptr = undefined, .vtable = &S.vtable };
}
