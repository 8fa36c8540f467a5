//! libspargio: the core and its C ABI.

pub const c_api = @import("c_api.zig");

pub const std_options = @import("settings.zig").std_options;
pub const panic = @import("settings.zig").panic;

comptime {
    _ = c_api;
    _ = @import("c_messages.zig");
    _ = @import("c_ops.zig");
    _ = @import("c_recorders.zig");
}

test {
    _ = c_api;
    _ = @import("bell_failure_test.zig");
    _ = @import("cbor.zig");
    _ = @import("completion.zig");
    _ = @import("clock.zig");
    _ = @import("doorbell.zig");
    _ = @import("errno_text.zig");
    _ = @import("errors.zig");
    _ = @import("handle_table.zig");
    _ = @import("header_test.zig");
    _ = @import("histogram.zig");
    _ = @import("recorders.zig");
    _ = @import("interrupted_test.zig");
    _ = @import("listeners.zig");
    _ = @import("locked_memory.zig");
    _ = @import("op.zig");
    _ = @import("options.zig");
    _ = @import("ops/raw.zig");
    _ = @import("probe.zig");
    _ = @import("outbox.zig");
    _ = @import("queue/chain.zig");
    _ = @import("queue/inbox.zig");
    _ = @import("queue/lane.zig");
    _ = @import("queue/list.zig");
    _ = @import("self_connect.zig");
    _ = @import("queue/stealable.zig");
    _ = @import("ring.zig");
    _ = @import("room.zig");
    _ = @import("signals.zig");
    _ = @import("steal.zig");
    _ = @import("start_failure_test.zig");
    _ = @import("stress_test.zig");
    _ = @import("soft/blocking.zig");
    _ = @import("soft/users.zig");
    _ = @import("soft/vectors.zig");
    _ = @import("sync.zig");
    _ = @import("tags.zig");
    _ = @import("timers.zig");
    _ = @import("undo.zig");
}
