//! The callbacks that are ready to run in an asyncio loop: a ring that grows. Only the loop's
//! thread uses it.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Object = api.Object;

/// Either a handle, or what a Task or Future schedules for itself: nobody sees a handle of that.
/// Owns its references.
pub const Entry = struct {
    handle: ?*Object = null,
    callback: ?*Object = null,
    context: ?*Object = null,
    argument: ?*Object = null,

    pub fn drop(self: *Entry) void {
        api.drop(&self.handle);
        api.drop(&self.callback);
        api.drop(&self.context);
        api.drop(&self.argument);
    }
};

pub const Queue = struct {
    entries: []Entry = &.{},
    head: usize = 0,
    len: usize = 0,

    /// Takes over the references of `entry`, unless there is no memory.
    pub fn push(self: *Queue, entry: Entry) error{OutOfMemory}!void {
        if (self.len == self.entries.len) try self.grow();
        self.entries[(self.head + self.len) & (self.entries.len - 1)] = entry;
        self.len += 1;
    }

    pub fn pop(self: *Queue) Entry {
        assert(self.len > 0);
        const entry = self.entries[self.head];
        self.head = (self.head + 1) & (self.entries.len - 1);
        self.len -= 1;
        return entry;
    }

    pub fn at(self: *const Queue, index: usize) *Entry {
        return &self.entries[(self.head + index) & (self.entries.len - 1)];
    }

    pub fn clear(self: *Queue) void {
        while (self.len > 0) {
            var entry = self.pop();
            entry.drop();
        }
    }

    pub fn deinit(self: *Queue) void {
        assert(self.len == 0);
        gpa.free(self.entries);
        self.entries = &.{};
    }

    fn grow(self: *Queue) error{OutOfMemory}!void {
        const larger = try gpa.alloc(Entry, @max(64, self.entries.len * 2));
        for (0..self.len) |i| larger[i] = self.at(i).*;
        gpa.free(self.entries);
        self.entries = larger;
        self.head = 0;
    }
};
