//! The C ABI of child processes. In a poll function only, but for the signal.

const std = @import("std");
const linux = std.os.linux;
const child = @import("../runtime/child.zig");
const errors = @import("../base/errors.zig");
const options_module = @import("../base/options.zig");
const readiness = @import("../ops/readiness.zig");
const fail = @import("common.zig").fail;
const launch = @import("common.zig").launch;

pub export fn spargio_process_start(given: ?*const child.Options, pid: ?*i32, op: ?*u64) i32 {
    const pointer = given orelse return fail(error.Invalid);
    const options = options_module.read(child.Options, .{}, pointer) catch |err| return fail(err);
    const argv = options.argv orelse return fail(error.Invalid);
    const known: u32 = child.flag_search_path | child.flag_new_group | child.flag_new_session;
    if (argv[0] == null or options.flags & ~known != 0 or options.reserved != 0) return fail(error.Invalid);
    return launch(op, child.start, .{ &options, pid });
}

pub export fn spargio_process_wait(pidfd: i32, op: ?*u64) i32 {
    return launch(op, readiness.start, .{readiness.Asked{ .fd = pidfd, .ask = child.askStatus }});
}

pub export fn spargio_process_signal(pidfd: i32, signal: i32) i32 {
    if (signal < 0 or signal > 64) return fail(error.Invalid);
    const number: u32 = @intCast(signal);
    const rc = linux.syscall4(.pidfd_send_signal, @bitCast(@as(isize, pidfd)), number, 0, 0);
    return if (linux.errno(rc) == .SUCCESS) errors.ok else errors.fromErrno(@backingInt(linux.errno(rc)));
}
