//! Which descriptors the operations of one shard use. The shard's thread changes the set, and reads
//! it without the lock. Other shards may check whether a descriptor is in it.

const std = @import("std");
const assert = std.debug.assert;
const gpa = @import("../base/memory.zig").gpa;
const sync = @import("../base/sync.zig");
const Pending = @import("pending.zig").Pending;

pub const Users = struct {
    /// Those that wait for it, oldest first.
    waiting: ?*Pending = null,
    last: ?*Pending = null,
    /// All that they wait for; maybe more, until none is left or all were taken.
    wanted: u32 = 0,
    /// What epoll was asked for last, unless it has reported since.
    armed: u32 = 0,
    /// How many the pool has.
    pooled: u32 = 0,
    /// Closes that go on when the pool has none.
    closing: ?*Pending = null,

    pub fn append(self: *Users, pending: *Pending) void {
        assert(pending.next == null);
        pending.prev = self.last;
        if (self.last) |last| last.next = pending else self.waiting = pending;
        self.last = pending;
        self.wanted |= pending.events;
    }

    pub fn remove(self: *Users, pending: *Pending) void {
        if (pending.prev) |prev| prev.next = pending.next else self.waiting = pending.next;
        if (pending.next) |next| next.prev = pending.prev else self.last = pending.prev;
        pending.next = null;
        pending.prev = null;
        if (self.waiting == null) self.wanted = 0;
    }

    /// All that wait, which are the caller's then, by their `next`.
    pub fn takeWaiting(self: *Users) ?*Pending {
        const first = self.waiting;
        var next = first;
        while (next) |pending| : (next = pending.next) pending.prev = null;
        self.waiting = null;
        self.last = null;
        self.wanted = 0;
        return first;
    }
};

pub const Table = struct {
    map: std.AutoHashMapUnmanaged(i32, Users) = .empty,
    lock: sync.Lock = .{},

    pub fn deinit(self: *Table) void {
        self.map.deinit(gpa);
    }

    /// Valid until the next `put`.
    pub fn get(self: *Table, fd: i32) ?*Users {
        return self.map.getPtr(fd);
    }

    pub fn put(self: *Table, fd: i32) error{OutOfMemory}!*Users {
        if (self.map.getPtr(fd)) |users| return users;
        self.lock.lock();
        defer self.lock.unlock();
        const entry = try self.map.getOrPutValue(gpa, fd, .{});
        return entry.value_ptr;
    }

    pub fn dropIfUnused(self: *Table, fd: i32) void {
        const users = self.map.getPtr(fd) orelse return;
        if (users.waiting != null or users.pooled > 0) return;
        assert(users.closing == null);
        self.lock.lock();
        defer self.lock.unlock();
        assert(self.map.remove(fd));
    }

    /// Any thread.
    pub fn has(self: *Table, fd: i32) bool {
        self.lock.lock();
        defer self.lock.unlock();
        return self.map.contains(fd);
    }
};

test "a descriptor is in the table while it is used" {
    var table: Table = .{};
    defer table.deinit();
    var owner: u8 = 0;
    var first: Pending = .{ .sqe = undefined, .owner = &owner };
    var second = first;
    (try table.put(7)).append(&first);
    (try table.put(7)).append(&second);
    table.get(7).?.remove(&first);
    (try table.put(7)).append(&first);
    table.get(7).?.remove(&first);
    table.get(7).?.pooled = 1;
    try std.testing.expectEqual(&second, table.get(7).?.takeWaiting());
    table.dropIfUnused(7);
    try std.testing.expect(table.has(7));
    table.get(7).?.pooled = 0;
    table.dropIfUnused(7);
    try std.testing.expect(!table.has(7));
}
