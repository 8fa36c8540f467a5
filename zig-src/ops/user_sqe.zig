//! SQEs that a caller filled, for operations that spargio does not wrap. It refuses an SQE that
//! would break the shard's bookkeeping, with a sentence: the shard relies on one completion per
//! operation, on knowing each by its `user_data`, and on the ring being its own. On the shard's
//! thread only, except `refusal`.

const std = @import("std");
const linux = std.os.linux;
const fs = @import("fs.zig");
const Op = @import("../task/op.zig").Op;
const Shard = @import("../scheduler/shard.zig").Shard;
const Sqe = @import("../ring/ring.zig").Sqe;
const Task = @import("../task/task.zig").Task;

/// The last opcode that this release knows (IORING_OP_PIPE): of a newer one it does not know how many
/// completions it gives.
const opcode_last = opcode_pipe;

// Not in std.os.linux.
const opcode_pipe = 62;
const timeout_multishot = 1 << 6;
const uring_cmd_multishot = 1 << 1;

const Flag = struct { bit: u8, name: []const u8, why: []const u8 };

const refused_flags = [_]Flag{
    .{ .bit = linux.IOSQE_FIXED_FILE, .name = "IOSQE_FIXED_FILE", .why = "no files are registered with a shard" },
    .{ .bit = linux.IOSQE_IO_DRAIN, .name = "IOSQE_IO_DRAIN", .why = "all other operations of the shard would wait" },
    .{ .bit = linux.IOSQE_IO_LINK, .name = "IOSQE_IO_LINK", .why = "the next entry may be another task's" },
    .{ .bit = linux.IOSQE_IO_HARDLINK, .name = "IOSQE_IO_HARDLINK", .why = "the next entry may be another task's" },
    .{ .bit = linux.IOSQE_BUFFER_SELECT, .name = "IOSQE_BUFFER_SELECT", .why = "a shard's buffers are its own" },
    .{
        .bit = linux.IOSQE_CQE_SKIP_SUCCESS,
        .name = "IOSQE_CQE_SKIP_SUCCESS",
        .why = "without a completion the operation would never end",
    },
    .{ .bit = 1 << 7, .name = "an unknown bit", .why = "this release does not know its meaning" },
};

/// What is wrong with the entry, or null. The sentence is static or in `text`.
pub fn refusal(sqe: *const Sqe, text: []u8) ?[]const u8 {
    const opcode: u8 = @backingInt(sqe.opcode);
    if (sqe.user_data != 0) return say(text, "user_data must be 0, got {d}: spargio sets it", .{sqe.user_data});
    if (sqe.personality != 0)
        return say(text, "personality must be 0, got {d}: spargio registers none", .{sqe.personality});
    for (refused_flags) |flag| if (sqe.flags & flag.bit != 0) return say(
        text,
        "flags must be 0 or IOSQE_ASYNC ({d}), got {d}, which has {s} ({d}): {s}",
        .{ linux.IOSQE_ASYNC, sqe.flags, flag.name, flag.bit, flag.why },
    );
    if (opcode > opcode_last)
        return say(text, "opcode must be between 0 and {d}, got {d}: this release does not know how many " ++
            "completions a newer operation has", .{ opcode_last, opcode });
    if (refusedOpcode(sqe)) |why|
        return say(text, "opcode must be one that spargio can await, got {d} (IORING_OP_{t}): {s}", .{
            opcode, sqe.opcode, why,
        });
    if (multishot(sqe)) |name|
        return say(text, "opcode must have one completion, got {d} (IORING_OP_{t}) with {s}, which has several", .{
            opcode, sqe.opcode, name,
        });
    return null;
}

fn say(text: []u8, comptime format: []const u8, arguments: anytype) []const u8 {
    return std.fmt.bufPrint(text, format, arguments) catch "the entry is refused";
}

