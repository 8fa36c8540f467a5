//! Signals that tasks of C wait for: a set of them, counted by base/signals.zig, and an eventfd that is
//! readable while some may be there to take. Any thread.

const std = @import("std");
const linux = std.os.linux;
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const tsan = @import("../base/tsan.zig");
const signals = @import("../base/signals.zig");
const sync = @import("../base/sync.zig");
const Atomic = @import("../base/platform.zig").Atomic;
const HandleTableType = @import("../base/handle_table.zig").HandleTableType;

pub const most = 64;

pub var watches: HandleTableType(Watch) = .{};

pub const Watch = struct {
    fd: i32,
    refs: Atomic(u32) = .init(1),
    lock: sync.Lock = .{},
    numbers: [most]u8 = undefined,
    keys: [most]usize = undefined,
    /// Taken from the counters, and not given out yet.
    left: [most]u32 = @splat(0),
    count: usize = 0,

    /// `errno` is set if there is no descriptor.
    pub fn create(given: []const i32, errno: *i32) errors.Error!*Watch {
        const rc = linux.eventfd(0, linux.EFD.CLOEXEC | linux.EFD.NONBLOCK);
        errno.* = @backingInt(linux.errno(rc));
        if (errno.* != 0) return error.Invalid;
        const self = gpa.create(Watch) catch |err| {
            _ = linux.close(@intCast(rc));
            return err;
        };
        self.* = .{ .fd = @intCast(rc) };
        errdefer self.drop();
        for (given) |number| {
            if (number <= 0) return error.Invalid;
            self.keys[self.count] = signals.add(@intCast(number), self.fd) catch |err| return switch (err) {
                error.Invalid => error.Invalid,
                error.Overloaded => error.Overloaded,
            };
            self.numbers[self.count] = @intCast(number);
            self.count += 1;
        }
        return self;
    }

    pub fn handleClosed(self: *Watch) void {
        self.drop();
    }

    pub fn retain(self: *Watch) void {
        _ = self.refs.fetchAdd(1, .monotonic);
    }

    pub fn drop(self: *Watch) void {
        // Acquire-release: the last one sees all that the others wrote.
        tsan.release(self);
        if (self.refs.fetchSub(1, .acq_rel) != 1) return;
        tsan.acquire(self);
        for (self.keys[0..self.count]) |key| signals.remove(key);
        _ = linux.close(self.fd);
        gpa.destroy(self);
    }

    /// The next signal; null: there is none.
    pub fn take(self: *Watch) ?i32 {
        self.lock.lock();
        defer self.lock.unlock();
        var value: u64 = 0;
        _ = linux.read(self.fd, std.mem.asBytes(&value), 8);
        var found: ?usize = null;
        var more = false;
        for (self.left[0..self.count], self.keys[0..self.count], 0..) |*left, key, i| {
            left.* += signals.take(key) catch 0;
            if (left.* > 0 and found == null) {
                found = i;
                left.* -= 1;
            }
            more = more or left.* > 0;
        }
        if (more) self.ring();
        return self.numbers[found orelse return null];
    }

    /// Nobody took it.
    pub fn giveBack(self: *Watch, number: i32) void {
        self.lock.lock();
        defer self.lock.unlock();
        const i = std.mem.findScalar(u8, self.numbers[0..self.count], @intCast(number)).?;
        self.left[i] += 1;
        self.ring();
    }

    fn ring(self: *Watch) void {
        const one: u64 = 1;
        _ = linux.write(self.fd, std.mem.asBytes(&one), 8);
    }
};
