//! The part of CBOR (RFC 8949) that a snapshot needs: unsigned integers, text, maps and arrays of
//! known size, in the shortest form. Keeps counting past the end of the buffer, so one run returns
//! the size that is needed.

const std = @import("std");

pub const Writer = struct {
    buffer: []u8,
    size: usize = 0,

    pub fn fits(self: *const Writer) bool {
        return self.size <= self.buffer.len;
    }

    pub fn uint(self: *Writer, value: u64) void {
        self.head(0, value);
    }

    pub fn text(self: *Writer, value: []const u8) void {
        self.head(3, value.len);
        self.bytes(value);
    }

    pub fn array(self: *Writer, count: u64) void {
        self.head(4, count);
    }

    pub fn map(self: *Writer, pairs: u64) void {
        self.head(5, pairs);
    }

    pub fn pair(self: *Writer, key: []const u8, value: u64) void {
        self.text(key);
        self.uint(value);
    }

    fn head(self: *Writer, major: u8, value: u64) void {
        const kind = major << 5;
        if (value < 24) return self.bytes(&.{kind | @as(u8, @intCast(value))});
        inline for (.{ u8, u16, u32, u64 }, 24..) |T, additional| {
            if (value <= std.math.maxInt(T)) {
                var out: [1 + @sizeOf(T)]u8 = undefined;
                out[0] = kind | @as(u8, additional);
                std.mem.writeInt(T, out[1..], @intCast(value), .big);
                return self.bytes(&out);
            }
        }
    }

    fn bytes(self: *Writer, value: []const u8) void {
        if (self.size + value.len <= self.buffer.len) @memcpy(self.buffer[self.size..][0..value.len], value);
        self.size += value.len;
    }
};

test "the examples of RFC 8949, appendix A" {
    const cases = [_]struct { u64, []const u8 }{
        .{ 0, "\x00" },
        .{ 23, "\x17" },
        .{ 24, "\x18\x18" },
        .{ 1000, "\x19\x03\xe8" },
        .{ 1000000, "\x1a\x00\x0f\x42\x40" },
        .{ 1000000000000, "\x1b\x00\x00\x00\xe8\xd4\xa5\x10\x00" },
        .{ 18446744073709551615, "\x1b\xff\xff\xff\xff\xff\xff\xff\xff" },
    };
    for (cases) |case| {
        var buffer: [9]u8 = undefined;
        var writer: Writer = .{ .buffer = &buffer };
        writer.uint(case[0]);
        try std.testing.expectEqualSlices(u8, case[1], buffer[0..writer.size]);
    }
    var buffer: [9]u8 = undefined;
    var writer: Writer = .{ .buffer = &buffer };
    writer.map(1);
    writer.pair("IETF", 1);
    try std.testing.expectEqualSlices(u8, "\xa1\x64IETF\x01", buffer[0..writer.size]);
    var short: Writer = .{ .buffer = buffer[0..3] };
    short.text("spargio");
    try std.testing.expect(!short.fits());
    try std.testing.expectEqual(8, short.size);
}
