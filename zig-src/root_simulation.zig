//! The simulation: the core on a machine that one seed determines. See simulation/simulate.zig.

const simulate = @import("simulation/simulate.zig");

/// Makes platform.zig take it.
pub const spargio_machine = @import("simulation/machine.zig");
pub const main = simulate.main;
pub const panic = simulate.panic;
pub const std_options = @import("base/root_settings.zig").std_options;
