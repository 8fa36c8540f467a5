//! Received ciphertext, and where its records end (RFC 8446, 5.1). OpenSSL gets whole records only:
//! a read that ends within one costs more than the decryption of a small record, and ciphertext
//! that OpenSSL has not seen can still be handed back.

const std = @import("std");
const gpa = @import("../../base/memory.zig").gpa;

const header = 5;
/// Of an encrypted record (RFC 5246, 6.2.3). OpenSSL itself looks closer.
const payload_max = 16384 + 2048;
const type_data = 23;

pub const Queue = struct {
    memory: []u8 = &.{},
    /// What is looked at: `memory`, or bytes of somebody else's until `settle`.
    view: [*]const u8 = undefined,
    start: usize = 0,
    end: usize = 0,
    /// Where the last whole record ends.
    whole: usize = 0,
    /// The kernel fills the memory behind `end`: it stays where it is.
    pinned: bool = false,
    borrowed: bool = false,

    pub fn deinit(self: *Queue) void {
        gpa.free(self.memory);
        self.* = .{};
    }

    pub fn isEmpty(self: *const Queue) bool {
        return self.start == self.end;
    }

    /// Room for `size` bytes behind the end, for the kernel, until `commit`.
    pub fn reserve(self: *Queue, size: usize) error{OutOfMemory}![]u8 {
        std.debug.assert(!self.pinned and !self.borrowed);
        try self.makeRoom(size);
        self.pinned = true;
        return self.memory[self.end..];
    }

    pub fn commit(self: *Queue, count: usize) void {
        self.pinned = false;
        self.end += count;
        self.scan();
    }

    pub fn append(self: *Queue, bytes: []const u8) error{OutOfMemory}!void {
        std.debug.assert(!self.pinned and !self.borrowed);
        try self.makeRoom(bytes.len);
        @memcpy(self.memory[self.end..][0..bytes.len], bytes);
        self.end += bytes.len;
        self.scan();
    }

    /// Looks at `bytes` where they are, if nothing is before them; they have to stay until `settle`.
    pub fn lend(self: *Queue, bytes: []const u8) error{OutOfMemory}!void {
        if (!self.isEmpty()) return self.append(bytes);
        self.view = bytes.ptr;
        self.borrowed = true;
        self.start = 0;
        self.whole = 0;
        self.end = bytes.len;
        self.scan();
    }

    /// What was lent goes away: the rest is copied.
    pub fn settle(self: *Queue) error{OutOfMemory}!void {
        if (!self.borrowed) return;
        const rest = self.view[self.start..self.end];
        self.borrowed = false;
        self.start = 0;
        self.end = 0;
        self.whole = 0;
        if (rest.len == 0) return self.shrink();
        try self.append(rest);
    }

    /// Nothing is here: the memory is given back.
    pub fn shrink(self: *Queue) void {
        if (self.pinned or self.borrowed or !self.isEmpty() or self.memory.len == 0) return;
        gpa.free(self.memory);
        self.memory = &.{};
        self.start = 0;
        self.end = 0;
        self.whole = 0;
    }

    fn makeRoom(self: *Queue, size: usize) error{OutOfMemory}!void {
        const used = self.end - self.start;
        const whole = self.whole - self.start;
        if (self.memory.len - self.end < size) {
            if (self.memory.len >= used + size) {
                std.mem.copyForwards(u8, self.memory[0..used], self.memory[self.start..self.end]);
            } else {
                const larger = try gpa.alloc(u8, used + size);
                @memcpy(larger[0..used], self.memory[self.start..self.end]);
                gpa.free(self.memory);
                self.memory = larger;
            }
            self.start = 0;
            self.end = used;
            self.whole = whole;
        }
        self.view = self.memory.ptr;
    }

    fn scan(self: *Queue) void {
        while (self.end - self.whole >= header) {
            const size = self.sizeAt(self.whole) orelse {
                self.whole = self.end; // No TLS: OpenSSL is to say what it is.
                return;
            };
            if (self.end - self.whole < size) return;
            self.whole += size;
        }
    }

    fn sizeAt(self: *const Queue, at: usize) ?usize {
        const head = self.view[at..][0..header];
        const size = @as(usize, head[3]) << 8 | head[4];
        if (head[0] < 20 or head[0] > 24 or head[1] != 3 or size > payload_max) return null;
        return header + size;
    }

    pub fn hasWhole(self: *const Queue) bool {
        return self.whole > self.start;
    }

    /// Whether the next record is here and of the type of data, under which TLS 1.3 hides others.
    pub fn startsWithData(self: *const Queue) bool {
        return self.hasWhole() and self.view[self.start] == type_data;
    }

    /// The plaintext that the whole records hold at most, if each one is `overhead` bytes longer.
    pub fn plainSize(self: *const Queue, overhead: usize, most: usize) usize {
        var total: usize = 0;
        var at = self.start;
        while (at + header <= self.whole and total < most) {
            const size = self.sizeAt(at) orelse break;
            if (at + size > self.whole) break;
            if (self.view[at] == type_data) total += (size - header) -| overhead;
            at += size;
        }
        return total;
    }

    /// In OpenSSL's place: the next bytes, of whole records or, at the end of all, of what there is.
    pub fn read(self: *Queue, room: []u8, at_end: bool) usize {
        const limit = if (at_end) self.end else self.whole;
        const count = @min(room.len, limit - self.start);
        @memcpy(room[0..count], self.view[self.start..][0..count]);
        self.start += count;
        if (self.whole < self.start) self.whole = self.start;
        if (self.start == self.end and !self.pinned and !self.borrowed) {
            self.start = 0;
            self.end = 0;
            self.whole = 0;
        }
        return count;
    }
};

test "records in pieces, in one, and lent" {
    var queue: Queue = .{};
    defer queue.deinit();
    const record = [_]u8{ 23, 3, 3, 0, 4, 1, 2, 3, 4 };
    for (record[0..8]) |byte| {
        try queue.append(&.{byte});
        try std.testing.expect(!queue.hasWhole());
    }
    try queue.append(record[8..]);
    try std.testing.expect(queue.startsWithData());
    try std.testing.expectEqual(3, queue.plainSize(1, 100));
    var out: [32]u8 = undefined;
    try std.testing.expectEqual(9, queue.read(&out, false));
    try std.testing.expectEqualSlices(u8, &record, out[0..9]);
    try queue.lend(&(record ++ record ++ [_]u8{ 21, 3 }));
    try std.testing.expectEqual(9, queue.read(out[0..9], false));
    try queue.settle();
    try std.testing.expectEqual(9, queue.read(&out, false));
    try std.testing.expect(!queue.hasWhole());
    try std.testing.expectEqual(2, queue.read(&out, true));
    queue.shrink();
    try std.testing.expectEqual(0, queue.memory.len);
    _ = try queue.reserve(100);
    @memcpy(queue.memory[0..5], "GET /");
    queue.commit(5);
    try std.testing.expect(queue.hasWhole());
}
