//! An awaitable that goes away and was never awaited has done nothing. A RuntimeWarning says so, as
//! for coroutines. An await pays nothing for it, because the object's state is there anyway. In
//! debug mode the warning also says where the awaitable was made.

const std = @import("std");
const api = @import("api.zig");
const gpa = @import("../../base/memory.zig").gpa;
const callbacks = @import("callbacks.zig");
const sync = @import("../../base/sync.zig");
const Object = api.Object;
const py = &api.py;

/// Runtimes in debug mode.
var tracking: std.atomic.Value(u32) = .init(0);
/// Entries of `origins`, so that nobody takes the lock for nothing.
var kept: std.atomic.Value(u32) = .init(0);
var lock: sync.Lock = .{};
/// Where the awaitables were made that are alive: texts, by address.
var origins: std.AutoHashMapUnmanaged(*Object, *Object) = .empty;

pub fn trackMore() void {
    _ = tracking.fetchAdd(1, .monotonic);
}

pub fn trackLess() void {
    _ = tracking.fetchSub(1, .monotonic);
}

/// `instance` is new.
pub fn made(instance: *Object) void {
    if (tracking.load(.monotonic) != 0) keep(instance);
}

/// `instance` goes away, and was awaited or closed.
pub fn used(instance: *Object) void {
    if (kept.load(.monotonic) == 0) return;
    var origin = take(instance);
    api.drop(&origin);
}

/// `instance` goes away as it was made. `what` says what it is: "operation recv of socket 7".
pub fn warn(instance: *Object, what: []const u8) void {
    @branchHint(.cold);
    const aside: api.Aside = .take();
    defer aside.restore();
    var origin = if (kept.load(.monotonic) == 0) null else take(instance);
    defer api.drop(&origin);
    var text: [4096]u8 = undefined;
    const words = std.fmt.bufPrintSentinel(&text, "{s} was never awaited{s}{s}", .{
        what, if (origin == null) "" else "\n", std.mem.trimEnd(u8, textOf(origin), "\n"),
    }, 0) catch unreachable; // Both were clipped.
    if (py.PyErr_WarnEx(py.PyExc_RuntimeWarning.*, words.ptr, 1) != 0) py.PyErr_WriteUnraisable(null);
}

const place_bytes = 3000;

fn textOf(origin: ?*Object) []const u8 {
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(origin orelse return "", &size) orelse {
        py.PyErr_Clear();
        return "";
    };
    return text[0..@min(place_bytes, @as(usize, @intCast(size)))];
}

/// Without memory for it the warning has no origin.
fn keep(instance: *Object) void {
    @branchHint(.cold);
    var origin = api.call(callbacks.table.origin, &.{});
    if (origin == null) return py.PyErr_Clear();
    lock.lock();
    const put = origins.fetchPut(gpa, instance, origin.?);
    kept.store(origins.count(), .monotonic);
    lock.unlock();
    if (put) |old| {
        origin = if (old) |entry| entry.value else null;
    } else |_| {}
    api.drop(&origin);
}

fn take(instance: *Object) ?*Object {
    lock.lock();
    defer lock.unlock();
    const entry = origins.fetchRemove(instance) orelse return null;
    kept.store(origins.count(), .monotonic);
    return entry.value;
}