fn refusedOpcode(sqe: *const Sqe) ?[]const u8 {
    return switch (sqe.opcode) {
        .SEND_ZC, .SENDMSG_ZC => "it has two completions",
        .READ_MULTISHOT, .RECV_ZC => "it has several completions",
        .LINK_TIMEOUT => "entries cannot be linked",
        .POLL_REMOVE, .TIMEOUT_REMOVE => "it names another operation by its user_data, which spargio sets: " ++
            "cancel the task that awaits that operation",
        // By descriptor each operation still ends by its own completion.
        .ASYNC_CANCEL => if (sqe.rw_flags & linux.IORING_ASYNC_CANCEL_FD == 0 or
            sqe.rw_flags & (linux.IORING_ASYNC_CANCEL_ANY | linux.IORING_ASYNC_CANCEL_FD_FIXED) != 0)
            "cancel_flags must have IORING_ASYNC_CANCEL_FD (2), and neither _ANY (4) nor _FD_FIXED (8), " ++
                "because spargio sets user_data"
        else
            null,
        .PROVIDE_BUFFERS, .REMOVE_BUFFERS => "a shard's buffer groups are its own",
        .MSG_RING => "its completion would reach a ring that does not know it",
        else => null,
    };
}

/// The name of the flag that asks for more than one completion.
fn multishot(sqe: *const Sqe) ?[]const u8 {
    return switch (sqe.opcode) {
        .ACCEPT => if (sqe.ioprio & linux.IORING_ACCEPT_MULTISHOT != 0) "IORING_ACCEPT_MULTISHOT in ioprio" else null,
        .RECV, .RECVMSG => if (sqe.ioprio & linux.IORING_RECV_MULTISHOT != 0)
            "IORING_RECV_MULTISHOT in ioprio"
        else
            null,
        .POLL_ADD => if (sqe.len & linux.IORING_POLL_ADD_MULTI != 0) "IORING_POLL_ADD_MULTI in len" else null,
        .TIMEOUT => if (sqe.rw_flags & timeout_multishot != 0) "IORING_TIMEOUT_MULTISHOT in timeout_flags" else null,
        .URING_CMD => if (sqe.rw_flags & uring_cmd_multishot != 0)
            "IORING_URING_CMD_MULTISHOT in uring_cmd_flags"
        else
            null,
        else => null,
    };
}

/// False for what only io_uring can do if the backend is another; the kernel's own opinion comes as
/// the result.
pub fn supported(shard: *const Shard, sqe: *const Sqe) bool {
    return shard.scheduler.backend == .io_uring or shard.scheduler.info.supports(sqe.opcode);
}

/// An entry that `refusal` has nothing against. A new descriptor that nobody takes is closed.
pub fn submit(shard: *Shard, task: *Task, sqe: *const Sqe) fs.Error!*Op {
    const op = try shard.ops.take(task, shard);
    switch (sqe.opcode) {
        .OPENAT, .OPENAT2, .ACCEPT, .SOCKET, .FIXED_FD_INSTALL => op.unclaimed = .close_descriptor,
        .RECVMSG => if (sqe.addr != 0) {
            op.unclaimed = .{ .close_passed = @ptrFromInt(sqe.addr) };
        },
        else => if (@backingInt(sqe.opcode) == opcode_pipe and sqe.addr != 0) {
            op.unclaimed = .{ .close_pair = @ptrFromInt(sqe.addr) };
        },
    }
    op.is_user_sqe = true;
    shard.launch(op, sqe.*);
    return op;
}

test "each refusal names what is refused" {
    var text: [256]u8 = undefined;
    var sqe: Sqe = undefined;
    sqe.prep_nop();
    try std.testing.expectEqual(null, refusal(&sqe, &text));
    sqe.flags = linux.IOSQE_ASYNC;
    try std.testing.expectEqual(null, refusal(&sqe, &text));
    for (refused_flags) |flag| {
        sqe.flags = flag.bit;
        const said = refusal(&sqe, &text).?;
        try std.testing.expect(std.mem.find(u8, said, flag.name) != null);
        try std.testing.expect(std.mem.find(u8, said, flag.why) != null);
    }
    sqe.flags = 0;
    sqe.opcode = .SEND_ZC;
    try std.testing.expect(std.mem.find(u8, refusal(&sqe, &text).?, "SEND_ZC") != null);
    sqe.opcode = @fromBackingInt(opcode_last + 1);
    try std.testing.expect(refusal(&sqe, &text) != null);
    sqe.opcode = .ASYNC_CANCEL;
    try std.testing.expect(refusal(&sqe, &text) != null);
    sqe.rw_flags = linux.IORING_ASYNC_CANCEL_FD | linux.IORING_ASYNC_CANCEL_ALL;
    try std.testing.expectEqual(null, refusal(&sqe, &text));
    sqe.user_data = 1;
    try std.testing.expect(refusal(&sqe, &text) != null);
}
