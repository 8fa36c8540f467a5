//! The C ABI: thin functions that check, call and map the error, a file for each concept.
//! include/spargio.h is the contract. A root that imports this file exports all of them.

comptime {
    _ = @import("calls.zig");
    _ = @import("fs.zig");
    _ = @import("groups.zig");
    _ = @import("inspect.zig");
    _ = @import("messages.zig");
    _ = @import("net.zig");
    _ = @import("ops.zig");
    _ = @import("paths.zig");
    _ = @import("process.zig");
    _ = @import("recorders.zig");
    _ = @import("room.zig");
    _ = @import("runtime.zig");
    _ = @import("signals.zig");
    _ = @import("stats.zig");
    _ = @import("streams.zig");
    _ = @import("sync.zig");
    _ = @import("task.zig");
    _ = @import("user_sqe.zig");
}
