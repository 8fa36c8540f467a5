//! The memory of one seed. No block is used twice, so that a use after free, a double free and a
//! leak all show. Now and then it refuses an allocation.

const std = @import("std");
const machine = @import("machine.zig");
const report = @import("report.zig");

const capacity = 64 << 20;
const Header = struct { size: usize, state: u64 };
const live: u64 = 0x11ffe_11ffe;
const freed: u64 = 0xdead_dead;

var memory: ?[]align(std.heap.page_size_min) u8 = null;
var used: usize = 0;

/// Given out and not freed.
pub var live_count: usize = 0;
/// Of so many requests one is refused, on average; 0: none.
pub var refuse_every: u32 = 0;
pub var refused: u64 = 0;

pub const allocator: std.mem.Allocator = .{
    .ptr = undefined,
    .vtable = &.{ .alloc = alloc, .resize = resize, .remap = remap, .free = free },
};

pub fn reset() void {
    if (memory == null) memory = std.posix.mmap(
        null,
        capacity,
        .{ .READ = true, .WRITE = true },
        .{ .TYPE = .PRIVATE, .ANONYMOUS = true, .NORESERVE = true },
        -1,
        0,
    ) catch @panic("no memory for the simulation");
    used = 0;
    live_count = 0;
    refuse_every = 0;
    refused = 0;
}

fn alloc(_: *anyopaque, size: usize, alignment: std.mem.Alignment, _: usize) ?[*]u8 {
    if (machine.oneIn(refuse_every)) {
        refused += 1;
        return null;
    }
    const all = memory.?;
    const start = alignment.max(.of(Header)).forward(@intFromPtr(all.ptr) + used + @sizeOf(Header));
    const end = start + size - @intFromPtr(all.ptr);
    if (end > all.len) report.fail("the seed needs more memory than there is", .{});
    used = end;
    headerOf(start).* = .{ .size = size, .state = live };
    live_count += 1;
    return @ptrFromInt(start);
}

fn headerOf(start: usize) *Header {
    return @ptrFromInt(start - @sizeOf(Header));
}

fn resize(_: *anyopaque, bytes: []u8, _: std.mem.Alignment, size: usize, _: usize) bool {
    const header = headerOf(@intFromPtr(bytes.ptr));
    report.expect(header.state == live, "resized after it was freed", .{});
    if (size > bytes.len) return false;
    header.size = size;
    return true;
}

fn remap(ctx: *anyopaque, bytes: []u8, alignment: std.mem.Alignment, size: usize, caller: usize) ?[*]u8 {
    return if (resize(ctx, bytes, alignment, size, caller)) bytes.ptr else null;
}

fn free(_: *anyopaque, bytes: []u8, _: std.mem.Alignment, _: usize) void {
    const header = headerOf(@intFromPtr(bytes.ptr));
    report.expect(header.state == live, "freed twice", .{});
    report.expect(header.size == bytes.len, "freed with {d} bytes, made with {d}", .{ bytes.len, header.size });
    header.state = freed;
    // A pointer made of it is in nobody's memory.
    @memset(bytes, 0xdb);
    live_count -= 1;
}
