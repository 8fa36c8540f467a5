//! libspargio_python: the same core and C ABI, plus the bridge to CPython. The wheel ships this one.

comptime {
    _ = @import("c_api.zig");
    _ = @import("c_messages.zig");
    _ = @import("c_ops.zig");
    _ = @import("python/module.zig");
}
