//! Ranges of files and the memory that each is read into: which ranges one read serves, and which
//! memory gets its bytes. Attached to the interpreter.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const object = @import("../cpython/object.zig");
const Object = api.Object;
const py = &api.py;

const Vector = std.posix.iovec;

/// A length that is not known before the file is open.
const to_the_end = std.math.maxInt(u64);

pub const Target = struct {
    file: u32,
    /// Of the result.
    index: u32,
    offset: u64,
    length: u64,
    /// The result, unless the caller brought memory.
    bytes: ?*Object = null,
    view: api.Buffer = .{},

    pub fn memory(self: *const Target) [*]u8 {
        return if (self.bytes) |bytes| py.PyBytes_AsString(bytes).? else self.view.buf.?;
    }

    /// False: there is none.
    pub fn makeRoom(self: *Target) bool {
        if (self.view.obj != null or self.bytes != null) return true;
        if (std.math.cast(isize, self.length)) |size| self.bytes = py.PyBytes_FromStringAndSize(null, size);
        if (self.bytes != null) return true;
        py.PyErr_Clear();
        return false;
    }

    /// The result, if a read from `start` on brought `filled` bytes. Null: no memory.
    pub fn finish(self: *Target, start: u64, filled: u64) ?*Object {
        const got = @min(self.length, filled -| (self.offset - start));
        if (self.view.obj != null) return py.PyLong_FromUnsignedLongLong(got);
        if (got < self.length and py._PyBytes_Resize(&self.bytes, @intCast(got)) != 0) {
            py.PyErr_Clear();
            return null;
        }
        const bytes = self.bytes;
        self.bytes = null;
        return bytes;
    }

    pub fn drop(self: *Target) void {
        api.drop(&self.bytes);
    }

    pub fn release(self: *Target) void {
        api.drop(&self.bytes);
        if (self.view.obj != null) py.PyBuffer_Release(&self.view);
        self.view.obj = null;
    }

    fn before(_: void, a: Target, b: Target) bool {
        if (a.file != b.file) return a.file < b.file;
        if (a.offset != b.offset) return a.offset < b.offset;
        return a.index < b.index;
    }
};

/// How many of these, which are of one file and in order, one read is to serve: those with at most `gap` bytes
/// between them, `largest` bytes in all. Ranges that overlap are read each for itself.
pub fn together(ranges: []const Target, gap: u64, largest: u64, most: u32) u32 {
    assert(ranges.len > 0);
    const first = ranges[0];
    if (first.length == 0) return 1;
    var end = first.offset + first.length;
    var count: u32 = 1;
    for (ranges[1..]) |next| {
        if (count == most or next.length == 0 or next.offset < end or next.offset - end > gap) break;
        if (next.offset + next.length - first.offset > largest) break;
        end = next.offset + next.length;
        count += 1;
    }
    return count;
}

/// Bytes from the first to the end of the last.
pub fn extent(ranges: []const Target) u64 {
    const last = ranges[ranges.len - 1];
    return last.offset + last.length - ranges[0].offset;
}

/// Where a read of `ranges` goes, of which the first `filled` bytes are there: the number of `out` that is used.
pub fn vectors(ranges: []const Target, filled: u64, unwanted: []u8, out: []Vector) usize {
    var count: usize = 0;
    var skip = filled;
    var at = ranges[0].offset;
    for (ranges) |*target| {
        if (target.offset > at) add(unwanted.ptr, target.offset - at, &skip, out, &count);
        add(target.memory(), target.length, &skip, out, &count);
        at = target.offset + target.length;
    }
    assert(count > 0);
    return count;
}

fn add(base: [*]u8, length: u64, skip: *u64, out: []Vector, count: *usize) void {
    const over = @min(skip.*, length);
    skip.* -= over;
    if (over == length) return;
    out[count.*] = .{ .base = base + over, .len = length - over };
    count.* += 1;
}

pub fn wantSize(ranges: []const Target) bool {
    for (ranges) |target| if (target.length == to_the_end) return true;
    return false;
}

pub fn setSize(ranges: []Target, size: u64) void {
    for (ranges) |*target| {
        if (target.length == to_the_end) target.length = size -| target.offset;
    }
}

