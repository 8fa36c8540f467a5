//! The C ABI: thin functions that check, call and map the error, a file for each concept.
//! include/spargio.h is the contract. A root that imports this file exports all of them.

comptime {
    _ = @import("fs.zig");
    _ = @import("messages.zig");
    _ = @import("net.zig");
    _ = @import("paths.zig");
    _ = @import("recorders.zig");
    _ = @import("runtime.zig");
    _ = @import("stats.zig");
    _ = @import("task.zig");
    _ = @import("trace.zig");
    _ = @import("user_sqe.zig");
}
