//! The C ABI of statistics. Any thread.

const handles = @import("../runtime/runtime_handle.zig");
const fail = @import("common.zig").fail;

pub export fn spargio_stats_cbor(handle: u64, buffer: ?[*]u8, capacity: usize, needed: ?*usize) i32 {
    if (buffer == null and capacity != 0) return fail(error.Invalid);
    const runtime = handles.pinRuntime(handle) orelse return fail(error.Closed);
    defer handles.runtimes.unpin(handle);
    return handles.statsInto(runtime, buffer, capacity, needed);
}