/// By file and offset; null with the exception set. Free what `release` gives back, and the slice.
pub fn ofLists(files: *Object, offsets: *Object, lengths: *Object, into: *Object, paths: usize) ?[]Target {
    const length = py.PyList_Size(files);
    const buffers = into != py._Py_NoneStruct;
    if (length < 0) return null;
    if (py.PyList_Size(offsets) != length or py.PyList_Size(lengths) != length or
        (buffers and py.PyList_Size(into) != length) or length > std.math.maxInt(u32))
    {
        py.PyErr_Clear();
        _ = api.raise(py.PyExc_ValueError.*, "files, offsets, lengths and buffers must be lists of one length");
        return null;
    }
    const found = gpa.alloc(Target, @intCast(length)) catch {
        _ = py.PyErr_NoMemory();
        return null;
    };
    for (found, 0..) |*target, i| {
        if (one(target, i, files, offsets, lengths, if (buffers) into else null, paths)) continue;
        for (found[0..i]) |*before| before.release();
        gpa.free(found);
        return null;
    }
    if (!std.sort.isSorted(Target, found, {}, Target.before)) std.mem.sortUnstable(Target, found, {}, Target.before);
    return found;
}

fn one(
    target: *Target,
    i: usize,
    files: *Object,
    offsets: *Object,
    lengths: *Object,
    into: ?*Object,
    paths: usize,
) bool {
    const at: isize = @intCast(i);
    const file = object.unsigned(py.PyList_GetItem(files, at) orelse return false, "file", paths -| 1) orelse
        return false;
    const offset_max = std.math.maxInt(i64);
    const offset = object.unsigned(py.PyList_GetItem(offsets, at) orelse return false, "offset", offset_max) orelse
        return false;
    const given = py.PyList_GetItem(lengths, at) orelse return false;
    const length = object.integer(given, "length") orelse return false;
    if (length < -1 or (length > 0 and offset > offset_max - @as(u64, @intCast(length)))) {
        _ = api.raiseValue(py.PyExc_ValueError.*, "length", given, "0 or more, and None for all from the offset on");
        return false;
    }
    target.* = .{
        .file = @intCast(file),
        .index = @intCast(i),
        .offset = offset,
        .length = if (length < 0) to_the_end else @intCast(length),
    };
    const buffers = into orelse return true;
    const buffer = py.PyList_GetItem(buffers, at) orelse return false;
    if (!object.getBuffer(buffer, &target.view, api.buffer_writable)) return false;
    const room: u64 = @intCast(target.view.len);
    if (target.length == to_the_end) target.length = room;
    if (target.length <= room) return true;
    target.release();
    _ = api.raiseFormat(
        py.PyExc_ValueError.*,
        "into[{d}] must have room for the {d} bytes of its range, got {d}",
        .{ i, length, room },
    );
    return false;
}

test "which ranges one read serves, and where its bytes go" {
    const t = std.testing;
    var space: [100]u8 = undefined;
    var gap: [10]u8 = undefined;
    var ranges: [4]Target = undefined;
    for ([_][2]u64{ .{ 0, 10 }, .{ 10, 5 }, .{ 20, 5 }, .{ 24, 5 } }, &ranges, 0..) |given, *target, i| {
        target.* = .{ .file = 0, .index = @intCast(i), .offset = given[0], .length = given[1] };
        target.view.buf = space[given[0]..].ptr;
    }
    try t.expectEqual(2, together(&ranges, 0, 1000, 32));
    try t.expectEqual(3, together(&ranges, 5, 1000, 32));
    try t.expectEqual(1, together(&ranges, 5, 12, 32));
    try t.expectEqual(1, together(ranges[2..], 5, 1000, 32)); // They overlap.
    try t.expectEqual(25, extent(ranges[0..3]));
    var out: [8]Vector = undefined;
    try t.expectEqual(4, vectors(ranges[0..3], 0, &gap, &out));
    try t.expectEqual(@as([*]u8, &gap), out[2].base);
    try t.expectEqual(2, vectors(ranges[0..3], 17, &gap, &out));
    try t.expectEqual(3, out[0].len);
    try t.expectEqual(5, out[1].len);
}
