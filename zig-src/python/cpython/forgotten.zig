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
/// Entries of `places`, so that nobody takes the lock for nothing.
var kept: std.atomic.Value(u32) = .init(0);
var lock: sync.Lock = .{};
/// Where the awaitables were made that are alive: texts, by address.
var places: std.AutoHashMapUnmanaged(*Object, *Object) = .empty;

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
    var place = take(instance);
    api.drop(&place);
}

/// `instance` goes away as it was made. `what` says what it is: "operation recv of socket 7".
pub fn warn(instance: *Object, what: []const u8) void {
    @branchHint(.cold);
    const aside: api.Aside = .take();
    defer aside.restore();
    var place = if (kept.load(.monotonic) == 0) null else take(instance);
    defer api.drop(&place);
    var text: [4096]u8 = undefined;
    const words = std.fmt.bufPrintSentinel(&text, "{s} was never awaited{s}{s}", .{
        what, if (place == null) "" else "\n", std.mem.trimEnd(u8, textOf(place), "\n"),
    }, 0) catch unreachable; // Both were clipped.
    if (py.PyErr_WarnEx(py.PyExc_RuntimeWarning.*, words.ptr, 1) != 0) py.PyErr_WriteUnraisable(null);
}

const place_bytes = 3000;

fn textOf(place: ?*Object) []const u8 {
    var size: isize = 0;
    const text = py.PyUnicode_AsUTF8AndSize(place orelse return "", &size) orelse {
        py.PyErr_Clear();
        return "";
    };
    return text[0..@min(place_bytes, @as(usize, @intCast(size)))];
}

/// Without memory for it the warning has no place.
fn keep(instance: *Object) void {
    @branchHint(.cold);
    var place = api.call(callbacks.table.place, &.{});
    if (place == null) return py.PyErr_Clear();
    lock.lock();
    const put = places.fetchPut(gpa, instance, place.?);
    kept.store(places.count(), .monotonic);
    lock.unlock();
    if (put) |old| {
        place = if (old) |entry| entry.value else null;
    } else |_| {}
    api.drop(&place);
}

fn take(instance: *Object) ?*Object {
    lock.lock();
    defer lock.unlock();
    const entry = places.fetchRemove(instance) orelse return null;
    kept.store(places.count(), .monotonic);
    return entry.value;
}
