//! libspargio_python: the same core and C ABI, plus the bridge to CPython. The wheel ships this one.

pub const std_options = @import("base/root_settings.zig").std_options;
pub const panic = @import("base/root_settings.zig").panic;

comptime {
    _ = @import("c/c_abi.zig");
    _ = @import("python/module.zig");
}
