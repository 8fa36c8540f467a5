//! Text to a descriptor, by way of a buffer; the little that a trace needs of JSON.

const std = @import("std");
const linux = std.os.linux;

pub const JsonSink = struct {
    fd: i32,
    /// Then a peer that is gone is an error, not a signal.
    is_socket: bool = false,
    /// Of the first write that failed: the rest is dropped.
    errno: i32 = 0,
    size: usize = 0,
    buffer: [16 * 1024]u8 = undefined,

    /// At most a kilobyte.
    pub fn print(self: *JsonSink, comptime format: []const u8, arguments: anytype) void {
        if (self.size + 1024 > self.buffer.len) self.flush();
        const written = std.fmt.bufPrint(self.buffer[self.size..], format, arguments) catch unreachable;
        self.size += written.len;
    }

    /// Nanoseconds as microseconds, exactly.
    pub fn micros(self: *JsonSink, ns: u64) void {
        self.print("{d}.{d:0>3}", .{ ns / 1000, ns % 1000 });
    }

    /// The inside of a JSON string: valid, whatever the bytes are.
    pub fn text(self: *JsonSink, bytes: []const u8) void {
        var rest = bytes;
        while (rest.len > 0) {
            const size = std.unicode.utf8ByteSequenceLength(rest[0]) catch 0;
            const valid = size > 0 and size <= rest.len and std.unicode.utf8ValidateSlice(rest[0..size]);
            if (!valid) self.print("?", .{}) else if (rest[0] == '"' or rest[0] == '\\')
                self.print("\\{c}", .{rest[0]})
            else if (rest[0] < 0x20)
                self.print("\\u{x:0>4}", .{rest[0]})
            else
                self.print("{s}", .{rest[0..size]});
            rest = rest[if (valid) size else 1..];
        }
    }

    pub fn flush(self: *JsonSink) void {
        var sent: usize = 0;
        while (sent < self.size and self.errno == 0) {
            const rest = self.buffer[sent..self.size];
            const rc = if (self.is_socket)
                linux.sendto(self.fd, rest.ptr, rest.len, linux.MSG.NOSIGNAL, null, 0)
            else
                linux.write(self.fd, rest.ptr, rest.len);
            switch (linux.errno(rc)) {
                .SUCCESS => sent += rc,
                .INTR => {},
                else => |errno| self.errno = @backingInt(errno),
            }
        }
        self.size = 0;
    }
};

test "a name is valid inside of a string" {
    var pipe: [2]i32 = undefined;
    try std.testing.expectEqual(0, linux.pipe2(&pipe, .{ .CLOEXEC = true }));
    defer for (pipe) |fd| {
        _ = linux.close(fd);
    };
    var sink: JsonSink = .{ .fd = pipe[1] };
    sink.text("a\"b\\c\nd\xffé\xc3");
    sink.micros(1_234_005);
    sink.flush();
    var bytes: [64]u8 = undefined;
    const size = linux.read(pipe[0], &bytes, bytes.len);
    try std.testing.expectEqualStrings("a\\\"b\\\\c\\u000ad?é?1234.005", bytes[0..size]);
}
