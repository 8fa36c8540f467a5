//! libspargio: the core and its C ABI.

pub const std_options = @import("base/root_settings.zig").std_options;
pub const panic = @import("base/root_settings.zig").panic;

comptime {
    _ = @import("c/c_abi.zig");
}

test {
    _ = @import("tests/bell_failure_test.zig");
    _ = @import("base/cbor.zig");
    _ = @import("task/latch.zig");
    _ = @import("base/clock.zig");
    _ = @import("scheduler/histogram.zig");
    _ = @import("scheduler/park_state.zig");
    _ = @import("scheduler/recorders.zig");
    _ = @import("base/errno_text.zig");
    _ = @import("base/errors.zig");
    _ = @import("base/handle_table.zig");
    _ = @import("tests/header_test.zig");
    _ = @import("tests/interrupted_test.zig");
    _ = @import("task/listeners.zig");
    _ = @import("ring/memlock.zig");
    _ = @import("task/op.zig");
    _ = @import("base/options.zig");
    _ = @import("base/options_file.zig");
    _ = @import("ops/user_sqe.zig");
    _ = @import("ring/probe.zig");
    _ = @import("message/outbox.zig");
    _ = @import("queue/chain.zig");
    _ = @import("queue/fifo.zig");
    _ = @import("queue/inbox.zig");
    _ = @import("queue/lane.zig");
    _ = @import("queue/list.zig");
    _ = @import("base/self_connect.zig");
    _ = @import("queue/stealable.zig");
    _ = @import("ring/ring.zig");
    _ = @import("task/room.zig");
    _ = @import("base/signals.zig");
    _ = @import("scheduler/steal_policy.zig");
    _ = @import("tests/start_failure_test.zig");
    _ = @import("tests/stress_test.zig");
    _ = @import("epoll/blocking.zig");
    _ = @import("epoll/users.zig");
    _ = @import("epoll/iovecs.zig");
    _ = @import("base/sync.zig");
    _ = @import("message/tags.zig");
    _ = @import("task/timers.zig");
    _ = @import("task/unclaimed.zig");
}
