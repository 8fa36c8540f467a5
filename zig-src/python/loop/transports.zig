//! Which descriptors of a loop have a transport, so that `sock_recv` and its kin refuse them. The
//! table borrows a word of each transport, which takes its entry away before it goes.

const std = @import("std");
const assert = std.debug.assert;
const api = @import("../cpython/api.zig");
const object = @import("../cpython/object.zig");
const sync = @import("../../base/sync.zig");
const gpa = @import("../../base/memory.zig").gpa;
const Loop = @import("loop.zig").Loop;
const Object = api.Object;
const py = &api.py;

pub const Transports = struct {
    /// Without a lock of the interpreter a transport may go away on any thread.
    lock: sync.Lock = .{},
    /// By descriptor: whether the transport is closing.
    by_fd: std.ArrayList(?*const bool) = .empty,
    count: usize = 0,

    /// The newest transport of a descriptor counts: an older one's socket was closed behind it.
    pub fn add(self: *Transports, fd: i32, closing: *const bool) error{OutOfMemory}!void {
        assert(fd >= 0);
        self.lock.lock();
        defer self.lock.unlock();
        const index: usize = @intCast(fd);
        if (index >= self.by_fd.items.len)
            try self.by_fd.appendNTimes(gpa, null, index + 1 - self.by_fd.items.len);
        if (self.by_fd.items[index] == null) self.count += 1;
        self.by_fd.items[index] = closing;
    }

    /// Of this transport, or of any. Idempotent.
    pub fn remove(self: *Transports, fd: i32, closing: ?*const bool) void {
        if (fd < 0) return;
        self.lock.lock();
        defer self.lock.unlock();
        const index: usize = @intCast(fd);
        if (index >= self.by_fd.items.len) return;
        const found = self.by_fd.items[index] orelse return;
        if (closing != null and found != closing) return;
        assert(self.count > 0);
        self.by_fd.items[index] = null;
        self.count -= 1;
    }

    fn hasOpen(self: *Transports, fd: u64) bool {
        self.lock.lock();
        defer self.lock.unlock();
        if (fd >= self.by_fd.items.len) return false;
        const closing = self.by_fd.items[fd] orelse return false;
        return !closing.*;
    }

    pub fn deinit(self: *Transports) void {
        assert(self.count == 0); // Each holds the loop.
        self.by_fd.deinit(gpa);
    }
};

/// _has_transport(fd): one that is not closing.
pub fn has(instance: *Object, number: *Object) callconv(.c) ?*Object {
    const fd = py.PyLong_AsLongLong(number);
    if (fd == -1 and py.PyErr_Occurred() != null) return null;
    const found = fd >= 0 and Loop.of(instance).transports.hasOpen(@intCast(fd));
    return py.PyBool_FromLong(@intFromBool(found));
}

/// _disown_descriptor(fd): while the loop sends a file for the transport.
pub fn disown(instance: *Object, number: *Object) callconv(.c) ?*Object {
    const fd = object.unsigned(number, "fd", std.math.maxInt(i32)) orelse return null;
    Loop.of(instance).transports.remove(@intCast(fd), null);
    return api.none();
}

/// _transport_count()
pub fn countOf(instance: *Object, _: ?*Object) callconv(.c) ?*Object {
    const self = &Loop.of(instance).transports;
    self.lock.lock();
    defer self.lock.unlock();
    return py.PyLong_FromUnsignedLongLong(self.count);
}
