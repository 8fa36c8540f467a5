//! include/spargio.h is the contract: its structs and numbers, as translate-c reads them, equal the
//! library's.

const std = @import("std");
const header = @import("header");
const child = @import("../runtime/child.zig");
const inspect = @import("../c/inspect.zig");
const c_net = @import("../c/net.zig");
const errors = @import("../base/errors.zig");
const Backend = @import("../base/options.zig").QueueBackend;
const Capabilities = @import("../ring/probe.zig").Capabilities;
const IdleStrategy = @import("../base/options.zig").IdleStrategy;
const Kind = @import("../task/task.zig").Kind;

fn sameLayout(comptime C: type, comptime Own: type) !void {
    try std.testing.expectEqual(@sizeOf(C), @sizeOf(Own));
    const names = @typeInfo(Own).@"struct".field_names;
    try std.testing.expectEqual(@typeInfo(C).@"struct".field_names.len, names.len);
    inline for (names) |name| {
        try std.testing.expectEqual(@offsetOf(C, name), @offsetOf(Own, name));
        try std.testing.expectEqual(@sizeOf(@FieldType(C, name)), @sizeOf(@FieldType(Own, name)));
    }
}

test "structs" {
    try sameLayout(header.spargio_runtime_options, @import("../base/options.zig").Options);
    try sameLayout(header.spargio_probe_info, @import("../ring/probe.zig").Info);
    try sameLayout(header.spargio_placement, @import("../c/task.zig").PlacementC);
    try sameLayout(header.spargio_task_info, inspect.TaskInfo);
    try sameLayout(header.spargio_process_options, child.Options);
    try sameLayout(header.spargio_listen_options, c_net.ListenOptions);
    try sameLayout(header.spargio_msg, @import("../queue/lane.zig").Message);
}

test "constants" {
    try std.testing.expectEqual(header.SPARGIO_ABI_VERSION, @import("../c/runtime.zig").abi_version);
    try sameNumbers("SPARGIO_E_", errors.Code);
    try sameNumbers("SPARGIO_PLACE_", Kind);
    try sameNumbers("SPARGIO_TASK_", inspect.State);
    try sameNumbers("SPARGIO_QUEUE_", Backend);
    try sameNumbers("SPARGIO_IDLE_", IdleStrategy);
    try std.testing.expectEqual(header.SPARGIO_E_ERRNO(1), errors.fromErrno(1));
    const options = @import("../base/options.zig");
    try std.testing.expectEqual(header.SPARGIO_RUNTIME_NO_MSG_RING, options.flag_no_msg_ring);
    try std.testing.expectEqual(header.SPARGIO_RUNTIME_NO_SINGLE_ISSUER, options.flag_no_single_issuer);
    try std.testing.expectEqual(header.SPARGIO_RUNTIME_COOP_TASKRUN, options.flag_coop_taskrun);
    try std.testing.expectEqual(header.SPARGIO_RUNTIME_SCHEDULER_LATENCY, options.flag_scheduler_latency);
    try std.testing.expectEqual(header.SPARGIO_LISTEN_REUSE_PORT, c_net.listen_reuse_port);
    try std.testing.expectEqual(header.SPARGIO_LISTEN_V6_ONLY, c_net.listen_v6_only);
    try std.testing.expectEqual(header.SPARGIO_LISTEN_DUAL_STACK, c_net.listen_dual_stack);
    const group = @import("../runtime/group.zig");
    try std.testing.expectEqual(header.SPARGIO_GROUP_CANCEL_ON_ERROR, group.flag_cancel_on_error);
    try std.testing.expectEqual(header.SPARGIO_PROCESS_SEARCH_PATH, child.flag_search_path);
    try std.testing.expectEqual(header.SPARGIO_PROCESS_NEW_GROUP, child.flag_new_group);
    try std.testing.expectEqual(header.SPARGIO_PROCESS_NEW_SESSION, child.flag_new_session);
    try std.testing.expectEqual(header.SPARGIO_RECV_DRAINED, c_net.recv_drained);
    try std.testing.expectEqual(header.SPARGIO_ANY_CPU, options.any_cpu);
    try std.testing.expectEqual(header.SPARGIO_MSG_OUTSIDE, @import("../queue/lane.zig").outside);
    inline for (@typeInfo(Capabilities).@"struct".field_names, 0..) |name, bit| {
        if (name[0] == '_') continue;
        try std.testing.expectEqual(@field(header, "SPARGIO_CAP_" ++ upper(name)), @as(u64, 1) << bit);
    }
}

fn sameNumbers(comptime prefix: []const u8, comptime Enum: type) !void {
    inline for (@typeInfo(Enum).@"enum".field_names) |name| {
        try std.testing.expectEqual(@field(header, prefix ++ upper(name)), @backingInt(@field(Enum, name)));
    }
}

fn upper(comptime name: []const u8) []const u8 {
    comptime {
        var out: [name.len]u8 = undefined;
        for (&out, name) |*to, from| to.* = std.ascii.toUpper(from);
        const final = out;
        return &final;
    }
}
