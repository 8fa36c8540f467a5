//! The handles of runtimes that both front ends return to callers: a number that names an owner,
//! and pins of it. Any thread.

const build_options = @import("build_options");
const errors = @import("../base/errors.zig");
const gpa = @import("../base/memory.zig").gpa;
const recorder_cbor = @import("../scheduler/recorder_cbor.zig");
const stats_snapshot = @import("../scheduler/stats_snapshot.zig");
const HandleTableType = @import("../base/handle_table.zig").HandleTableType;
const Runtime = @import("runtime.zig").Runtime;

pub const version: [:0]const u8 = build_options.version;

/// What a runtime handle names; freed when the last call that uses it returns.
pub const Owner = struct {
    /// Null only if the runtime did not start.
    runtime: ?*Runtime = null,

    pub fn handleClosed(self: *Owner) void {
        if (self.runtime) |runtime| runtime.destroy();
        gpa.destroy(self);
    }

    /// For a front end that uses the owner itself: a handle that it keeps pinned, so that the memory lives
    /// until it unpins it.
    pub fn reserve(handle: *u64) error{OutOfMemory}!*Owner {
        const self = try gpa.create(Owner);
        errdefer gpa.destroy(self);
        self.* = .{};
        handle.* = try runtimes.insert(self);
        return runtimes.pin(handle.*).?;
    }
};

/// A pinned runtime of a started owner.
pub fn pinRuntime(handle: u64) ?*Runtime {
    const owner = runtimes.pin(handle) orelse return null;
    return owner.runtime.?;
}

pub var runtimes: HandleTableType(Owner) = .{};

/// Nothing is written if it does not fit: one run measures, the next writes.
pub fn statsInto(runtime: *Runtime, buffer: ?[*]u8, capacity: usize, needed: ?*usize) i32 {
    // Counters grow between the runs, a few bytes at most per number: room is kept for that.
    const slack = 64 * (1 + runtime.scheduler.shards.len) + recorder_cbor.slack();
    const size = stats_snapshot.write(&runtime.scheduler, version, &.{}) + slack;
    if (needed) |out| out.* = size;
    if (capacity < size) return errors.fromError(error.BufferTooSmall);
    const written = stats_snapshot.write(&runtime.scheduler, version, buffer.?[0..capacity]);
    if (written > capacity) return errors.fromError(error.BufferTooSmall); // They grew more than that.
    if (needed) |out| out.* = written;
    return errors.ok;
}
